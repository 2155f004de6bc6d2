"""``/docs``: Swagger UI, with scripts and styles from this machine alone."""

import importlib.resources
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from akidb_embeddings.server.http.responses import PAGE_POLICY

ROUTER = APIRouter(include_in_schema=False)
PATHS = frozenset({"/docs", "/docs/start.js", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"})
"""The paths of the page and of all that it loads, besides the OpenAPI document."""
_HERE = Path(__file__).parent


@ROUTER.get("/docs")
async def page() -> Response:
    """The page. It names what it loads relative to itself, so that it works behind a proxy with a path of its own."""
    return FileResponse(_HERE / "docs.html", headers={"content-security-policy": PAGE_POLICY})


@ROUTER.get("/docs/start.js")
async def start() -> Response:
    """The script that shows the OpenAPI document."""
    return FileResponse(_HERE / "docs.js")


@ROUTER.get("/docs/swagger-ui.css")
async def style() -> Response:
    """Swagger UI's stylesheet."""
    return _swagger_ui("swagger-ui.css")


@ROUTER.get("/docs/swagger-ui-bundle.js")
async def script() -> Response:
    """Swagger UI's script."""
    return _swagger_ui("swagger-ui-bundle.js")


def _swagger_ui(name: str) -> Response:
    with importlib.resources.as_file(importlib.resources.files("fastapi_offline") / "static" / name) as file:
        return FileResponse(file)
