"""Text embeddings with MLX for LlamaIndex, from ``akidb_embeddings``."""

from llama_index.embeddings.akidb.base import MLXEmbedding

__all__ = ["MLXEmbedding"]
