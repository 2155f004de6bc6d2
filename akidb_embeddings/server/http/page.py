"""The page at `/`: HTML, a stylesheet and scripts, all from this package."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from akidb_embeddings.server.http.responses import PAGE_POLICY

ROUTER = APIRouter(include_in_schema=False)
_FILES = Path(__file__).parent / "web"
_NAMES = tuple(sorted(file.name for file in _FILES.iterdir() if file.suffix in (".css", ".js")))
PATHS = frozenset({"/", *(f"/page/{name}" for name in _NAMES)})
"""The paths of the page and of the files that it loads."""
_HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "cache-control": "no-cache",  # after an update, scripts of two versions would not fit together
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@ROUTER.get("/")
async def page() -> Response:
    """The page. It names what it loads relative to itself, so that it works behind a proxy with a path of its own."""
    return FileResponse(_FILES / "page.html", headers=_HEADERS)


def _file(name: str) -> Callable[[], Awaitable[Response]]:
    async def file() -> Response:
        return FileResponse(_FILES / name, headers=_HEADERS)

    return file


for _name in _NAMES:  # no other name reaches the disk
    ROUTER.add_api_route(f"/page/{_name}", _file(_name), methods=["GET"])
