"""gRPC: the server, its port, its API keys, standard health and reflection. ``servicer`` has its methods."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
from grpc.aio import ServicerContext as Context
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from akidb_embeddings.server.calls.api_error import ApiError
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.calls.health import Health
from akidb_embeddings.server.observability import telemetry
from akidb_embeddings.server.observability.logs import LOG, ensure_request_id, log_request
from akidb_embeddings.server.rpc.servicer import SERVICE, Servicer, abort, client_of
from akidb_embeddings.server.sockets.listening import Address, addresses, bind_error, is_absent, listening_error

_HEALTH_SECONDS = 0.5
_GRACE_SECONDS = 1.0
# Clients open a new connection without telling.
_IDLE_MILLISECONDS = 75_000
_PUBLIC = (f"/{health.SERVICE_NAME}/", "/grpc.reflection.")
# gRPC counts the bytes of a message in a C int.
_MAX_MESSAGE_BYTES = 2**31 - 1


@contextlib.asynccontextmanager
async def grpc_server(handler: Handler, keys: ApiKeys) -> AsyncIterator[int | None]:
    """Run a gRPC server on the configured port.

    Yields:
        The port; None if none is configured, and there is no server.

    Raises:
        EmbeddingError: The server cannot listen on the port.
    """
    config = handler.config
    if config.grpc_port is None:
        yield None
        return
    server = grpc.aio.server(
        interceptors=[*telemetry.interceptors(SERVICE), _Authentication(keys, config.protect_health)],
        options=[
            ("grpc.max_receive_message_length", min(config.max_body_bytes, _MAX_MESSAGE_BYTES)),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.max_allowed_incoming_connections", config.max_connections),
            ("grpc.server_handshake_timeout_ms", max(1, round(1000 * config.header_seconds))),
            ("grpc.max_concurrent_streams", 2 * config.max_concurrent_requests),
            ("grpc.max_connection_idle_ms", _IDLE_MILLISECONDS),
            # Clients whose machine is gone: their connections would stay open for hours.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
        ],
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, Servicer(handler).handlers())])
    status, ready = health.aio.HealthServicer(), Health(handler)
    await _update_health(status, ready)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    port = _listen(server, handler)
    await server.start()
    updates = asyncio.ensure_future(_update_health_periodically(status, ready))
    try:
        yield port
    finally:
        updates.cancel()
        await status.enter_graceful_shutdown()
        await server.stop(_GRACE_SECONDS)


def _listen(server: grpc.aio.Server, handler: Handler) -> int:
    """Bind the server to each address of the host. Returns the port."""
    config = handler.config
    assert config.grpc_port is not None
    port, credentials = config.grpc_port, None
    if config.tls_certificate is not None and config.tls_key is not None:
        pair = (Path(config.tls_key).read_bytes(), Path(config.tls_certificate).read_bytes())
        credentials = grpc.ssl_server_credentials([pair])
    problem: Exception | None = None
    is_bound = False
    try:
        for address in addresses(config.host):
            try:
                port, is_bound = _bind(server, address, port, credentials), True
            except RuntimeError as error:  # it does not tell the system's error
                problem = bind_error(address, port) or error
                if not (isinstance(problem, OSError) and is_absent(problem)):
                    raise problem from None
        if problem and not is_bound:
            raise problem
    except (OSError, RuntimeError) as error:
        raise listening_error(config.host, config.grpc_port, "grpc_port", error) from error
    return port


def _bind(server: grpc.aio.Server, address: Address, port: int, credentials: grpc.ServerCredentials | None) -> int:
    host = f"[{address[1]}]" if address[0] == socket.AF_INET6 else address[1]
    bound: int = (
        server.add_insecure_port(f"{host}:{port}")
        if credentials is None
        else server.add_secure_port(f"{host}:{port}", credentials)
    )
    return bound


async def _update_health_periodically(status: health.aio.HealthServicer, ready: Health) -> None:
    while True:
        await asyncio.sleep(_HEALTH_SECONDS)
        await _update_health(status, ready)


async def _update_health(status: health.aio.HealthServicer, ready: Health) -> None:
    """Set the states of the standard health service."""
    states = health_pb2.HealthCheckResponse.ServingStatus
    try:
        state = states.NOT_SERVING if await ready.readiness_problems() else states.SERVING
    except Exception:  # a server whose health is unknown is not serving
        LOG.exception("The readiness check failed")
        state = states.NOT_SERVING
    for service in ("", SERVICE):
        await status.set(service, state)


class _Authentication(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    """Checks the API key of each call before it is handled."""

    def __init__(self, keys: ApiKeys, protects_health: bool) -> None:
        self._keys, self._protects_health = keys, protects_health

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Pass the call on, or end it as unauthenticated."""
        method = handler_call_details.method
        if self._protects_health or not method.startswith(_PUBLIC):
            given = dict(handler_call_details.invocation_metadata or ()).get("authorization", b"")
            try:
                self._keys.check(given if isinstance(given, bytes) else given.encode())
            except ApiError as error:
                return _abort_handler(error, method)
        return await continuation(handler_call_details)


def _abort_handler(error: ApiError, method: str) -> grpc.RpcMethodHandler:
    """A handler that ends a call of any kind before any message is read."""

    async def end(_: object, context: Context) -> AsyncIterator[bytes]:
        request_id = ensure_request_id(None)
        client = client_of(context.peer())
        log_request("grpc", method[:200], error.kind.label, 0.0, client=client, request_id=request_id)
        await abort(context, error, request_id)
        yield b""  # never reached; it makes this a generator, which OpenTelemetry's interceptor needs

    return grpc.stream_stream_rpc_method_handler(end)
