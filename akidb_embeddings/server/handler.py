"""Handles a request of any protocol: limits, model, options, vectors; and counts what became of it."""

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from akidb_embeddings import __version__
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import InputError, UnusableVectorError
from akidb_embeddings.server.api_error import ApiError, ErrorKind, api_error
from akidb_embeddings.server.metrics import Metrics
from akidb_embeddings.service.result import EmbeddingResult, Timings
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import non_finite_rows
from akidb_embeddings.vectors.precision import Quantized, quantize


@dataclass(frozen=True)
class EmbedCall:
    """What a client asks for. None means the server's configuration.

    Attributes:
        texts: The texts.
        embeddings: Vectors that the client has already, one per text or None.
    """

    texts: list[str]
    model: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    prompt: str | None = None
    dimensions: int | None = None
    truncate: str | None = None
    precision: str | None = None
    embeddings: list[list[float] | None] | None = None

    @property
    def form(self) -> str:
        """The precision in force."""
        return "float32" if self.precision is None else self.precision

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of ``EmbeddingService.with_options``."""
        return {name: getattr(self, name) for name in ("pooling", "normalize", "dimensions", "truncate")}


@dataclass(frozen=True)
class EmbedOutcome:
    """The vectors of a call in ``precision``, and what became of each text; see ``EmbeddingResult``.

    Attributes:
        model: The name of the model that computed them.
        dimension: The length of the vectors, also where eight dimensions are packed into a byte.
    """

    model: str
    dimension: int
    precision: str
    vectors: Quantized
    token_counts: list[int]
    truncated: list[bool]
    fingerprint: str
    timings: Timings


class Handler:
    """The models by name, the first by default, and the limits that hold for all clients together."""

    def __init__(self, config: ServerConfig, services: Mapping[str, EmbeddingService], metrics: Metrics) -> None:
        self.config, self.services, self.metrics = config, services, metrics
        self.draining = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._is_cancelling = False

    @property
    def in_flight(self) -> int:
        """How many requests are computed or wait."""
        return len(self._tasks)

    def cancel_requests(self) -> None:
        """Fail the requests in flight: the server ends before they are done."""
        self._is_cancelling = True
        for task in self._tasks:
            task.cancel()

    @property
    def default(self) -> str:
        """The model for requests that name none."""
        return next(iter(self.services))

    def service(self, name: str | None) -> tuple[str, EmbeddingService]:
        """Find the model called ``name``, None for the default.

        Raises:
            ApiError: No model has that name.
        """
        chosen = self.default if name is None else name
        if chosen not in self.services:
            served = ", ".join(self.services)
            message = f"No model is called {chosen[:200]!r} here; this server has {served}."
            raise ApiError(ErrorKind.NOT_FOUND, message, field="model")
        return chosen, self.services[chosen]

    def info(self) -> dict[str, Any]:
        """Describe version, limits and models, as ``/info`` and the gRPC call ``Info`` do."""
        models = [_model_info(name, service, name == self.default) for name, service in self.services.items()]
        return {"version": __version__, "limits": self.config.limits, "models": models}

    async def embed(self, call: EmbedCall, protocol: str, seconds: float | None = None) -> EmbedOutcome:
        """Compute the vectors within ``seconds``, or within the configured time if that is less.

        Cancelling takes the texts out of the queue.

        Raises:
            ApiError: The request failed, for any reason.
        """
        begin = time.monotonic()
        label = "cancelled"
        try:
            with self._admitted():
                name, service = self.service(call.model)
                self._check(call, service)
                limit = self.config.request_seconds
                result = await _embed(service, call, limit if seconds is None else min(seconds, limit))
            label = "ok"
        except Exception as error:  # whatever fails, the client gets an error with a kind
            response_error = api_error(error)
            label = response_error.kind.label
            if response_error is error:
                raise
            raise response_error from error
        finally:
            self.metrics.count_request(protocol, label, time.monotonic() - begin)
        self.metrics.count_texts(name, len(call.texts), sum(result.token_counts))
        return EmbedOutcome(
            model=name,
            dimension=call.dimensions or service.dimension,
            precision=call.form,
            vectors=result.vectors,
            token_counts=result.token_counts,
            truncated=result.truncated,
            fingerprint=result.fingerprint,
            timings=result.timings,
        )

    @contextlib.contextmanager
    def _admitted(self) -> Iterator[None]:
        """Count the current task among the requests in flight.

        Raises:
            ApiError: There are too many of them, or the server is shutting down.
        """
        if self.draining:
            raise ApiError(ErrorKind.UNAVAILABLE, "The server is shutting down.", retry_after=1)
        limit = self.config.max_concurrent_requests
        if self.in_flight >= limit:
            raise ApiError(
                ErrorKind.OVERLOADED,
                f"{self.in_flight} requests are in flight already; max_concurrent_requests is {limit}.",
                field="max_concurrent_requests",
                limit=limit,
                retry_after=1,
            )
        task = asyncio.current_task()
        assert task is not None  # every protocol gives each request a task of its own
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_cancelling:
                raise
            task.uncancel()
            reason = "The server is shutting down, and could not wait for this request any longer."
            raise ApiError(ErrorKind.UNAVAILABLE, reason, retry_after=1) from None
        finally:
            self._tasks.discard(task)

    def _check(self, call: EmbedCall, service: EmbeddingService) -> None:
        count, limit = len(call.texts), self.config.max_texts
        if count > limit:
            message = f"There are {count} texts; max_texts is {limit} per request."
            raise ApiError(ErrorKind.INVALID, message, field="texts", limit=limit)
        given = call.embeddings
        if given is not None and len(given) != count:
            message = f"There are {len(given)} embeddings for {count} texts; give one per text, or null."
            raise ApiError(ErrorKind.INVALID, message, field="embeddings")
        age, oldest = service.statistics.waiting_seconds, self.config.max_queue_seconds
        if age > oldest:
            raise ApiError(
                ErrorKind.OVERLOADED,
                f"Requests have waited for {age:.1f} s already; max_queue_seconds is {oldest:g}.",
                field="max_queue_seconds",
                limit=oldest,
                retry_after=max(1, math.ceil(age - oldest)),
            )


def _model_info(name: str, service: EmbeddingService, is_default: bool) -> dict[str, Any]:
    settings = service.settings
    return {
        "name": name,
        "default": is_default,
        "dimension": settings.dimensions,
        "max_tokens": settings.max_tokens,
        "pooling": settings.pooling,
        "normalize": settings.normalize,
        "truncate": service.config.truncate,
        "prompts": list(settings.prompts),
        "fingerprint": service.fingerprint(),
    }


async def _embed(service: EmbeddingService, call: EmbedCall, seconds: float) -> EmbeddingResult:
    """Compute the vectors that the client did not give, and put them in their places among the given ones."""
    given = call.embeddings or [None] * len(call.texts)
    with _with_options(service, call) as chosen:
        accepted = _accept(chosen, given, call.form)
        missing = [index for index in range(len(given)) if index not in accepted]
        texts = [call.texts[index] for index in missing]
        try:
            result = await chosen.aencode(texts, prompt_name=call.prompt, timeout=seconds, precision=call.form)
        except (InputError, UnusableVectorError) as error:
            if error.index is None:
                raise
            raise error.changed(index=missing[error.index]) from error  # as the client counts
        if non_finite_rows(result.vectors):
            raise AssertionError("the engine let a vector with NaN or infinity through")
        if not accepted:
            return result
        vectors = np.empty((len(given), result.vectors.shape[1]), dtype=result.vectors.dtype)
        counts, truncated = [0] * len(given), [False] * len(given)
        for row, index in enumerate(missing):
            vectors[index] = result.vectors[row]
            counts[index], truncated[index] = result.token_counts[row], result.truncated[row]
        for index, vector in accepted.items():
            vectors[index] = vector
        return EmbeddingResult(vectors, counts, truncated, result.fingerprint, result.timings)


def _with_options(service: EmbeddingService, call: EmbedCall) -> contextlib.AbstractContextManager[EmbeddingService]:
    """The service itself, or one with the call's options."""
    if all(value is None for value in call.options.values()):
        return contextlib.nullcontext(service)
    return service.with_options(**call.options)


def _accept(service: EmbeddingService, given: list[list[float] | None], precision: str) -> dict[int, Quantized]:
    """The given vectors by index: checked, normalized if the service's are, and converted.

    Raises:
        InputError: One of them cannot be used.
    """
    return {
        index: quantize(service.accept([vector], first_index=index), precision, first_index=index)[0]
        for index, vector in enumerate(given)
        if vector is not None
    }
