"""OpenAI's embeddings API, for its clients."""

import functools
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings.server.calls.api_error import REQUEST_NAMES, ApiError
from akidb_embeddings.server.calls.durations import keep_alive_seconds
from akidb_embeddings.server.calls.embed_call import EmbedCall, EmbedOutcome
from akidb_embeddings.server.calls.truncation import describe_truncation, truncation_headers
from akidb_embeddings.server.dialects.inputs import texts_of
from akidb_embeddings.server.http import schemas
from akidb_embeddings.server.http.responses import (
    ANY_REQUEST,
    Api,
    describe_body,
    describe_errors,
    describe_path_parameter,
    embed_call,
    handler_of,
    json_response,
    read_body,
    vectors_response,
)
from akidb_embeddings.vectors.precision import to_base64

ROUTER = APIRouter(prefix="/v1", tags=["openai"])
# What OpenAI tells of every model besides its name.
_MODEL = {"object": "model", "created": int(time.time()), "owned_by": "akidb"}
# The names of the arguments in OpenAI's API.
_NAMES = {**REQUEST_NAMES, "texts": "input", "prompt": "prompt"}


@ROUTER.post(
    "/embeddings",
    response_model=schemas.OpenAIAnswer,
    responses=describe_errors(*ANY_REQUEST, 404, 422, 429, 503, 504, schema=schemas.OpenAIErrorBody)
    | describe_truncation(),
    openapi_extra=describe_body(schemas.OpenAIRequest),
)
async def embeddings(request: Request) -> Response:
    """Vectors as OpenAI's `embeddings.create` returns them. Token ids are rejected: their vocabulary is another one."""
    given = await read_body(request, schemas.OpenAIRequest)
    options = {name: value for name, value in given if name not in ("input", "encoding_format", "user", "keep_alive")}
    call = EmbedCall(texts_of(given.input, "input"), keep_alive=keep_alive_seconds(given.keep_alive), **options)
    outcome = await embed_call(request, call, "openai")
    body = functools.partial(_body, outcome, given.encoding_format == "base64")
    return await vectors_response(body, outcome, truncation_headers(outcome.truncated))


@ROUTER.get(
    "/models",
    response_model=schemas.OpenAIModels,
    responses=describe_errors(*ANY_REQUEST, schema=schemas.OpenAIErrorBody),
)
async def models(request: Request) -> Response:
    """The models that are served."""
    data = [_MODEL | one for one in handler_of(request).models.listed()]
    return json_response({"object": "list", "data": data})


# Names may have slashes. Clients send them encoded or not; both arrive decoded.
@ROUTER.get(
    "/models/{model:path}",
    response_model=schemas.OpenAIModel,
    responses=describe_errors(*ANY_REQUEST, 404, schema=schemas.OpenAIErrorBody),
    openapi_extra=describe_path_parameter("model", "A name that `/v1/models` lists."),
)
async def model(request: Request) -> Response:
    """One of the models that are served."""
    return json_response(_MODEL | handler_of(request).models.one(request.path_params["model"]))


def _error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "message": error.message(_NAMES),
        "type": "server_error" if error.kind.status >= 500 else "invalid_request_error",
        "param": error.subject(_NAMES),
        "code": error.kind.label,
    }
    return {"error": detail, "request_id": request_id}


API = Api(ROUTER, _error_body)


def _body(outcome: EmbedOutcome, as_base64: bool) -> dict[str, Any]:
    tokens = sum(outcome.token_counts)
    rows = to_base64(outcome.vectors) if as_base64 else outcome.vectors
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": outcome.model, "data": data, "usage": usage}
