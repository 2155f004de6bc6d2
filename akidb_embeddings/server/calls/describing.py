"""What clients are told of models: their options, and whether they are loaded."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from akidb_embeddings.checkpoint.settings import largest_limit
from akidb_embeddings.pool.model import AnyConfig, ModelState, Service
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.service.service import EmbeddingService

_EMBEDDER = (
    *("architecture", "dimension", "max_tokens", "model_max_tokens", "pooling", "normalize", "truncate", "prompts"),
    "fingerprint",
)
_RERANKER = ("architecture", "max_tokens", "model_max_tokens", "activation", "truncate", "instruction", "fingerprint")
UNKNOWN: Mapping[str, Mapping[str, Any]] = {
    "embedding": dict.fromkeys(_EMBEDDER),
    "reranker": dict.fromkeys(_RERANKER),
}
"""By kind, what is told of a model that was never loaded."""


class Known(NamedTuple):
    """What was found when a model was loaded.

    Attributes:
        config: The configuration that it was loaded with.
        description: What clients are told of it.
    """

    config: AnyConfig
    description: Mapping[str, Any]


def describe(service: Service) -> dict[str, Any]:
    """The default options of a loaded model."""
    return _describe_reranker(service) if isinstance(service, RerankService) else _describe_embedder(service)


def state_of(state: ModelState) -> dict[str, Any]:
    """What a model does. Times are in seconds since 1970; None where there is none, or no end."""
    return {
        "state": state.state,
        "pinned": state.pinned,
        "memory_bytes": state.memory_bytes,
        "loaded_at": _rounded(state.loaded_at),
        "last_used": _rounded(state.last_used),
        "expires_at": _rounded(state.expires_at),
        "keep_alive": None if state.keep_alive == math.inf else state.keep_alive,
        "requests": state.users,
        "loads": state.loads,
        "failed": bool(state.problem),
    }


def _rounded(moment: float | None) -> float | None:
    return None if moment is None else round(moment, 3)


def _describe_embedder(service: EmbeddingService) -> dict[str, Any]:
    settings = service.settings
    return {
        "architecture": service.checkpoint.config["model_type"],
        "dimension": settings.dimensions,
        "max_tokens": settings.max_tokens,
        "model_max_tokens": largest_limit(service.checkpoint),
        "pooling": settings.pooling,
        "normalize": settings.normalize,
        "truncate": service.config.truncate,
        "prompts": list(settings.prompts),
        "fingerprint": service.fingerprint(),
    }


def _describe_reranker(service: RerankService) -> dict[str, Any]:
    return {
        "architecture": service.checkpoint.config["model_type"],
        "max_tokens": service.max_tokens,
        "model_max_tokens": service.checkpoint.max_tokens,
        "activation": service.activation,
        "truncate": service.config.truncate,
        "instruction": service.instruction,
        "fingerprint": service.fingerprint(),
    }
