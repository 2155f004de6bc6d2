"""What a pool is told of a model, and what it tells of it."""

import math
from dataclasses import dataclass
from typing import Literal

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.service.service import EmbeddingService

AnyConfig = EmbeddingConfig | RerankConfig
Service = EmbeddingService | RerankService
State = Literal["unloaded", "loading", "loaded", "unloading"]

FOREVER = math.inf
"""The ``keep_alive`` of a model that stays loaded."""


@dataclass(frozen=True)
class PooledModel:
    """A model of a pool.

    Attributes:
        config: Its configuration; the kind decides whether it embeds or reranks.
        keep_alive: For how many seconds it stays loaded after its last use, 0 for not at all; ``FOREVER`` by default,
            which negative numbers stand for, too.
        pinned: Whether it stays loaded whatever other models need, and whatever a call's ``keep_alive`` is.

    Raises:
        ConfigurationError: ``keep_alive`` is no number of seconds.
    """

    config: AnyConfig
    keep_alive: float = FOREVER
    pinned: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep_alive", check_keep_alive(self.keep_alive))

    @property
    def is_reranker(self) -> bool:
        """Whether it is a reranker, not an embedding model."""
        return isinstance(self.config, RerankConfig)


@dataclass(frozen=True)
class ModelState:
    """What a model of a pool does at one moment. Times are in seconds since 1970.

    Attributes:
        state: "unloaded", "loading", "loaded" or "unloading".
        pinned: Whether it stays loaded.
        keep_alive: For how many seconds it stays loaded after its last use.
        memory_bytes: The memory that it takes, or took when it was loaded last; None before.
        loaded_at: When it was loaded; None if it is not.
        last_used: When its last call began or ended; None before the first.
        expires_at: When it will leave; None if it stays, is in use, or is not loaded.
        users: How many calls use it now.
        loads: How often it was loaded.
        problem: Why the last attempt to load it failed; "" if it did not.
    """

    state: State
    pinned: bool
    keep_alive: float
    memory_bytes: int | None
    loaded_at: float | None
    last_used: float | None
    expires_at: float | None
    users: int
    loads: int
    problem: str


def check_limit(value: int | None) -> int | None:
    """``value``, the most bytes that models may take.

    Raises:
        ConfigurationError: It is neither a number of bytes nor None.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        reason = f"is {value!r}; it must be a number of bytes of at least 1, or None."
        raise ConfigurationError(field="max_memory", reason=reason)
    return value


def check_keep_alive(value: float) -> float:
    """``value``, with ``FOREVER`` for negative numbers, as other servers have it.

    Raises:
        ConfigurationError: It is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        reason = f"is {value!r}; it must be a number of seconds, 0 to unload at once, or math.inf."
        raise ConfigurationError(field="keep_alive", reason=reason)
    return FOREVER if value < 0 else float(value)
