"""The server: queries on a schedule over HTTP, and what REST, OpenAI's shape and gRPC add to a call in process."""

import asyncio
import base64
import contextlib
import http.client
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from akidb_embeddings import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from bench.figures import Recorder
from bench.models import Model
from bench.open_loop import Outcome, offer, precise_loop
from bench.plots import LATENCIES
from bench.scale import Scale
from bench.serving import serving
from bench.targets import HTTP_ERRORS, OPEN_LOOP_RATE, OVER_ASYNC, OVER_ENGINE, OVER_HTTP, OVERHEAD, SERVER
from bench.texts import Texts

for _module in ("fastapi", "uvicorn", "httptools", "orjson", "grpc", "grpc_health", "grpc_reflection"):
    pytest.importorskip(_module, reason="the server's packages are not installed: akidb-embeddings[server]")

_ADDRESS = re.compile(r"REST on http://([\d.]+):(\d+)")
_RPC_TARGET = re.compile(r"gRPC on (\S+)")
_PATIENCE = 120
_QUERIES = 500
_WARM_UP = 50


class _Connections:
    """An HTTP client that does little else than wait: as many open connections as there are requests at once."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer. RuntimeError: its status is another than 200."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*self._address)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: server\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        content = await reader.readexactly(int(length[1]) if length else 0)
        self._idle.append((reader, writer))
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head.splitlines()[0]!r} {content[:200]!r}")
        return content

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


@pytest.fixture
def address(model: Model, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Host and port of a server of the measured model, in a process of its own."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"embedding": model.config.to_dict()}), encoding="utf-8")
    with serving(tmp_path / "log", "--config", str(config)) as found:
        yield found


def test_fixed_rate_over_http(
    address: tuple[str, int], texts: Texts, tokenizer: Tokenizer, record: Recorder, scale: Scale
) -> None:
    """Queries of 8 to 32 tokens, one a request, on connections that stay open; client and server share the machine."""
    bodies = [json.dumps({"texts": [query]}).encode() for query in texts.queries(tokenizer, _QUERIES)]
    connections = _Connections(*address)

    async def call(index: int) -> object:
        return await connections.post("/embed", bodies[index % len(bodies)])

    async def run() -> Outcome:
        for index in range(_WARM_UP):
            await call(index)
        found = await offer(call, OPEN_LOOP_RATE, scale.open_loop_seconds)
        connections.close()
        return found

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        outcome = runner.run(run())
    milliseconds = [1e3 * seconds for seconds in outcome.latencies]
    if milliseconds:
        note = f"{outcome.answered_rate:.1f} answered a second, of {outcome.offered} in all"
        record.figure(SERVER, OVER_HTTP, "ms", milliseconds, note)
        record.distribution(LATENCIES, OVER_HTTP, milliseconds)
    else:
        record.absent(SERVER, OVER_HTTP, "no query was answered")
    record.figure(SERVER, HTTP_ERRORS, "errors", [len(outcome.errors)], (outcome.errors or [""])[0])


def test_overhead_over_the_engine(
    address: tuple[str, int], texts: Texts, tokenizer: Tokenizer, record: Recorder, scale: Scale
) -> None:
    """One query at a time to a process of its own: until the answer has come, less what it says of its own engine.

    Client and engine do not share Python's lock here, as they do where a call over REST and one in process take turns.
    """
    spent = []
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, query in enumerate(texts.queries(tokenizer, _WARM_UP + min(_QUERIES, scale.latency_rounds))):
            body = json.dumps({"texts": [query]}).encode()
            begin = time.perf_counter()
            content = _exchange(connection, body)
            whole = 1e3 * (time.perf_counter() - begin)
            if number >= _WARM_UP:
                spent.append(whole - json.loads(content)["timings"]["total_ms"])
    record.figure(SERVER, OVER_ENGINE, "ms", spent, "until the whole answer has come, less its timings.total_ms")


def _exchange(connection: socket.socket, body: bytes) -> bytes:
    """The body of the answer, by a client that costs nothing: Python's own would add a quarter of a millisecond."""
    connection.sendall(b"POST /embed HTTP/1.1\r\nHost: server\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1 << 16)
    head, _, content = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), received
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert found
    while len(content) < int(found[1]):
        content += connection.recv(1 << 16)
    return content


@contextlib.contextmanager
def _server_here(service: EmbeddingService) -> Iterator[tuple[tuple[str, int], str]]:
    """A server of this service on a thread of this process, with its log: the addresses of REST and gRPC."""
    from akidb_embeddings.config.server import ServerConfig
    from akidb_embeddings.server.calls.auth import ApiKeys
    from akidb_embeddings.server.calls.handler import Handler
    from akidb_embeddings.server.loading import loaded_models
    from akidb_embeddings.server.observability import logs
    from akidb_embeddings.server.observability.metrics import Metrics
    from akidb_embeddings.server.run import serve_until

    stack = contextlib.ExitStack()
    models = stack.enter_context(loaded_models({"model": service}))
    handler = Handler(ServerConfig(port=0, grpc_port=0), models, Metrics(models.pool))
    announced: list[str] = []
    control: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        control.append((asyncio.get_running_loop(), asyncio.Event()))
        await serve_until(handler, ApiKeys([]), announced.append, control[0][1])

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("plain")
    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        while thread.is_alive() and len(announced) < 2:
            time.sleep(0.01)
        rest, rpc = _ADDRESS.search(announced[0]), _RPC_TARGET.search(announced[1])
        assert rest
        assert rpc
        yield (rest[1], int(rest[2])), rpc[1]
    finally:
        loop, ending = control[0]
        loop.call_soon_threadsafe(ending.set)
        thread.join(_PATIENCE)
        stack.close()
        root.handlers[:] = handlers
        root.setLevel(level)


def test_overhead(
    service: EmbeddingService, texts: Texts, tokenizer: Tokenizer, record: Recorder, scale: Scale
) -> None:
    """One query at a time, in process and over each protocol in turns: until the whole answer is with the client."""
    import grpc

    from akidb_embeddings.server import embedding_pb2, embedding_pb2_grpc

    queries = texts.queries(tokenizer, min(_QUERIES, scale.latency_rounds))
    with (
        contextlib.closing(asyncio.new_event_loop()) as loop,
        _server_here(service) as (address, target),
        grpc.insecure_channel(target) as channel,
    ):
        connection = http.client.HTTPConnection(*address)
        embed = embedding_pb2_grpc.EmbeddingServiceStub(channel).Embed

        def post(path: str, body: dict[str, Any]) -> bytes:
            connection.request("POST", path, json.dumps(body).encode())
            with connection.getresponse() as response:
                content = response.read()
            assert response.status == 200, content
            return content

        calls: dict[str, Callable[[str], object]] = {
            "in process": lambda text: service.encode([text]),
            "async in process": lambda text: loop.run_until_complete(service.aencode([text])),
            "REST": lambda text: post("/embed", {"texts": [text]}),
            "OpenAI, base64": lambda text: post("/v1/embeddings", {"input": text, "encoding_format": "base64"}),
            "gRPC": lambda text: embed(embedding_pb2.EmbedRequest(texts=[text])),
        }
        for call in calls.values():
            for text in queries[:_WARM_UP]:
                call(text)
        spent: dict[str, list[float]] = {name: [] for name in calls}
        names = list(calls)
        for turn, text in enumerate(queries):
            for name in (
                names[turn % len(names) :] + names[: turn % len(names)]
            ):  # nobody always comes after the same other
                begin = time.perf_counter()
                calls[name](text)
                spent[name].append(1e3 * (time.perf_counter() - begin))
        assert len(base64.b64decode(_vector(calls["OpenAI, base64"](queries[0])))) == 4 * service.dimension
        connection.close()
    for name, milliseconds in spent.items():
        record.figure(SERVER, f"one query, {name}", "ms", milliseconds)
    for name, figure in OVERHEAD.items():
        more = [there - here for there, here in zip(spent[name], spent["in process"], strict=True)]
        record.figure(SERVER, figure, "ms", more, "the same query both ways, in turns")
    more = [there - here for there, here in zip(spent["REST"], spent["async in process"], strict=True)]
    record.figure(SERVER, OVER_ASYNC, "ms", more, "the same query both ways, in turns")


def _vector(content: Any) -> str:
    found: str = json.loads(content)["data"][0]["embedding"]
    return found
