"""Text embeddings with MLX for LangChain, from ``akidb_embeddings``."""

from langchain_akidb.embeddings import MLXEmbeddings

__all__ = ["MLXEmbeddings"]
