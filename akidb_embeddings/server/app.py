"""The ASGI application: the HTTP APIs behind their middleware, and the OpenAPI document that describes them."""

from typing import NoReturn

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from akidb_embeddings import __version__
from akidb_embeddings.server.calls.api_error import KINDS_BY_STATUS, ApiError, ErrorKind
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.calls.health import Health
from akidb_embeddings.server.calls.truncation import TRUNCATED_HEADER
from akidb_embeddings.server.dialects import cohere, cohere_embed, ollama, openai, rest, tei, tei_embed
from akidb_embeddings.server.http import admin, docs, page
from akidb_embeddings.server.http.access import AccessLogMiddleware
from akidb_embeddings.server.http.middleware import RequestMiddleware
from akidb_embeddings.server.observability import telemetry

# In the order of matching: REST has all paths that no other API has.
_APIS = (tei.API, tei_embed.API, ollama.API, cohere.API, cohere_embed.API, openai.API, rest.API)


def create_app(handler: Handler, keys: ApiKeys) -> ASGIApp:
    """The ASGI application over a handler."""
    app = describe()
    app.state.handler, app.state.health = handler, Health(handler)
    # Each middleware wraps those added before it.
    app.add_middleware(RequestMiddleware, handler=handler, keys=keys, apis=_APIS)
    app.add_middleware(AccessLogMiddleware)
    telemetry.trace(app)
    if handler.config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=handler.config.cors_origins,
            allow_methods=["GET", "HEAD", "POST"],
            allow_headers=handler.config.cors_headers,
            expose_headers=["X-Request-ID", "Retry-After", TRUNCATED_HEADER],
        )
    return app


def describe() -> FastAPI:
    """The routes without a handler: enough for the OpenAPI document."""
    app = FastAPI(
        title="akidb-embeddings",
        version=__version__,
        summary="Text embeddings and reranking with MLX",
        docs_url=None,  # FastAPI's loads its scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,  # /embed/ is not a route: 404
        exception_handlers={HTTPException: _raise_api_error},
    )
    # In the order in which a path is looked for: what is asked for most comes first.
    for api in (tei_embed.API, tei.API, openai.API, rest.API, ollama.API, cohere.API, cohere_embed.API):
        app.include_router(api.router)
    app.include_router(docs.ROUTER)
    app.include_router(page.ROUTER)
    app.include_router(admin.ROUTER)
    return app


async def _raise_api_error(request: Request, error: HTTPException) -> NoReturn:
    """Starlette's own errors, such as 404 and 405, in the form of all others."""
    kind = KINDS_BY_STATUS.get(error.status_code, ErrorKind.MALFORMED)
    message = f"{request.method} {request.url.path[:200]}: {error.detail}. /docs lists all routes."
    headers = dict(error.headers or {})
    if "Allow" in headers:
        methods = set(headers["Allow"].split(", "))
        if "GET" in methods:
            methods.add("HEAD")  # RequestMiddleware makes a GET of it
        headers["Allow"] = ", ".join(sorted(methods))
    raise ApiError(kind, message, headers=headers)
