"""A REST client that holds every answer against the committed OpenAPI document, and what a refusal has to look like."""

import functools
import json
from collections.abc import Iterator
from typing import Any

import httpx

from tests.conftest import LONG, REPOSITORY
from tests.server.conftest import Running

COHERE, COHERE_EMBED = ("/v1/rerank", "/v2/rerank"), ("/v1/embed", "/v2/embed")
TEI = ("/", "/embed", "/embed_all", "/embed_sparse", "/rerank")
DOCUMENT = REPOSITORY / "docs" / "openapi.json"


def client(server: Running, **options: Any) -> httpx.Client:
    """A client of this server. A status that the document does not name for an operation fails the test."""
    plain = {"verify": False, "trust_env": False, "timeout": LONG}  # to read all certificates takes longer than to ask
    hooks = {"response": [_is_documented]}
    return httpx.Client(base_url=server.url, event_hooks=hooks, **plain | options)


def post(server: Running, path: str = "/embed", **options: Any) -> httpx.Response:
    """One request on a connection of its own."""
    with client(server) as connection:
        return connection.post(path, **options)


def get(server: Running, path: str, **options: Any) -> httpx.Response:
    """One request on a connection of its own."""
    with client(server) as connection:
        return connection.get(path, **options)


def refused(response: httpx.Response, status: int, kind: str, field: str | None = None) -> dict[str, Any]:
    """The body of a refusal, after a check of all that refusals have in common."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body: dict[str, Any] = response.json()
    told, path = body, response.request.url.path
    if path.startswith("/v1/") and path not in COHERE + COHERE_EMBED:
        assert set(body) == {"error", "request_id"}
        told = body["error"]
        assert set(told) == {"message", "type", "param", "code"}
        assert told["type"] == ("server_error" if status >= 500 else "invalid_request_error")
        assert (told["code"], told["param"]) == (kind, field), response.text
    else:
        assert ("message" if path in COHERE + COHERE_EMBED else "error") in body
        allowed = {"error", "message", "type", "request_id", "field", "limit", "retry_after"}
        assert set(body) - {"error_type"} <= allowed
        assert ("error_type" in body) == (path in TEI), response.text
        assert (body["type"], body.get("field")) == (kind, field), response.text
        assert body.get("retry_after") == _number(response.headers.get("retry-after"))
    assert body["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    assert len(response.content) < 2000
    return told


def chunks(size: int, count: int) -> Iterator[bytes]:
    """A body whose length is not declared."""
    for _ in range(count):
        yield b" " * size


def _is_documented(response: httpx.Response) -> None:
    operation = _paths().get(response.request.url.path, {}).get(response.request.method.lower())
    if operation is not None:
        assert str(response.status_code) in operation["responses"], f"{response.request.url}: {response.status_code}"


@functools.cache
def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    return paths


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
