"""The messages of embedding.proto, as calls of the handler and of its outcomes."""

from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.api_error import ApiError, ErrorKind
from akidb_embeddings.server.embed_call import EmbedCall, EmbedOutcome
from akidb_embeddings.server.prompting import older_prompt
from akidb_embeddings.server.rerank_call import RerankCall, RerankOutcome
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


def parse(message: bytes, schema: type[Schema]) -> Schema | None:
    """The message; None if the bytes are malformed, or have text that is not UTF-8."""
    try:
        return schema.FromString(message)
    except DecodeError:
        return None


def malformed(schema: type[Message]) -> ApiError:
    """The error for bytes that ``parse`` cannot read."""
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
    options = _given(request, ("model", "top_k", "activation", "instruction", "truncate"))
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
