"""Embedding requests: what a client asks for, and what it gets; also vectors that it has already."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from akidb_embeddings.errors import EmbeddingError, InputError, UnusableVectorError
from akidb_embeddings.registry.outputs import DENSE
from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind, api_error
from akidb_embeddings.server.calls.embed_options import EmbedOptions, check_cuts
from akidb_embeddings.server.calls.prompting import prompt_of
from akidb_embeddings.service.result import EmbeddingResult, Timings
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors, non_finite_rows
from akidb_embeddings.vectors.precision import Quantized, quantize
from akidb_embeddings.vectors.sparse import SparseVector

# Checking this many given numbers takes a millisecond.
_FEW_NUMBERS = 4096


@dataclass(frozen=True)
class EmbedCall(EmbedOptions):
    """What a client asks for.

    Attributes:
        texts: The texts.
        embeddings: Vectors that the client has already, one per text or None.
        also: Precisions in which the vectors are wanted, too.
    """

    texts: list[str]
    embeddings: list[list[float] | None] | None = None
    also: Sequence[str] = ()


@dataclass(frozen=True)
class EmbedOutcome:
    """The vectors of a call in ``precision``, and what became of each text; see ``EmbeddingResult``.

    Attributes:
        model: The name of the model that computed them.
        dimension: The length of the vectors, also where eight dimensions are packed into a byte.
        output: What each text became, of ``OUTPUTS``.
        texts: The results of another output than dense, one per text; ``vectors`` is empty then.
        also: The vectors in the further precisions of the call.
        load_seconds: How long the request waited for the model to be loaded.
        limit: The tokens at which longer texts were cut.
    """

    model: str
    dimension: int
    precision: str
    vectors: Quantized
    token_counts: list[int]
    truncated: list[bool]
    fingerprint: str
    timings: Timings
    limit: int
    also: Mapping[str, Quantized] = field(default_factory=dict)
    load_seconds: float = 0.0
    output: str = DENSE
    texts: Sequence[SparseVector | Vectors] = ()

    @property
    def size(self) -> int:
        """How many numbers the results have."""
        return self.vectors.size + sum(text.size for text in self.texts)


@contextlib.contextmanager
def named(call: EmbedCall) -> Iterator[None]:
    """Errors call arguments what the client calls them.

    Raises:
        ApiError: The library's error, if the client has names of its own.
    """
    try:
        yield
    except EmbeddingError as error:
        if not call.names:
            raise
        raise api_error(error).changed(names=call.names) from error


def check_vectors_given(call: EmbedCall) -> None:
    """Check that there are as many given vectors as texts, or none.

    Raises:
        ApiError: There are more or fewer.
    """
    given, count = call.embeddings, len(call.texts)
    if given is not None and len(given) != count:
        message = f"There are {len(given)} embeddings for {count} texts; give one per text, or null."
        raise ApiError(ErrorKind.INVALID, message, field="embeddings")


async def answer(
    name: str, service: EmbeddingService, call: EmbedCall, seconds: float, load_seconds: float
) -> EmbedOutcome:
    """Compute the vectors in all wanted precisions, and put the given ones among them.

    Args:
        name: The model's name.
        service: The model.
        call: What is wanted.
        seconds: The time for it.
        load_seconds: How long the request waited for the model.

    Raises:
        EmbeddingError: A text or vector cannot be used, or the time is up.
    """
    result = await compute(service, call, seconds)
    return EmbedOutcome(
        model=name,
        dimension=call.dimensions or service.dimension,
        precision=call.form,
        vectors=result.vectors,
        token_counts=result.token_counts,
        truncated=result.truncated,
        fingerprint=result.fingerprint,
        timings=result.timings,
        limit=service.token_limit(),
        also=await convert(service, call, result, seconds),
        load_seconds=load_seconds,
    )


async def compute(service: EmbeddingService, call: EmbedCall, seconds: float) -> EmbeddingResult:
    """Compute the vectors that the client did not give, and put them in their places among the given ones.

    Raises:
        EmbeddingError: A text or vector cannot be used, or the time is up.
    """
    given = call.embeddings or [None] * len(call.texts)
    with _with_options(service, call) as chosen:
        check_cuts(call, chosen)
        prompt = prompt_of(chosen, call)
        accepted = await _accept_all(chosen, given, call.form)
        missing = [index for index in range(len(given)) if index not in accepted]
        texts = [call.texts[index] for index in missing]
        try:
            result = await chosen.aencode(texts, prompt=prompt, timeout=seconds, precision=call.form)
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


async def convert(
    service: EmbeddingService, call: EmbedCall, result: EmbeddingResult, seconds: float
) -> dict[str, Quantized]:
    """The result's float32 vectors in the further precisions of the call, without computing them again.

    Models whose vectors are integers define their int8 and bits themselves: they do compute again.

    Raises:
        EmbeddingError: The time is up, or a precision is not allowed.
    """
    if not call.also:
        return {}
    if not service.settings.integers:
        return await asyncio.to_thread(lambda: {form: quantize(result.vectors, form) for form in call.also})
    end = time.monotonic() + seconds - result.timings.total
    return {
        form: (await compute(service, replace(call, precision=form, also=()), max(0.0, end - time.monotonic()))).vectors
        for form in call.also
    }


def _with_options(service: EmbeddingService, call: EmbedCall) -> contextlib.AbstractContextManager[EmbeddingService]:
    """The service itself, or one with the call's options."""
    settings = service.settings
    in_force = {
        "pooling": settings.pooling,
        "normalize": settings.normalize,
        "dimensions": settings.dimensions,
        "truncate": service.config.truncate,
    }
    changes = {name: value for name, value in call.changes.items() if value is not None and value != in_force[name]}
    return service.with_options(**changes) if changes else contextlib.nullcontext(service)


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
