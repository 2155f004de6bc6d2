"""Cohere's routes for vectors, in both versions."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings.server.calls.api_error import REQUEST_NAMES, ApiError, ErrorKind
from akidb_embeddings.server.calls.embed_call import EmbedCall, EmbedOutcome
from akidb_embeddings.server.calls.truncation import describe_truncation, truncation_headers, truncation_warning
from akidb_embeddings.server.dialects.cohere import error_body
from akidb_embeddings.server.dialects.cohere_schemas import CohereEmbedAnswer, CohereEmbedRequest
from akidb_embeddings.server.dialects.rerank_schemas import CohereErrorBody
from akidb_embeddings.server.http.responses import (
    ANY_REQUEST,
    Api,
    describe_body,
    describe_errors,
    embed_call,
    read_body,
    vectors_response,
)
from akidb_embeddings.vectors.precision import to_base64

ROUTER = APIRouter(tags=["embed"])
# The names of the arguments in Cohere's API. Its "truncate" has other values than ours, of which hints speak.
_NAMES = {
    **REQUEST_NAMES,
    "prompt": None,
    "dimensions": "output_dimension",
    "truncate": None,
    "truncation_direction": "truncate",
}
_TRUNCATE = {None: None, "NONE": "error", "START": "end", "END": "end"}
_SIDES = {"START": "left", "END": "right"}
_FLOATS = ("float", "base64")
_RESPONSES = describe_errors(*ANY_REQUEST, 404, 422, 429, 503, 504, schema=CohereErrorBody) | describe_truncation()


@ROUTER.post(
    "/v1/embed",
    response_model=CohereEmbedAnswer,
    response_model_exclude_none=True,
    responses=_RESPONSES,
    openapi_extra=describe_body(CohereEmbedRequest),
)
@ROUTER.post(
    "/v2/embed",
    response_model=CohereEmbedAnswer,
    response_model_exclude_none=True,
    responses=_RESPONSES,
    openapi_extra=describe_body(CohereEmbedRequest),
)
async def embed(request: Request) -> Response:
    """Vectors of texts, in one or several types, as Cohere's API returns them."""
    given = await read_body(request, CohereEmbedRequest)
    texts, types = _texts(given), _types(given)
    call = EmbedCall(
        texts,
        model=given.model,
        input_type=given.input_type,
        dimensions=given.output_dimension,
        truncate=_TRUNCATE[given.truncate],
        truncation_direction=_SIDES.get(given.truncate or ""),
        max_tokens=given.max_tokens,
        also=[one for one in types if one not in _FLOATS],
    )
    outcome = await embed_call(request, call, "cohere")
    as_list = given.embedding_types is None and request.url.path == "/v1/embed"
    told = {"id": request.state.request_id, "texts": texts, "meta": _meta(outcome)}

    def body() -> dict[str, Any]:
        if as_list:
            return told | {"response_type": "embeddings_floats", "embeddings": outcome.vectors}
        return told | {"response_type": "embeddings_by_type", "embeddings": {one: _rows(outcome, one) for one in types}}

    return await vectors_response(body, outcome, truncation_headers(outcome.truncated))


def _texts(given: CohereEmbedRequest) -> list[str]:
    """The texts.

    Raises:
        ApiError: There are none, or there is something else.
    """
    others = [name for name in ("images", "inputs") if getattr(given, name) is not None]
    if others or given.input_type == "image":
        field = others[0] if others else "input_type"
        raise ApiError(ErrorKind.INVALID, field=field, reason="is not accepted: this server embeds texts only.")
    if not given.texts:
        reason = "is missing; send a list of texts." if given.texts is None else "is empty; send at least one text."
        raise ApiError(ErrorKind.INVALID, field="texts", reason=reason)
    return given.texts


def _types(given: CohereEmbedRequest) -> list[str]:
    """The types that are asked for, each once.

    Raises:
        ApiError: One of them is uint8.
    """
    types: list[str] = list(dict.fromkeys(given.embedding_types or ["float"]))
    if "uint8" in types:
        reason = (
            "has 'uint8', which needs ranges that fit the client's vectors: request float, and convert it with "
            "quantize(vectors, 'uint8', ranges=...) of this library; or request int8."
        )
        raise ApiError(ErrorKind.INVALID, field="embedding_types", reason=reason)
    return types


def _rows(outcome: EmbedOutcome, kind: str) -> Any:
    if kind == "base64":
        return to_base64(outcome.vectors)
    return outcome.vectors if kind == "float" else outcome.also[kind]


def _meta(outcome: EmbedOutcome) -> dict[str, Any]:
    meta: dict[str, Any] = {"tokens": {"input_tokens": sum(outcome.token_counts), "output_tokens": 0}}
    if warning := truncation_warning(outcome.truncated, "text"):
        meta["warnings"] = [warning]
    return meta


def _error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    return error_body(error, request_id, _NAMES)


API = Api(ROUTER, _error_body)
