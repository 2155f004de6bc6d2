"""Text embeddings with MLX for Chroma, from ``akidb_embeddings``. Importing this registers the function's name."""

from chroma_akidb.function import MLXEmbeddingFunction

__all__ = ["MLXEmbeddingFunction"]
