"""Servers for the tests: real ones in processes of their own, and such in this process whose models can fail."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService, RerankService
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.calls.models import Models
from akidb_embeddings.server.loading import loaded_models
from akidb_embeddings.server.observability.metrics import Metrics
from akidb_embeddings.server.run import serve_until
from tests.conftest import LONG, REPOSITORY, eventually
from tests.fixtures import model_path
from tests.server.browser import Browser, Tab, browser
from tests.server.pages import ready

_REST = re.compile(r"REST on (https?://[^,\s\"]+)")
# Its scores are trained to be sigmoids, and it has room for 1024 tokens.
RERANKER = "tiny-xlm-roberta-reranker"
_GRPC = re.compile(r"gRPC on ([^\s\"]+)")


@dataclass
class Running:
    """A server that answers: ``url`` of REST, ``target`` of gRPC. ``lines``: its log so far."""

    url: str
    target: str
    lines: list[str] = field(default_factory=list)
    process: "subprocess.Popen[str] | None" = None
    handler: Handler | None = None
    loop: asyncio.AbstractEventLoop | None = None

    @property
    def log(self) -> str:
        return "\n".join(self.lines)


@contextlib.contextmanager
def server_process(
    *flags: str, environment: Mapping[str, str] | None = None, program: str = "akidb_embeddings"
) -> Iterator[Running]:
    """``akidb-embed serve`` with free ports and these flags besides, ended by SIGTERM if it has not ended before."""
    command = [sys.executable, "-m", program, "serve", "--port", "0", "--grpc-port", "0", *flags]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | dict(environment or {}), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        stream = process.stderr
        reader = threading.Thread(target=lambda: lines.extend(line.rstrip("\n") for line in stream), daemon=True)
        reader.start()
        try:
            assert eventually(lambda: _GRPC.search("\n".join(lines)) or process.poll() is not None), "\n".join(lines)
            assert process.poll() is None, "\n".join(lines)
            yield Running(_found(_REST, lines), _found(_GRPC, lines), lines, process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(LONG)
            finally:
                process.kill()
            reader.join(LONG)


@contextlib.contextmanager
def server_here(
    services: Mapping[str, EmbeddingService | RerankService], *, keys: ApiKeys | None = None, **settings: Any
) -> Iterator[Running]:
    """A server in this process over these services, on a thread and event loop of its own."""
    config = ServerConfig(**{"port": 0, "grpc_port": 0} | settings)
    with loaded_models(services) as models, serve_models(models, config, keys) as running:
        yield running


def service_of(here: Running, name: str) -> EmbeddingService | RerankService:
    """The service that a server in this process computes with."""
    assert here.handler is not None
    return here.handler.models.pool.services()[name]


@contextlib.contextmanager
def handler_of(services: Mapping[str, EmbeddingService | RerankService], **settings: Any) -> Iterator[Handler]:
    """A handler over these services, without a server."""
    with loaded_models(services) as models:
        yield Handler(ServerConfig(**settings), models, Metrics(models.pool))


@contextlib.contextmanager
def serve_models(models: Models, config: ServerConfig, keys: ApiKeys | None = None) -> Iterator[Running]:
    """A server in this process over these models, on a thread and event loop of its own."""
    handler = Handler(config, models, Metrics(models.pool))
    lines: list[str] = []
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        ending = asyncio.Event()
        loops.append((asyncio.get_running_loop(), ending))
        await serve_until(handler, ApiKeys([]) if keys is None else keys, lines.append, ending)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    try:
        assert eventually(lambda: any(_GRPC.search(line) for line in lines) or not thread.is_alive())
        yield Running(_found(_REST, lines), _found(_GRPC, lines), lines, handler=handler, loop=loops[0][0])
    finally:
        loop, ending = loops[0]
        if thread.is_alive():
            loop.call_soon_threadsafe(ending.set)
        thread.join(LONG)
        assert not thread.is_alive()


@pytest.fixture(scope="package")
def bundled() -> Iterator[EmbeddingService]:
    """The bundled model, as the servers have it."""
    with EmbeddingService(config=EmbeddingConfig(model_name=BUNDLED, untrained_dimensions=True)) as service:
        yield service


@pytest.fixture(scope="package")
def reranker() -> Iterator[RerankService]:
    """The reranker, as the server has it."""
    with RerankService(str(model_path(RERANKER))) as service:
        yield service


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of pages; each tab has its own cookies and storage."""
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One real server with a model of each kind, for tests that leave it as it is; it cuts vectors to any length."""
    file = tmp_path_factory.mktemp("configuration") / "embedding_config.yaml"
    file.write_text("embedding: {untrained_dimensions: true}", encoding="utf-8")
    flags = ["--model", BUNDLED, "--reranker", str(model_path(RERANKER))]
    with server_process(*flags, "--config", str(file), "--log-format", "json") as running:
        yield running


@pytest.fixture
def tab(chromium: Browser, server: Running) -> Iterator[Tab]:
    """The page of the server that all tests share, once it has all it shows."""
    with chromium.tab(server.url) as opened:
        ready(opened)
        yield opened


def _found(pattern: re.Pattern[str], lines: list[str]) -> str:
    match = pattern.search("\n".join(lines))
    assert match, "\n".join(lines)
    return match[1]
