"""The messages of embedding.proto, as calls of the handler and of its outcomes."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind
from akidb_embeddings.server.calls.embed_call import EmbedCall, EmbedOutcome
from akidb_embeddings.server.calls.prompting import older_prompt
from akidb_embeddings.server.calls.rerank_call import RerankCall, RerankOutcome
from akidb_embeddings.server.http.parsing import on_parsing_thread
from akidb_embeddings.service.result import Timings
from akidb_embeddings.vectors.precision import little_endian

Schema = TypeVar("Schema", bound=Message)
_EMBED_OPTIONS = (
    "model",
    "pooling",
    "normalize",
    "prompt_name",
    "task",
    "input_type",
    "dimensions",
    "truncate",
    "precision",
    "keep_alive",
)
Call = TypeVar("Call", EmbedCall, RerankCall)
# A message of so many bytes is read in less than a millisecond.
_FEW_BYTES = 1 << 14
# More than a message has fields besides texts and vectors.
_OTHER_FIELDS = 64


async def parse(
    message: bytes, schema: type[Schema], convert: Callable[[Schema], Call], max_items: int
) -> tuple[Call | ApiError, str]:
    """Read a message. A large one is read on another thread: no other request waits for it.

    Args:
        message: The message.
        schema: What it is.
        convert: ``embed_call`` or ``rerank_call``.
        max_items: The most texts that a message may have.

    Returns:
        The call of the handler, and the id that the client gave it. Or an error: the bytes are malformed, have text
        that is not UTF-8, or have far too many fields.
    """
    if len(message) <= _FEW_BYTES:
        return _parse(message, schema, convert, max_items)
    return await on_parsing_thread(_parse, message, schema, convert, max_items)


def _parse(
    message: bytes, schema: type[Schema], convert: Callable[[Schema], Call], max_items: int
) -> tuple[Call | ApiError, str]:
    if has_more_fields(message, 2 * max_items + _OTHER_FIELDS):  # a text and a vector each, and the options
        reason = f"The message has more than {max_items} texts or vectors; max_texts is {max_items} per request."
        return ApiError(ErrorKind.INVALID, reason, field="texts", limit=max_items), ""
    try:
        request: Any = schema.FromString(message)
    except DecodeError:
        return malformed(schema), ""
    try:
        return convert(request), request.request_id
    except ApiError as error:  # options that contradict each other
        return error, request.request_id


def check_empty(message: bytes, schema: type[Message]) -> None:
    """Check a message that has no fields, only such as later versions may have.

    Raises:
        ApiError: It is malformed.
    """
    if not has_more_fields(message, _OTHER_FIELDS):
        with contextlib.suppress(DecodeError):
            schema.FromString(message)
            return
    raise malformed(schema)


def has_more_fields(message: bytes, limit: int) -> bool:
    """Whether a message has more than ``limit`` fields; those within its fields are not counted.

    A text or vector takes two bytes of a message, and a hundred once it is read: millions of them, seconds.
    """
    if len(message) <= limit:
        return False
    place, count = 0, 0
    while place < len(message) and count <= limit:
        key, place = _varint(message, place)
        match key & 7:
            case 0:
                _, place = _varint(message, place)
            case 1:
                place += 8
            case 2:
                length, place = _varint(message, place)
                place += length
            case 5:
                place += 4
        count += 1
    return count > limit


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            break
    return value, place


def malformed(schema: type[Message]) -> ApiError:
    """The error for bytes that are not a message."""
    message = f"The message is not a {schema.DESCRIPTOR.full_name}, or has text that is not UTF-8."
    return ApiError(ErrorKind.MALFORMED, message)


def embed_call(request: pb.EmbedRequest) -> EmbedCall:
    """The request as a call of the handler."""
    given = [list(vector.values) or None for vector in request.embeddings]
    options = _given(request, _EMBED_OPTIONS)
    if request.HasField("prompt_text"):
        options["prompt"] = request.prompt_text
    if request.HasField("prompt"):
        options |= older_prompt(request.prompt, options.get("prompt_name"))
    return EmbedCall(list(request.texts), embeddings=given or None, **options)


def embed_response(outcome: EmbedOutcome, request_id: str) -> pb.EmbedResponse:
    """The outcome of a call as a response."""
    return pb.EmbedResponse(
        model=outcome.model,
        dimension=outcome.dimension,
        precision=outcome.precision,
        vectors=little_endian(outcome.vectors).tobytes(),
        token_counts=outcome.token_counts,
        truncated=outcome.truncated,
        fingerprint=outcome.fingerprint,
        timings=_timings(outcome.timings),
        request_id=request_id,
    )


def rerank_call(request: pb.RerankRequest) -> RerankCall:
    """The request as a call of the handler."""
    options = _given(request, ("model", "top_k", "activation", "instruction", "truncate", "keep_alive"))
    return RerankCall(request.query, list(request.texts), max_over_passages=request.max_over_passages, **options)


def rerank_response(outcome: RerankOutcome, request_id: str) -> pb.RerankResponse:
    """The outcome of a call as a response."""
    result = outcome.result
    return pb.RerankResponse(
        model=outcome.model,
        indices=[hit.index for hit in outcome.hits],
        scores=[hit.score for hit in outcome.hits],
        token_counts=result.token_counts,
        truncated=result.truncated,
        fingerprint=result.fingerprint,
        timings=_timings(result.timings),
        request_id=request_id,
    )


def _given(request: Message, names: Sequence[str]) -> dict[str, Any]:
    """The optional fields that a request has."""
    return {name: getattr(request, name) for name in names if request.HasField(name)}


def _timings(timings: Timings) -> pb.Timings:
    return pb.Timings(**{name: 1e3 * getattr(timings, name) for name in ("tokenize", "queue", "compute", "total")})
