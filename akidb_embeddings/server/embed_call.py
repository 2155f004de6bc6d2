"""Embedding requests: what a client asks for, and what it gets; also vectors that it has already."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from akidb_embeddings.errors import InputError, UnusableVectorError
from akidb_embeddings.server.api_error import ApiError, ErrorKind
from akidb_embeddings.service.result import EmbeddingResult, Timings
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import non_finite_rows
from akidb_embeddings.vectors.precision import Quantized, quantize

# Checking this many given numbers takes a millisecond.
_FEW_NUMBERS = 4096


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


def check_vectors_given(call: EmbedCall) -> None:
    """Check that there are as many given vectors as texts, or none.

    Raises:
        ApiError: There are more or fewer.
    """
    given, count = call.embeddings, len(call.texts)
    if given is not None and len(given) != count:
        message = f"There are {len(given)} embeddings for {count} texts; give one per text, or null."
        raise ApiError(ErrorKind.INVALID, message, field="embeddings")


async def compute(service: EmbeddingService, call: EmbedCall, seconds: float) -> EmbeddingResult:
    """Compute the vectors that the client did not give, and put them in their places among the given ones.

    Raises:
        EmbeddingError: A text or vector cannot be used, or the time is up.
    """
    given = call.embeddings or [None] * len(call.texts)
    with _with_options(service, call) as chosen:
        accepted = await _accept_all(chosen, given, call.form)
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


async def _accept_all(
    service: EmbeddingService, given: list[list[float] | None], precision: str
) -> dict[int, Quantized]:
    """``_accept``, on another thread if it takes long."""
    if sum(len(vector) for vector in given if vector is not None) <= _FEW_NUMBERS:
        return _accept(service, given, precision)
    return await asyncio.to_thread(_accept, service, given, precision)


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
