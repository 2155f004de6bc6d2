"""Where every request of every protocol is taken in: limits, model, options, vectors; and what became of it."""

import asyncio
import contextlib
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import InputError, NonFiniteVectorError
from akidb_embeddings.server.metrics import Metrics
from akidb_embeddings.server.refusal import Kind, Refusal, refusal_of
from akidb_embeddings.service.job import Timings
from akidb_embeddings.service.service import EmbeddingResult, EmbeddingService
from akidb_embeddings.vectors.finish import non_finite_rows
from akidb_embeddings.vectors.precision import Quantized, quantize


@dataclass(frozen=True)
class Question:
    """What a client asks; None is as configured. ``embeddings``: vectors that the client has, one a text or None."""

    texts: list[str]
    model: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    prompt: str | None = None
    dimensions: int | None = None
    truncate: str | None = None
    precision: str | None = None
    embeddings: list[list[float] | None] | None = None


@dataclass(frozen=True)
class Answer:
    """Vectors in ``precision``, and what became of each text; see ``EmbeddingResult``. ``model`` is its name.

    ``dimension`` is the vectors', also where eight of them are packed into a byte.
    """

    model: str
    dimension: int
    precision: str
    vectors: Quantized
    token_counts: list[int]
    truncated: list[bool]
    fingerprint: str
    timings: Timings


class Desk:
    """The models by name, the first by default, and the limits that hold for all clients together."""

    def __init__(self, config: ServerConfig, services: Mapping[str, EmbeddingService], metrics: Metrics) -> None:
        self.config, self.services, self.metrics = config, services, metrics
        self.draining = False
        self._working: set[asyncio.Task[object]] = set()
        self._gave_up = False

    @property
    def in_flight(self) -> int:
        """Requests that are worked on or wait."""
        return len(self._working)

    def give_up(self) -> None:
        """Refuse the requests in flight: the server ends before they are done."""
        self._gave_up = True
        for task in self._working:
            task.cancel()

    @property
    def default(self) -> str:
        """The model for requests that name none."""
        return next(iter(self.services))

    def service(self, name: str | None) -> tuple[str, EmbeddingService]:
        """The model called ``name``. Refusal: there is none."""
        chosen = self.default if name is None else name
        if chosen not in self.services:
            served = ", ".join(self.services)
            raise Refusal(Kind.NOT_FOUND, f"There is no model {chosen[:200]!r} here; there is {served}.", field="model")
        return chosen, self.services[chosen]

    async def answer(self, question: Question, protocol: str, seconds: float | None = None) -> Answer:
        """Compute an answer within ``seconds``, or the configured time if that is less.

        Refusal: whatever the reason. Cancelling takes the texts out of the queue.
        """
        begin = time.monotonic()
        outcome = "cancelled"
        try:
            with self._place():
                name, service = self.service(question.model)
                self._check(question, service)
                limit = self.config.request_seconds
                result = await _encode(service, question, limit if seconds is None else min(seconds, limit))
            outcome = "ok"
        except Exception as error:
            refusal = refusal_of(error)
            outcome = refusal.kind.label
            if refusal is error:
                raise
            raise refusal from error
        finally:
            self.metrics.request(protocol, outcome, time.monotonic() - begin)
        self.metrics.texts(name, len(question.texts), sum(result.token_counts))
        return Answer(
            model=name,
            dimension=question.dimensions or service.dimension,
            precision=_precision(question),
            vectors=result.vectors,
            token_counts=result.token_counts,
            truncated=result.truncated,
            fingerprint=result.fingerprint,
            timings=result.timings,
        )

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for requests that are worked on. Refusal: all are taken, or the server is ending."""
        if self.draining:
            raise Refusal(Kind.UNAVAILABLE, "The server is shutting down.", retry_after=1)
        limit = self.config.max_concurrent_requests
        if self.in_flight >= limit:
            raise Refusal(
                Kind.OVERLOADED,
                f"{self.in_flight} requests are worked on already; max_concurrent_requests is {limit}.",
                field="max_concurrent_requests",
                limit=limit,
                retry_after=1,
            )
        task = asyncio.current_task()
        assert task is not None  # every protocol gives each request a task of its own
        self._working.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._gave_up:
                raise
            task.uncancel()
            reason = "The server is shutting down, and could not wait for this request any longer."
            raise Refusal(Kind.UNAVAILABLE, reason, retry_after=1) from None
        finally:
            self._working.discard(task)

    def _check(self, question: Question, service: EmbeddingService) -> None:
        count, limit = len(question.texts), self.config.max_texts
        if count > limit:
            raise Refusal(
                Kind.INVALID, f"There are {count} texts; max_texts is {limit} a request.", field="texts", limit=limit
            )
        given = question.embeddings
        if given is not None and len(given) != count:
            raise Refusal(
                Kind.INVALID,
                f"There are {len(given)} embeddings and {count} texts; one a text is wanted, or null.",
                field="embeddings",
            )
        age, oldest = service.statistics.waiting_seconds, self.config.max_queue_seconds
        if age > oldest:
            raise Refusal(
                Kind.OVERLOADED,
                f"Requests wait for {age:.1f} s already; max_queue_seconds is {oldest:g}.",
                field="max_queue_seconds",
                limit=oldest,
                retry_after=max(1, math.ceil(age - oldest)),
            )


async def _encode(service: EmbeddingService, question: Question, seconds: float) -> EmbeddingResult:
    """The result of what is to be computed, with what was given in its places."""
    given = question.embeddings or [None] * len(question.texts)
    with _as_asked(service, question) as asked:
        accepted = _accept(asked, given, _precision(question))
        missing = [index for index in range(len(given)) if index not in accepted]
        try:
            result = await asked.aencode(
                [question.texts[index] for index in missing],
                prompt_name=question.prompt,
                timeout=seconds,
                precision=_precision(question),
            )
        except (InputError, NonFiniteVectorError) as error:
            raise _renumbered(error, missing) from error
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


def _renumbered(error: InputError | NonFiniteVectorError, missing: list[int]) -> Exception:
    """The error with the index that the text has in the request, where those with vectors count as well."""
    if isinstance(error, NonFiniteVectorError):
        return NonFiniteVectorError(missing[error.index], error.tokens)
    return InputError(re.sub(r"^texts\[(\d+)\]", lambda found: f"texts[{missing[int(found[1])]}]", str(error)))


def _as_asked(service: EmbeddingService, question: Question) -> contextlib.AbstractContextManager[EmbeddingService]:
    """The service with the question's options."""
    options = (question.pooling, question.normalize, question.dimensions, question.truncate)
    if options == (None,) * 4:
        return contextlib.nullcontext(service)
    pooling, normalize, dimensions, truncate = options
    return service.with_options(pooling=pooling, normalize=normalize, dimensions=dimensions, truncate=truncate)


def _precision(question: Question) -> str:
    return "float32" if question.precision is None else question.precision


def _accept(service: EmbeddingService, given: list[list[float] | None], precision: str) -> dict[int, Quantized]:
    """The given vectors by index, checked, normalized and converted as asked. Refusal: one cannot be used."""
    accepted = {}
    for index, vector in enumerate(given):
        if vector is not None:
            try:
                accepted[index] = quantize(service.accept([vector], first_index=index), precision, first_index=index)[0]
            except InputError as error:
                reason = str(error).replace("vectors[", "embeddings[")
                raise Refusal(Kind.INVALID, reason, field=f"embeddings[{index}]") from error
    return accepted
