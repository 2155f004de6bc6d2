"""REST: the routes, and the OpenAPI document that describes them."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from akidb_embeddings import __version__
from akidb_embeddings.server import openai, shapes, telemetry
from akidb_embeddings.server.answering import KINDS, answered, body_of, desk_of, json_response, refusals
from akidb_embeddings.server.desk import Answer, Desk, Question
from akidb_embeddings.server.gate import CLIENT_LEFT, ClientLeftError, Gate, refusal_body, refusal_headers
from akidb_embeddings.server.health import Health
from akidb_embeddings.server.keys import Keys
from akidb_embeddings.server.logs import LOG
from akidb_embeddings.server.refusal import Kind, Refusal, unforeseen
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.precision import to_base64

_PAGE = Path(__file__).parent / "page.html"
# Nothing of the page comes from elsewhere, and nobody may frame it.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "frame-ancestors 'none'"
)


def create_app(desk: Desk, keys: Keys) -> ASGIApp:
    """The ASGI application over a desk."""
    app = describe()
    app.state.desk, app.state.health = desk, Health(desk)
    gate: ASGIApp = Gate(telemetry.traced(app), desk, keys)
    if desk.config.cors_origins:
        gate = CORSMiddleware(
            gate,
            allow_origins=desk.config.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return gate


def describe() -> FastAPI:
    """The routes without anything behind them: enough for the OpenAPI document."""
    app = FastAPI(
        title="akidb-embeddings",
        version=__version__,
        summary="Text embeddings with MLX",
        redoc_url=None,
        redirect_slashes=False,  # /embed/ is no path here, and 404 says so
        exception_handlers={
            Refusal: _refuse,
            HTTPException: _refuse_by_status,
            ClientLeftError: _forget,
            Exception: _fail,
        },
    )

    @app.post(
        "/embed",
        tags=["embed"],
        response_model=shapes.EmbedAnswer,
        responses=refusals(400, 401, 404, 413, 422, 429, 500, 503, 504),
        openapi_extra=body_of(shapes.EmbedRequest),
    )
    async def embed(request: Request) -> Response:
        """Vectors of texts, with token counts, truncation flags and the fingerprint of their space."""
        asked = shapes.parse(await request.body(), shapes.EmbedRequest)
        answer = await answered(request, Question(**asked.model_dump(exclude={"encoding_format"})), "rest")
        return await json_response(_embed_answer(answer, asked.encoding_format == "base64"), answer)

    app.include_router(openai.ROUTER)

    @app.get("/info", tags=["about"], response_model=shapes.Info, responses=refusals(401, 413, 500))
    async def info(request: Request) -> Response:
        """Version, limits, and what each model does without options."""
        return Response(orjson.dumps(information(desk_of(request))), media_type="application/json")

    unfit: dict[int | str, dict[str, Any]] = {
        503: {"model": shapes.Status, "description": "Not ready, or for good not alive"}
    }

    @app.get("/livez", tags=["about"], response_model=shapes.Status, responses=refusals(401, 413, 500) | unfit)
    async def livez(request: Request) -> Response:
        """The process answers, and no model's thread died for good: that only a restart of the process mends."""
        return _status("alive", request.app.state.health.losses())

    @app.get("/readyz", tags=["about"], response_model=shapes.Status, responses=refusals(401, 413, 500) | unfit)
    async def readyz(request: Request) -> Response:
        """Whether requests may come: every model's thread runs; after a failure or long idleness it is tried."""
        return _status("ready", await request.app.state.health.problems())

    @app.get("/metrics", tags=["about"], response_class=Response, responses=refusals(401, 413, 500))
    async def metrics(request: Request) -> Response:
        """Figures for Prometheus."""
        return Response(desk_of(request).metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        content = await asyncio.to_thread(_PAGE.read_text, encoding="utf-8")
        return HTMLResponse(content, headers={"content-security-policy": _PAGE_POLICY})

    return app


def information(desk: Desk) -> dict[str, Any]:
    """What ``/info`` tells."""
    models = [_model(name, service, name == desk.default) for name, service in desk.services.items()]
    return {"version": __version__, "limits": desk.config.limits, "models": models}


def _model(name: str, service: EmbeddingService, is_default: bool) -> dict[str, Any]:
    settings = service.settings
    return {
        "name": name,
        "default": is_default,
        "dimension": settings.dimensions,
        "max_tokens": settings.max_tokens,
        "pooling": settings.pooling,
        "normalize": settings.normalize,
        "truncate": service.config.truncate,
        "prompts": list(settings.prompts),
        "fingerprint": service.fingerprint(),
    }


def _embed_answer(answer: Answer, as_base64: bool) -> dict[str, Any]:
    timings = answer.timings
    return {
        "model": answer.model,
        "dimension": answer.dimension,
        "embeddings": to_base64(answer.vectors) if as_base64 else answer.vectors,
        "precision": answer.precision,
        "token_counts": answer.token_counts,
        "truncated": answer.truncated,
        "fingerprint": answer.fingerprint,
        "timings": {
            f"{name}_ms": round(1e3 * getattr(timings, name), 3) for name in ("tokenize", "queue", "compute", "total")
        },
    }


def _status(wanted: str, problems: list[str]) -> Response:
    body = orjson.dumps({"status": f"not {wanted}" if problems else wanted, "problems": problems})
    return Response(body, status_code=503 if problems else 200, media_type="application/json")


async def _refuse(request: Request, refusal: Refusal) -> Response:
    if refusal.kind is Kind.INTERNAL:
        LOG.error("A request failed", exc_info=refusal, extra={"facts": {"request_id": request.state.request_id}})
    return _refused(request, refusal)


def _refused(request: Request, refusal: Refusal) -> Response:
    content = refusal_body(refusal, request.state.request_id, request.url.path)
    return Response(content, refusal.kind.status, refusal_headers(refusal), "application/json")


async def _refuse_by_status(request: Request, error: HTTPException) -> Response:
    kind = KINDS.get(error.status_code, Kind.MALFORMED)
    refusal = Refusal(kind, f"{request.method} {request.url.path[:200]}: {error.detail}. /docs lists what there is.")
    response = _refused(request, refusal)
    response.headers.update(error.headers or {})
    return response


async def _forget(request: Request, _: ClientLeftError) -> Response:
    return Response(status_code=CLIENT_LEFT)


async def _fail(request: Request, _: Exception) -> Response:
    return _refused(request, unforeseen())  # the gate logs it, for starlette raises it once more
