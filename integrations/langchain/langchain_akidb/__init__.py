"""Text embeddings and reranking with MLX for LangChain, from ``akidb_embeddings``."""

from langchain_akidb.embeddings import MLXEmbeddings
from langchain_akidb.rerank import MLXRerank

__all__ = ["MLXEmbeddings", "MLXRerank"]
