"""Text embeddings with MLX for LanceDB, from ``akidb_embeddings``. Importing this puts ``akidb`` into its registry."""

from lancedb_akidb.embeddings import MLXEmbeddings

__all__ = ["MLXEmbeddings"]
