"""Calls to a server for tests of many: light ones, on connections that stay open, and what the server tells of itself.

The standard library's client costs a fraction of others', so that sixty of them leave the machine to the server.
"""

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import grpc

from akidb_embeddings.server import embedding_pb2_grpc
from tests.conftest import LONG


@dataclass(frozen=True)
class Reply:
    """What came back: a status is returned, not raised. ``headers`` by their names in small letters."""

    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """One connection that is kept open between requests."""

    def __init__(self, url: str, seconds: float = LONG) -> None:
        self._connection = http.client.HTTPConnection(*address(url), timeout=seconds)

    def post(self, path: str, body: Any) -> Reply:
        return self._ask("POST", path, json.dumps(body).encode())

    def get(self, path: str) -> Reply:
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Reply:
        self._connection.request(method, path, body)
        with self._connection.getresponse() as response:
            content = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        is_json = headers.get("content-type") == "application/json"
        return Reply(response.status, headers, json.loads(content) if is_json else content.decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()


def address(url: str) -> tuple[str, int]:
    """Host and port of a server's URL."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def post(url: str, texts: list[str], **options: Any) -> Reply:
    """One ``/embed`` on a connection of its own."""
    with Client(url) as client:
        return client.post("/embed", {"texts": texts, **options})


def get(url: str, path: str) -> Reply:
    """One GET on a connection of its own."""
    with Client(url) as client:
        return client.get(path)


def metric(url: str, name: str) -> float:
    """The sum of a metric's values over its labels."""
    lines = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", get(url, "/metrics").body, re.MULTILINE)
    assert lines, name
    return sum(map(float, lines))


@contextlib.contextmanager
def stub(target: str) -> Iterator[embedding_pb2_grpc.EmbeddingServiceStub]:
    """gRPC's client."""
    with grpc.insecure_channel(target) as channel:
        yield embedding_pb2_grpc.EmbeddingServiceStub(channel)
