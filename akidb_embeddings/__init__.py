"""Text embeddings and reranking with MLX: the numbers that the models' authors compute, on Apple Silicon and Linux.

Public names are imported on first use, so that importing the package is fast and loads neither MLX nor a tokenizer.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from akidb_embeddings.config.embedding import EmbeddingConfig as EmbeddingConfig
    from akidb_embeddings.config.rerank import RerankConfig as RerankConfig
    from akidb_embeddings.errors import ArgumentError as ArgumentError
    from akidb_embeddings.errors import CheckpointError as CheckpointError
    from akidb_embeddings.errors import ConfigurationError as ConfigurationError
    from akidb_embeddings.errors import DeadlineError as DeadlineError
    from akidb_embeddings.errors import DownloadError as DownloadError
    from akidb_embeddings.errors import EmbeddingError as EmbeddingError
    from akidb_embeddings.errors import InputError as InputError
    from akidb_embeddings.errors import MemoryLimitError as MemoryLimitError
    from akidb_embeddings.errors import ModelNotFoundError as ModelNotFoundError
    from akidb_embeddings.errors import NonFiniteVectorError as NonFiniteVectorError
    from akidb_embeddings.errors import OverloadError as OverloadError
    from akidb_embeddings.errors import UnusableVectorError as UnusableVectorError
    from akidb_embeddings.errors import WorkerError as WorkerError
    from akidb_embeddings.errors import ZeroVectorError as ZeroVectorError
    from akidb_embeddings.hub.cache import clear_cache as clear_cache
    from akidb_embeddings.hub.cache import get_cache_dir as get_cache_dir
    from akidb_embeddings.hub.download import download_model as download_model
    from akidb_embeddings.hub.download import get_model_info as get_model_info
    from akidb_embeddings.hub.download import is_model_cached as is_model_cached
    from akidb_embeddings.hub.download import list_cached_models as list_cached_models
    from akidb_embeddings.pool.model import ModelState as ModelState
    from akidb_embeddings.pool.model import PooledModel as PooledModel
    from akidb_embeddings.pool.pool import ModelPool as ModelPool
    from akidb_embeddings.registry import MODELS as MODELS
    from akidb_embeddings.registry import RERANKERS as RERANKERS
    from akidb_embeddings.reranking.result import Hit as Hit
    from akidb_embeddings.reranking.result import ScoreResult as ScoreResult
    from akidb_embeddings.reranking.service import RerankService as RerankService
    from akidb_embeddings.reranking.shared import ashared_reranker as ashared_reranker
    from akidb_embeddings.reranking.shared import close_shared_rerankers as close_shared_rerankers
    from akidb_embeddings.reranking.shared import shared_reranker as shared_reranker
    from akidb_embeddings.service.result import EmbeddingResult as EmbeddingResult
    from akidb_embeddings.service.result import SparseResult as SparseResult
    from akidb_embeddings.service.result import TokensResult as TokensResult
    from akidb_embeddings.service.service import EmbeddingService as EmbeddingService
    from akidb_embeddings.service.shared import ashared_service as ashared_service
    from akidb_embeddings.service.shared import close_shared_services as close_shared_services
    from akidb_embeddings.service.shared import model_version as model_version
    from akidb_embeddings.service.shared import shared_service as shared_service
    from akidb_embeddings.vectors.late_interaction import maxsim as maxsim
    from akidb_embeddings.vectors.precision import from_base64 as from_base64
    from akidb_embeddings.vectors.precision import quantize as quantize
    from akidb_embeddings.vectors.precision import similarity as similarity
    from akidb_embeddings.vectors.precision import to_base64 as to_base64
    from akidb_embeddings.vectors.sparse import SparseVector as SparseVector
    from akidb_embeddings.vectors.sparse import sparse_similarity as sparse_similarity

__version__ = "0.5.0"

_NAMES_BY_MODULE = {
    "hub.cache": ("clear_cache", "get_cache_dir"),
    "config.embedding": ("EmbeddingConfig",),
    "config.rerank": ("RerankConfig",),
    "errors": (
        "ArgumentError",
        "CheckpointError",
        "ConfigurationError",
        "DownloadError",
        "EmbeddingError",
        "InputError",
        "MemoryLimitError",
        "ModelNotFoundError",
        "NonFiniteVectorError",
        "DeadlineError",
        "OverloadError",
        "UnusableVectorError",
        "WorkerError",
        "ZeroVectorError",
    ),
    "hub.download": ("download_model", "get_model_info", "is_model_cached", "list_cached_models"),
    "pool.model": ("ModelState", "PooledModel"),
    "pool.pool": ("ModelPool",),
    "vectors.late_interaction": ("maxsim",),
    "vectors.precision": ("from_base64", "quantize", "similarity", "to_base64"),
    "vectors.sparse": ("SparseVector", "sparse_similarity"),
    "registry": ("MODELS", "RERANKERS"),
    "reranking.result": ("Hit", "ScoreResult"),
    "reranking.service": ("RerankService",),
    "reranking.shared": ("ashared_reranker", "close_shared_rerankers", "shared_reranker"),
    "service.result": ("EmbeddingResult", "SparseResult", "TokensResult"),
    "service.service": ("EmbeddingService",),
    "service.shared": ("ashared_service", "close_shared_services", "model_version", "shared_service"),
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
