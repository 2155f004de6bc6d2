"""Cohere's route for scores, in both versions, which is Jina's, too."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings.errors import Names
from akidb_embeddings.server.calls.api_error import REQUEST_NAMES, ApiError
from akidb_embeddings.server.calls.durations import keep_alive_seconds
from akidb_embeddings.server.calls.rerank_call import RerankCall, RerankOutcome
from akidb_embeddings.server.calls.truncation import describe_truncation, truncation_headers, truncation_warning
from akidb_embeddings.server.dialects.rerank_schemas import CohereAnswer, CohereErrorBody, CohereRerankRequest
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
# The names of the arguments in Cohere's API.
_NAMES = {**REQUEST_NAMES, "prompt": None, "top_k": "top_n"}
_RESPONSES = describe_errors(*ANY_REQUEST, 404, 422, 429, 503, 504, schema=CohereErrorBody) | describe_truncation()


@ROUTER.post(
    "/v1/rerank",
    response_model=CohereAnswer,
    response_model_exclude_none=True,
    responses=_RESPONSES,
    openapi_extra=describe_body(CohereRerankRequest),
)
@ROUTER.post(
    "/v2/rerank",
    response_model=CohereAnswer,
    response_model_exclude_none=True,
    responses=_RESPONSES,
    openapi_extra=describe_body(CohereRerankRequest),
)
async def rerank(request: Request) -> Response:
    """Scores of documents for one query, the best first, as Cohere's and Jina's APIs return them."""
    given = await read_body(request, CohereRerankRequest)
    documents = [one if isinstance(one, str) else one.text for one in given.documents]
    call = RerankCall(
        given.query,
        documents,
        model=given.model,
        top_k=given.top_n,
        activation="identity" if given.raw_scores else "sigmoid",
        instruction=given.instruction,
        max_over_passages=bool(given.max_over_passages),
        truncate=given.truncate,
        max_tokens_per_doc=given.max_tokens_per_doc,
        keep_alive=keep_alive_seconds(given.keep_alive),
    )
    outcome = await rerank_call(request, call, "cohere")
    body = _body(outcome, documents if given.return_documents else None, request.state.request_id)
    return json_response(body, headers=truncation_headers(outcome.result.truncated))


def _body(outcome: RerankOutcome, documents: list[str] | None, request_id: str) -> dict[str, Any]:
    tokens = sum(outcome.result.token_counts)
    results: list[dict[str, Any]] = [{"index": hit.index, "relevance_score": hit.score} for hit in outcome.hits]
    if documents is not None:
        for result in results:
            result["document"] = {"text": documents[result["index"]]}
    meta: dict[str, Any] = {"tokens": {"input_tokens": tokens, "output_tokens": 0}}
    if warning := truncation_warning(outcome.result.truncated, "document"):
        meta["warnings"] = [warning]
    return {
        "id": request_id,
        "model": outcome.model,
        "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": meta,
    }


def error_body(error: ApiError, request_id: str, names: Names) -> dict[str, Any]:
    """The JSON object for an error, in Cohere's form."""
    body = {"message": error.message(names), "type": error.kind.label, "request_id": request_id}
    return body | error.details(names)


def _rerank_error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    return error_body(error, request_id, _NAMES)


API = Api(ROUTER, _rerank_error_body)
