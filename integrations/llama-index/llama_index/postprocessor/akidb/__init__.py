"""Reranking with MLX for LlamaIndex, from ``akidb_embeddings``."""

from llama_index.postprocessor.akidb.base import MLXRerank

__all__ = ["MLXRerank"]
