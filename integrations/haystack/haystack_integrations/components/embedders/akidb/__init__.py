"""Text embeddings with MLX for Haystack, from ``akidb_embeddings``."""

from haystack_integrations.components.embedders.akidb.document_embedder import MLXDocumentEmbedder
from haystack_integrations.components.embedders.akidb.text_embedder import MLXTextEmbedder

__all__ = ["MLXDocumentEmbedder", "MLXTextEmbedder"]
