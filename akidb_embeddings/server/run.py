"""The server's life: load the models, listen, serve until told to end, finish what is in flight."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import ConfigurationError, EmbeddingError
from akidb_embeddings.registry import MODELS
from akidb_embeddings.server import rpc
from akidb_embeddings.server.app import create_app
from akidb_embeddings.server.auth import ApiKeys
from akidb_embeddings.server.handler import Handler
from akidb_embeddings.server.logs import LOG
from akidb_embeddings.server.metrics import Metrics
from akidb_embeddings.service.service import EmbeddingService

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_TICK = 0.05
# Seconds for what remains to be done at the end, so that a client or a model that hangs cannot keep the process.
_LAST_WORDS = 1.0
_LAST_ROUND = 10.0


def served_names(sources: tuple[str, ...]) -> dict[str, str]:
    """What clients call each model: its name in the registry or on the hub, or a folder's last part.

    ConfigurationError: two have the same.
    """
    names: dict[str, str] = {}
    for source in sources:
        is_folder = source not in MODELS and (source.startswith((".", "~", "/")) or Path(source).is_dir())
        name = Path(source).expanduser().resolve().name if is_folder else source
        if name in names:
            raise ConfigurationError(f"models: {names[name]!r} and {source!r} would both be called {name!r}.")
        names[name] = source
    return names


@contextlib.contextmanager
def open_services(config: ServerConfig, embedding: EmbeddingConfig) -> Iterator[dict[str, EmbeddingService]]:
    """The models by the names that clients use, loaded; closed at the end."""
    services: dict[str, EmbeddingService] = {}
    with contextlib.ExitStack() as stack:
        for name, source in served_names(tuple(config.models) or (embedding.model_name,)).items():
            own = EmbeddingConfig.resolve(embedding, model_name=source, max_queued_tokens=config.max_queued_tokens)
            services[name] = stack.enter_context(EmbeddingService(config=own))
            services[name].embed(["The first vector takes longer than others."])
            LOG.info("Loaded %s, %d dimensions", name, services[name].dimension)
        yield services


def serve(config: ServerConfig, embedding: EmbeddingConfig, announce: Callable[[str], None] = LOG.info) -> None:
    """Serve until SIGTERM or SIGINT. ``announce`` is told the addresses once requests are taken.

    ConfigurationError: files for keys or TLS are not what they should be. EmbeddingError: a port is taken. Others are
    those of ``EmbeddingService``.
    """
    keys = ApiKeys.read(config.api_keys_file)
    _check_tls(config)
    hanging = threading.Timer(_LAST_ROUND, _end_hanging)
    hanging.daemon = True
    with open_services(config, embedding) as services:
        handler = Handler(config, services, Metrics(services))
        asyncio.run(_serve_until_signalled(handler, keys, announce))
        hanging.start()  # a model's last round is waited for, but not for ever
    hanging.cancel()


async def _serve_until_signalled(handler: Handler, keys: ApiKeys, announce: Callable[[str], None]) -> None:
    await serve_until(handler, keys, announce, _signalled())


async def serve_until(handler: Handler, keys: ApiKeys, announce: Callable[[str], None], ending: asyncio.Event) -> None:
    """Serve a handler's models over HTTP and gRPC until ``ending`` is set, and what is in flight is done."""
    config = handler.config
    with contextlib.closing(_listen(config.host, config.port)) as listening:
        http = _Http(
            uvicorn.Config(
                create_app(handler, keys),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_keep_alive=75,
                ssl_certfile=config.tls_certificate,
                ssl_keyfile=config.tls_key,
            )
        )
        async with rpc.running(handler, keys) as grpc_port:
            serving = asyncio.ensure_future(http.serve(sockets=[listening]))
            while not (http.started or serving.done()):
                await asyncio.sleep(0.01)
            for line in _addresses(config, listening.getsockname()[1], grpc_port):
                announce(line)
            await asyncio.wait({serving, asyncio.ensure_future(ending.wait())}, return_when=asyncio.FIRST_COMPLETED)
            left = await _drain(handler)
            # For bodies that do not come and answers that nobody reads; uvicorn would wait for ever.
            http.config.timeout_graceful_shutdown = max(1, round(left))
            http.should_exit = True
            await serving
    LOG.info("Ended")


class _Http(uvicorn.Server):
    """uvicorn's server, which leaves signals to us: they end gRPC as well."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _signalled() -> asyncio.Event:
    """Set by the first signal to end; the second ends at once, as Python would."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def end() -> None:
        event.set()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        with contextlib.suppress(ValueError, RuntimeError):  # not the main thread: whoever started it ends it
            loop.add_signal_handler(number, end)
    return event


async def _drain(handler: Handler) -> float:
    """Refuse new requests, and wait for those in flight as long as configured; the seconds that are left of it."""
    handler.draining = True
    LOG.info("Ending; %d requests are in flight", handler.in_flight)
    end = time.monotonic() + handler.config.drain_seconds
    await _until_done(handler, handler.config.drain_seconds)
    if handler.in_flight:
        LOG.warning("%d requests were not done after %g s", handler.in_flight, handler.config.drain_seconds)
        handler.give_up()
        await _until_done(handler, _LAST_WORDS)
    return max(0.0, end - time.monotonic())


async def _until_done(handler: Handler, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while handler.in_flight:
                await asyncio.sleep(_TICK)


def _end_hanging() -> None:
    LOG.error("A model's last round was not done after %g s; ending without it", _LAST_ROUND)
    logging.shutdown()
    os._exit(0)


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. EmbeddingError: the address is taken or not this machine's."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise EmbeddingError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error
    # Connections inherit it. asyncio sets it only on sockets that were made for TCP by name, and uvicorn sends head and
    # body one after the other: the body would wait 40 ms for the client's delayed acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setblocking(False)
    return listening


def _check_tls(config: ServerConfig) -> None:
    if config.tls_certificate is None or config.tls_key is None:
        return
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # Without a password, OpenSSL would ask for one on the terminal if the key is encrypted.
        context.load_cert_chain(config.tls_certificate, config.tls_key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"tls_certificate {config.tls_certificate} and tls_key {config.tls_key} cannot be used: {error}"
        ) from error


def _addresses(config: ServerConfig, port: int, grpc_port: int | None) -> list[str]:
    scheme = "https" if config.tls_certificate else "http"
    host = f"[{config.host}]" if ":" in config.host else config.host
    lines = [f"REST on {scheme}://{host}:{port}, its description at {scheme}://{host}:{port}/docs"]
    return lines if grpc_port is None else [*lines, f"gRPC on {host}:{grpc_port}"]
