"""Hugging Face's Text Embeddings Inference: its route for scores."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings.errors import Names
from akidb_embeddings.server.calls.api_error import REQUEST_NAMES, ApiError, ErrorKind
from akidb_embeddings.server.calls.durations import keep_alive_seconds
from akidb_embeddings.server.calls.rerank_call import RerankCall
from akidb_embeddings.server.calls.truncation import describe_truncation, truncation_headers
from akidb_embeddings.server.dialects.rerank_schemas import TeiHit, TeiRerankRequest
from akidb_embeddings.server.dialects.tei_schemas import TeiErrorBody
from akidb_embeddings.server.http.responses import (
    ANY_REQUEST,
    Api,
    describe_body,
    describe_errors,
    json_response,
    read_body,
    rerank_call,
)

ROUTER = APIRouter(tags=["rerank"])
# The names of the arguments in TEI's API. Its "truncate" has other values than ours, of which hints speak.
_NAMES = {**REQUEST_NAMES, "prompt": None, "documents": "texts", "truncate": None}
_ERROR_TYPES = {
    ErrorKind.OVERLOADED: "Overloaded",
    ErrorKind.UNAVAILABLE: "Unhealthy",
    ErrorKind.INTERNAL: "Backend",
    ErrorKind.DEADLINE: "Backend",
}
_TRUNCATE = {None: None, True: "end", False: "error"}


@ROUTER.post(
    "/rerank",
    response_model=list[TeiHit],
    responses=describe_errors(*ANY_REQUEST, 404, 422, 429, 503, 504, schema=TeiErrorBody) | describe_truncation(),
    openapi_extra=describe_body(TeiRerankRequest),
)
async def rerank(request: Request) -> Response:
    """Scores of texts for one query, the best first, as Text Embeddings Inference returns them."""
    given = await read_body(request, TeiRerankRequest)
    side = given.truncation_direction
    call = RerankCall(
        given.query,
        given.texts,
        model=given.model,
        activation="identity" if given.raw_scores else "sigmoid",
        truncate=_TRUNCATE[given.truncate],
        truncation_direction=None if side is None else side.lower(),
        keep_alive=keep_alive_seconds(given.keep_alive),
    )
    outcome = await rerank_call(request, call, "tei")
    body: list[dict[str, Any]] = [{"index": hit.index, "score": hit.score} for hit in outcome.hits]
    if given.return_text:
        body = [{**entry, "text": given.texts[hit.index]} for entry, hit in zip(body, outcome.hits, strict=True)]
    return json_response(body, headers=truncation_headers(outcome.result.truncated))


def error_body(error: ApiError, request_id: str, names: Names = REQUEST_NAMES) -> dict[str, Any]:
    """The JSON object for an error: this library's own, with Text Embeddings Inference's word for its kind."""
    body = {
        "error": error.message(names),
        "type": error.kind.label,
        "error_type": _ERROR_TYPES.get(error.kind, "Validation"),
        "request_id": request_id,
    }
    return body | error.details(names)


def _rerank_error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    return error_body(error, request_id, _NAMES)


API = Api(ROUTER, _rerank_error_body)
