"""Sizing and opening the model of a configuration, of either kind."""

from typing import Any

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.folder import tokenizer_bytes
from akidb_embeddings.checkpoint.reranker import read_reranker
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.engine.table import expected_weight_bytes
from akidb_embeddings.hub.download import resolve_reranker
from akidb_embeddings.pool.model import AnyConfig, Service
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.service.reading import read_configured
from akidb_embeddings.service.service import EmbeddingService


def open_service(config: AnyConfig) -> Service:
    """Load a model, which may be a download.

    Raises:
        EmbeddingError: As in ``EmbeddingService`` and ``RerankService``.
    """
    return RerankService(config=config) if isinstance(config, RerankConfig) else EmbeddingService(config=config)


def expected_bytes(config: AnyConfig) -> int:
    """About how much memory a model will take, from its files' headers. The files may be downloaded for that.

    Raises:
        EmbeddingError: As in ``open_service``.
    """
    checkpoint = _read(config)
    return expected_weight_bytes(checkpoint, config.memory, config.compute) + tokenizer_bytes(checkpoint.path)


def _read(config: AnyConfig) -> BaseCheckpoint:
    if not isinstance(config, RerankConfig):
        return read_configured(config)
    where: Any = {name: getattr(config, name) for name in ("revision", "cache_dir", "auto_download")}
    reranker = resolve_reranker(config.model_name, **where)
    return read_reranker(reranker.path, reranker.spec)
