"""Ollama's API, for clients that only embed: vectors, and which models there are.

Only models that the operator has named exist: none is pulled, created or deleted.
"""

import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings import __version__
from akidb_embeddings.server.calls.api_error import REQUEST_NAMES, ApiError, ErrorKind
from akidb_embeddings.server.calls.durations import keep_alive_seconds
from akidb_embeddings.server.calls.embed_call import EmbedCall
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.calls.truncation import describe_truncation, truncation_headers
from akidb_embeddings.server.dialects import ollama_schemas as schemas
from akidb_embeddings.server.dialects.inputs import texts_of
from akidb_embeddings.server.http.responses import (
    ANY_REQUEST,
    Api,
    describe_body,
    describe_errors,
    embed_call,
    handler_of,
    json_response,
    read_body,
    vectors_response,
)

ROUTER = APIRouter(prefix="/api", tags=["ollama"])
_STARTED = datetime.now(UTC).isoformat()
_TAG = ":latest"
# The names of the arguments in Ollama's API. Its "truncate" has other values than ours, of which hints speak.
_NAMES = {**REQUEST_NAMES, "texts": "input", "prompt": None, "truncate": None}
_TRUNCATE = {None: None, True: "end", False: "error"}
_MODELS_ARE_CHOSEN = (
    "Whoever runs this server chooses its models: akidb-embed serve --model NAME. Clients cannot pull, push, create, "
    "copy or delete one; /api/tags lists them."
)
_ONLY_EMBEDS = "This server embeds texts, and does not generate any: POST /api/embed."
_REFUSED = {
    **dict.fromkeys(("/pull", "/push", "/create", "/copy", "/delete", "/blobs/{digest}"), _MODELS_ARE_CHOSEN),
    **dict.fromkeys(("/generate", "/chat"), _ONLY_EMBEDS),
}


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return describe_errors(*ANY_REQUEST, *statuses)


@ROUTER.post(
    "/embed",
    response_model=schemas.OllamaEmbedAnswer,
    responses=_responses(404, 422, 429, 503, 504) | describe_truncation(),
    openapi_extra=describe_body(schemas.OllamaEmbedRequest),
)
async def embed(request: Request) -> Response:
    """Vectors of texts."""
    begin = time.monotonic()
    given = await read_body(request, schemas.OllamaEmbedRequest)
    call = EmbedCall(
        [] if given.input is None or given.input == [] else texts_of(given.input, "input"),
        model=_name(request, given.model),
        truncate=_TRUNCATE[given.truncate],
        dimensions=given.dimensions,
        keep_alive=keep_alive_seconds(given.keep_alive),
    )
    outcome = await embed_call(request, call, "ollama")
    body = {
        "model": given.model or outcome.model,
        "embeddings": outcome.vectors,
        "total_duration": round(1e9 * (time.monotonic() - begin)),
        "load_duration": round(1e9 * outcome.load_seconds),
        "prompt_eval_count": sum(outcome.token_counts),
    }
    return await vectors_response(lambda: body, outcome, truncation_headers(outcome.truncated))


@ROUTER.post(
    "/embeddings",
    response_model=schemas.OllamaPromptAnswer,
    responses=_responses(404, 422, 429, 503, 504) | describe_truncation(),
    openapi_extra=describe_body(schemas.OllamaPromptRequest),
)
async def embeddings(request: Request) -> Response:
    """The vector of one text, as older clients of Ollama ask for it."""
    given = await read_body(request, schemas.OllamaPromptRequest)
    keep_alive, model = keep_alive_seconds(given.keep_alive), _name(request, given.model)
    call = EmbedCall([given.prompt], model=model, keep_alive=keep_alive, names={"texts": "prompt"})
    outcome = await embed_call(request, call, "ollama")
    body = {"embedding": outcome.vectors[0]}
    return await vectors_response(lambda: body, outcome, truncation_headers(outcome.truncated))


@ROUTER.get("/tags", response_model=schemas.OllamaModels, responses=_responses())
async def tags(request: Request) -> Response:
    """The embedding models."""
    return json_response({"models": [_model(one) for one in handler_of(request).info()["models"]]})


@ROUTER.post(
    "/show",
    response_model=schemas.OllamaDescription,
    responses=_responses(404, 422),
    openapi_extra=describe_body(schemas.OllamaShowRequest),
)
async def show(request: Request) -> Response:
    """What is known of one model."""
    given = await read_body(request, schemas.OllamaShowRequest)
    found = _find(request, given.model if given.name is None else given.name)
    kind = found["architecture"]
    body = {
        "modified_at": _STARTED,
        "capabilities": ["embedding"],
        "details": _details(found),
        "model_info": {
            "general.architecture": kind,
            f"{kind}.context_length": found["max_tokens"],
            f"{kind}.embedding_length": found["dimension"],
        }
        if kind
        else {},  # nothing is known until it has been loaded once
    }
    return json_response(body)


@ROUTER.get("/version", response_model=schemas.OllamaVersion, responses=_responses())
async def version() -> Response:
    """The version of this server."""
    return json_response({"version": __version__})


async def _refuse(request: Request) -> Response:
    raise ApiError(ErrorKind.NOT_FOUND, _REFUSED[request.scope["route"].path.removeprefix("/api")])


for _path in _REFUSED:
    ROUTER.add_api_route(_path, _refuse, methods=["POST", "DELETE"], include_in_schema=False)


def _name(request: Request, given: str | None) -> str | None:
    """The model's name as this server knows it: clients of Ollama may add a tag."""
    handler: Handler = handler_of(request)
    return given if given is None or given in handler.models.names else given.removesuffix(_TAG)


def _find(request: Request, given: str | None) -> dict[str, Any]:
    """What ``/info`` tells of an embedding model.

    Raises:
        ApiError: There is none of that name.
    """
    models = {one["name"]: one for one in handler_of(request).info()["models"]}
    name = _name(request, given) if given is not None else next(iter(models), None)
    if name not in models:
        message = f"No embedding model is called {str(given)[:200]!r} here; this server has {', '.join(models)}."
        raise ApiError(ErrorKind.NOT_FOUND, message, field="model")
    found: dict[str, Any] = models[name]
    return found


def _model(found: dict[str, Any]) -> dict[str, Any]:
    name = f"{found['name']}{_TAG}"
    told = {"name": name, "model": name, "modified_at": _STARTED, "digest": found["fingerprint"]}
    return told | {"details": _details(found)}


def _details(found: dict[str, Any]) -> dict[str, Any]:
    kind = found["architecture"]
    return {"format": "mlx", "family": kind, "families": [] if kind is None else [kind]}


def _error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    body = {"error": error.message(_NAMES), "type": error.kind.label, "request_id": request_id}
    return body | error.details(_NAMES)


API = Api(ROUTER, _error_body)
