"""The REST API of this library: its routes, and the form of its errors."""

import functools
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from akidb_embeddings.registry.outputs import DENSE
from akidb_embeddings.server.calls.api_error import REQUEST_NAMES, ApiError, ErrorKind
from akidb_embeddings.server.calls.durations import keep_alive_seconds
from akidb_embeddings.server.calls.embed_call import EmbedCall, EmbedOutcome
from akidb_embeddings.server.calls.health import Health
from akidb_embeddings.server.calls.prompting import older_prompt
from akidb_embeddings.server.dialects.tei_info import tei_info
from akidb_embeddings.server.dialects.tei_schemas import Info
from akidb_embeddings.server.http import schemas
from akidb_embeddings.server.http.responses import (
    ANY_REQUEST,
    Api,
    describe_errors,
    embed_call,
    handler_of,
    json_response,
    vectors_response,
)
from akidb_embeddings.vectors.precision import to_base64
from akidb_embeddings.vectors.sparse import SparseVector

ROUTER = APIRouter()
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": schemas.Status, "description": "Not ready, or not alive"}}


async def embed(request: Request, given: schemas.EmbedRequest) -> Response:
    """Vectors of texts, with token counts, truncation flags and the fingerprint of their space."""
    _check_encoding(given)
    outcome = await embed_call(request, _call(given), "rest")
    return await vectors_response(functools.partial(_body, outcome, given.encoding_format == "base64"), outcome)


def _check_encoding(given: schemas.EmbedRequest) -> None:
    if given.encoding_format == "base64" and given.output not in (None, DENSE):
        message = f"encoding_format is base64, which is for dense vectors; the output {given.output!r} has numbers."
        raise ApiError(ErrorKind.INVALID, message, field="encoding_format")


def _texts(outcome: EmbedOutcome) -> list[object]:
    """The results of another output than dense."""
    return [
        {"indices": text.indices, "values": text.values} if isinstance(text, SparseVector) else text
        for text in outcome.texts
    ]


@ROUTER.get("/info", tags=["about"], response_model=Info, responses=describe_errors(*ANY_REQUEST))
async def info(request: Request) -> Response:
    """Version, limits, and the default options of each model; besides, what Text Embeddings Inference tells there."""
    handler = handler_of(request)
    return json_response(tei_info(handler) | handler.info())


@ROUTER.get(
    "/livez",
    tags=["about"],
    response_model=schemas.Status,
    responses=describe_errors(*ANY_REQUEST) | _NOT_READY,
)
async def livez(request: Request) -> Response:
    """Liveness: the process responds, and no model's thread has died permanently. Otherwise, restart the process."""
    return _status("alive", _health_of(request).liveness_problems())


@ROUTER.get(
    "/health",
    tags=["about"],
    response_model=schemas.Status,
    responses=describe_errors(*ANY_REQUEST) | _NOT_READY,
)
@ROUTER.get(
    "/readyz",
    tags=["about"],
    response_model=schemas.Status,
    responses=describe_errors(*ANY_REQUEST) | _NOT_READY,
)
async def readyz(request: Request) -> Response:
    """Readiness: every model's thread is running. After a failure or long idle time, it computes a test embedding."""
    return _status("ready", await _health_of(request).readiness_problems())


@ROUTER.get("/metrics", tags=["about"], response_class=Response, responses=describe_errors(*ANY_REQUEST))
async def metrics(request: Request) -> Response:
    """Metrics for Prometheus."""
    return Response(handler_of(request).metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    body = {"error": error.message(REQUEST_NAMES), "type": error.kind.label, "request_id": request_id}
    return body | error.details()


API = Api(ROUTER, _error_body)


def _call(given: schemas.EmbedRequest) -> EmbedCall:
    own = ("encoding_format", "prompt", "prompt_text", "keep_alive")
    options = {name: value for name, value in given if name not in own}
    if given.prompt is not None:
        options |= older_prompt(given.prompt, given.prompt_name)
    return EmbedCall(**options, prompt=given.prompt_text, keep_alive=keep_alive_seconds(given.keep_alive))


def _health_of(request: Request) -> Health:
    health: Health = request.app.state.health
    return health


def _body(outcome: EmbedOutcome, as_base64: bool) -> dict[str, Any]:
    timings = outcome.timings
    vectors = to_base64(outcome.vectors) if as_base64 else outcome.vectors
    return {
        "model": outcome.model,
        "dimension": outcome.dimension,
        "embeddings": vectors if outcome.output == DENSE else _texts(outcome),
        "output": outcome.output,
        "precision": outcome.precision,
        "token_counts": outcome.token_counts,
        "truncated": outcome.truncated,
        "fingerprint": outcome.fingerprint,
        "timings": {
            f"{name}_ms": round(1e3 * getattr(timings, name), 3) for name in ("tokenize", "queue", "compute", "total")
        },
    }


def _status(state: str, problems: list[str]) -> Response:
    body = {"status": f"not {state}" if problems else state, "problems": problems}
    return json_response(body, 503 if problems else 200)
