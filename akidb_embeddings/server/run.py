"""The server's lifecycle: load the models, listen, serve until a signal, finish the requests in flight."""

import asyncio
import contextlib
import functools
import logging
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import uvicorn

from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.server.app import create_app
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.loading import Announce, Settings, open_models
from akidb_embeddings.server.observability.logs import LOG
from akidb_embeddings.server.observability.metrics import Metrics
from akidb_embeddings.server.reloading import Reloading, ignore_sighup
from akidb_embeddings.server.rpc import server as rpc
from akidb_embeddings.server.sockets.connections import Connections, Listener
from akidb_embeddings.server.sockets.descriptors import fit_to_descriptors
from akidb_embeddings.server.sockets.http_protocol import HttpProtocol
from akidb_embeddings.server.sockets.listening import check_port, is_reachable, listen

# What a shell reports for a program that Ctrl-C ended.
_INTERRUPTED = 128 + signal.SIGINT
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_SECONDS = 0.05
# Seconds at shutdown for cancelled requests, and for the engine's last batch, so that the process ends if they hang.
_CANCEL_SECONDS = 1.0
_ENGINE_SECONDS = 10.0


def serve(
    settings: Settings,
    announce: Announce,
    notify: Callable[[str], None] = LOG.info,
    read_again: Callable[[], Settings] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: What to serve, and how.
        announce: Called with each model before it is loaded, which may be a download.
        notify: Called with each address once the server accepts requests.
        read_again: Reads the settings again at SIGHUP, for the models; None for the signal's usual effect.

    Raises:
        ConfigurationError: A file for API keys or TLS cannot be used.
        EmbeddingError: The server cannot listen on a port, or a model cannot be loaded.
    """
    config = fit_to_descriptors(settings.server)
    keys = check_files(config)
    check_ports(config)
    if not keys and is_reachable(config.host):
        LOG.warning(
            "Listening on %s without API keys: anyone who can reach this machine can use it. Give --api-keys-file, "
            "or --host 127.0.0.1",
            config.host,
        )
    if read_again is not None:
        ignore_sighup()  # while models are loaded
    watchdog = threading.Timer(_ENGINE_SECONDS, _force_exit)
    watchdog.daemon = True  # closing the models waits for the engine's last batch, but not forever
    with open_models(settings, announce) as models:
        handler = Handler(config, models, Metrics(models.pool))
        reloading = None if read_again is None else Reloading(models.pool, settings, read_again)
        asyncio.run(_serve_until_signal(handler, keys, notify, reloading, watchdog))
    watchdog.cancel()


async def _serve_until_signal(
    handler: Handler,
    keys: ApiKeys,
    notify: Callable[[str], None],
    reloading: Reloading | None,
    watchdog: threading.Timer,
) -> None:
    shutdown = _shutdown_event()
    if reloading is not None:
        reloading.listen()
    await serve_until(handler, keys, notify, shutdown)
    watchdog.start()
    # The loop's end waits for threads that wait for models. On a thread of its own: they may have taken the loop's.
    threading.Thread(target=handler.models.pool.close, name="akidb-close", daemon=True).start()


async def serve_until(handler: Handler, keys: ApiKeys, notify: Callable[[str], None], shutdown: asyncio.Event) -> None:
    """Serve a handler's models over HTTP and gRPC until ``shutdown`` is set and the requests in flight are done.

    Args:
        handler: The handler of all requests.
        keys: The API keys.
        notify: Called with each address once the server accepts requests.
        shutdown: Ends the server.

    Raises:
        EmbeddingError: The server cannot listen on a port.
    """
    config = handler.config
    with contextlib.ExitStack() as stack:
        connections = Connections(
            config.max_connections, config.max_connections_per_address, config.header_seconds, config.body_seconds
        )
        listening = [stack.enter_context(Listener(made, connections)) for made in listen(config.host, config.port)]
        http = _Http(
            connections,
            uvicorn.Config(
                create_app(handler, keys),
                http=functools.partial(HttpProtocol, connections=connections),  # type: ignore[arg-type]  # a factory
                backlog=connections.at_once,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                # uvicorn's default would believe every client on this machine.
                proxy_headers=bool(config.trusted_proxies),
                forwarded_allow_ips=list(config.trusted_proxies),
                timeout_keep_alive=75,
                ssl_certfile=config.tls_certificate,
                ssl_keyfile=config.tls_key,
            ),
        )
        async with rpc.grpc_server(handler, keys) as grpc_port:
            serving = asyncio.ensure_future(http.serve(sockets=[*listening]))
            while not (http.started or serving.done()):
                await asyncio.sleep(0.01)
            for line in _addresses(config, listening[0].getsockname()[1], grpc_port):
                notify(line)
            await asyncio.wait({serving, asyncio.ensure_future(shutdown.wait())}, return_when=asyncio.FIRST_COMPLETED)
            left = await _drain(handler)
            # uvicorn would wait forever for bodies that do not arrive, and for responses that are not read.
            http.config.timeout_graceful_shutdown = max(1, round(left))
            http.should_exit = True
            await serving
    LOG.info("Shut down")


class _Http(uvicorn.Server):
    """uvicorn's server without signal handlers: signals are handled here, for HTTP and gRPC together.

    Args:
        connections: The open connections.
        config: uvicorn's configuration.
    """

    def __init__(self, connections: Connections, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._connections = connections

    async def on_tick(self, counter: int) -> bool:
        """What is done ten times a second."""
        self._connections.close_expired()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _shutdown_event() -> asyncio.Event:
    """An event that the first signal sets. The second signal ends the process at once."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def stop() -> None:
        event.set()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        # A second SIGTERM ends the process at once by itself. Python would take a second SIGINT for an exception, and
        # end the interpreter while the MLX thread computes, which may crash.
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))

    for number in _SIGNALS:
        with contextlib.suppress(ValueError, RuntimeError):  # only the main thread can handle signals
            loop.add_signal_handler(number, stop)
    return event


async def _drain(handler: Handler) -> float:
    """Reject new requests, and wait for those in flight. Returns the remaining seconds of ``drain_seconds``."""
    handler.draining = True
    LOG.info("Shutting down; %d requests are in flight", handler.in_flight)
    end = time.monotonic() + handler.config.drain_seconds
    await _wait_for_requests(handler, handler.config.drain_seconds)
    if handler.in_flight:
        LOG.warning("%d requests were not done after %g s", handler.in_flight, handler.config.drain_seconds)
        handler.cancel_requests()
        await _wait_for_requests(handler, _CANCEL_SECONDS)
    return max(0.0, end - time.monotonic())


async def _wait_for_requests(handler: Handler, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while handler.in_flight:
                await asyncio.sleep(_POLL_SECONDS)


def _force_exit() -> None:
    LOG.error("A model's last batch was not done after %g s; exiting without it", _ENGINE_SECONDS)
    logging.shutdown()
    os._exit(0)


def check_files(config: ServerConfig) -> ApiKeys:
    """Check the files for API keys and TLS. Returns the keys.

    Raises:
        ConfigurationError: One of them cannot be used.
    """
    keys = ApiKeys.read(config.api_keys_file, config.admin_keys_file)
    _check_tls(config)
    return keys


def _check_tls(config: ServerConfig) -> None:
    if config.tls_certificate is None or config.tls_key is None:
        return
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # Without a password, OpenSSL would prompt for one on the terminal if the key is encrypted.
        context.load_cert_chain(config.tls_certificate, config.tls_key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            field="tls_certificate",
            reason=f"is {config.tls_certificate}, which cannot be used with the key {config.tls_key}: {error}",
        ) from error


def check_ports(config: ServerConfig) -> None:
    """Check the ports, before a model is loaded or downloaded.

    Raises:
        EmbeddingError: The server cannot listen on one of them.
    """
    check_port(config.host, config.port, "port")
    if config.grpc_port is None:
        return
    check_port(config.host, config.grpc_port, "grpc_port")
    if config.port == config.grpc_port != 0:
        raise ConfigurationError(
            field="grpc_port", reason=f"is {config.grpc_port}, the port of REST; gRPC needs one of its own."
        )


# Where a browser on this machine finds a server that listens on all addresses.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def _addresses(config: ServerConfig, port: int, grpc_port: int | None) -> list[str]:
    host, here = (
        f"[{name}]" if ":" in name else name for name in (config.host, _LOOPBACK.get(config.host, config.host))
    )
    scheme = "https" if config.tls_certificate else "http"
    page = f"{scheme}://{here}:{port}/"
    lines = [f"REST on {scheme}://{host}:{port}, page at {page} and documentation at {page}docs"]
    return lines if grpc_port is None else [*lines, f"gRPC on {host}:{grpc_port}"]
