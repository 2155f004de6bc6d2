"""The served models of both kinds by the names that clients use, loaded when they are asked for."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from akidb_embeddings.errors import DeadlineError, EmbeddingError, MemoryLimitError
from akidb_embeddings.pool.model import PooledModel, Service, check_keep_alive
from akidb_embeddings.pool.pool import ModelPool
from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind
from akidb_embeddings.server.calls.describing import UNKNOWN, Known, state_of
from akidb_embeddings.server.observability.logs import LOG

EMBEDDING, RERANKER = "embedding", "reranker"
_IN_WORDS = {EMBEDDING: "embedding model", RERANKER: "reranker"}
# A model that could not be loaded is tried again at the next request; clients are asked to leave it time.
_RETRY_SECONDS = 10


class Models:
    """The models of a server. The first of each kind is for requests that name none.

    Attributes:
        pool: The models.
        known: What was found when models were loaded, by name.
    """

    def __init__(self, pool: ModelPool, known: Mapping[str, Known]) -> None:
        self.pool, self.known = pool, known

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all models."""
        return tuple(self.pool.models)

    def embedder(self, name: str | None) -> str:
        """The name of the embedding model that a request asks for; None stands for the default one.

        Raises:
            ApiError: There is none, or it is a reranker.
        """
        return self._find(EMBEDDING, name)

    def reranker(self, name: str | None) -> str:
        """The name of the reranker that a request asks for; None stands for the default one.

        Raises:
            ApiError: There is none, or it is an embedding model.
        """
        return self._find(RERANKER, name)

    def kind(self, name: str) -> str:
        """The kind of the model called ``name``: "embedding" or "reranker".

        Raises:
            ApiError: There is none.
        """
        return _kind(self.pool.models, name)

    @asynccontextmanager
    async def use(self, name: str, seconds: float, keep_alive: float | None = None) -> AsyncIterator[tuple[Any, float]]:
        """The service of a model, which is loaded if necessary and stays loaded meanwhile.

        Yields:
            The service, of the model's kind, and the seconds that it took until it was loaded; 0 if it was.

        Raises:
            ApiError: The model cannot be loaded, or not within ``seconds``.
            ConfigurationError: ``keep_alive`` is no number.
        """
        begin, keep_alive = time.monotonic(), None if keep_alive is None else check_keep_alive(keep_alive)
        async with AsyncExitStack() as stack:
            try:
                is_loaded = self.pool.is_loaded(name)
                pooled = self.pool.ause(name, keep_alive=keep_alive, timeout=seconds)
                service: Service = await stack.enter_async_context(pooled)
            except EmbeddingError as error:
                models = self.pool.models
                raise _not_found(_unknown(name, models)) if name not in models else _not_loaded(name, error) from error
            yield service, 0.0 if is_loaded else time.monotonic() - begin

    async def unload(self, name: str, seconds: float) -> None:
        """Unload a model once the requests that use it are done.

        Raises:
            ApiError: There is none of that name, or it is not done within ``seconds``.
        """
        try:
            await self.pool.aunload(name, timeout=seconds)
        except EmbeddingError as error:
            models = self.pool.models
            raise _not_found(_unknown(name, models)) if name not in models else _not_loaded(name, error) from error

    def info(self) -> dict[str, list[dict[str, Any]]]:
        """Describe the models, as ``/info`` and the gRPC call ``Info`` do."""
        return {"models": self._described(EMBEDDING), "rerankers": self._described(RERANKER)}

    def listed(self) -> list[dict[str, Any]]:
        """Every model's name and kind, whether it is loaded, since when, its memory and its last use."""
        states, models = self.pool.states(), self.pool.models
        return [
            {"id": name, "kind": _kind(models, name), **state_of(state)}
            for name, state in states.items()
            if name in models
        ]

    def one(self, name: str) -> dict[str, Any]:
        """What ``listed`` has of the model called ``name``.

        Raises:
            ApiError: There is none.
        """
        found = next((one for one in self.listed() if one["id"] == name), None)
        if found is None:
            raise _not_found(_unknown(name, self.pool.models))
        return found

    def _described(self, kind: str) -> list[dict[str, Any]]:
        states, models = self.pool.states(), self.pool.models
        found = []
        for index, name in enumerate(_names_of(kind, models)):
            known = self.known.get(name)
            is_told = known is not None and known.config == models[name].config  # else it was another model
            state = states[name].state if name in states else "unloaded"
            description = known.description if known is not None and is_told else UNKNOWN[kind]
            found.append({"name": name, "default": not index, "state": state, **description})
        return found

    def _find(self, kind: str, name: str | None) -> str:
        models = self.pool.models
        names = _names_of(kind, models)
        if not names:
            raise _not_found(f"This server has no {_IN_WORDS[kind]}, only {_listed(models)}.")
        chosen = names[0] if name is None else name
        if chosen not in names:
            found = _kind(models, chosen)
            what = f"{'an' if found == EMBEDDING else 'a'} {_IN_WORDS[found]}"
            raise _not_found(f"{chosen!r} is {what}; the {_IN_WORDS[kind]}s here are {_listed(names)}.")
        return chosen


def _kind(models: Mapping[str, PooledModel], name: str) -> str:
    if name not in models:
        raise _not_found(_unknown(name, models))
    return RERANKER if models[name].is_reranker else EMBEDDING


def _names_of(kind: str, models: Mapping[str, PooledModel]) -> list[str]:
    return [name for name, model in models.items() if model.is_reranker == (kind == RERANKER)]


def _unknown(name: str, models: Iterable[str]) -> str:
    return f"No model is called {name[:200]!r} here; this server has {_listed(models)}."


def _not_found(message: str) -> ApiError:
    return ApiError(ErrorKind.NOT_FOUND, message, field="model")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _not_loaded(name: str, error: EmbeddingError) -> ApiError:
    """The error for a model that is not loaded; what is wrong with its files is for the log."""
    if isinstance(error, MemoryLimitError):
        return ApiError.of(ErrorKind.UNAVAILABLE, error)
    if isinstance(error, DeadlineError):
        return ApiError.of(ErrorKind.UNAVAILABLE, error, retry_after=_RETRY_SECONDS)
    LOG.error("%s could not be loaded: %s", name, error)
    message = f"{name} could not be loaded; the server's log says why."
    return ApiError(ErrorKind.UNAVAILABLE, message, field="model", retry_after=_RETRY_SECONDS)
