"""gRPC: the server, its port, its API keys, standard health and reflection. ``servicer`` has its calls."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
from grpc.aio import ServicerContext as Context
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.server import telemetry
from akidb_embeddings.server.api_error import ApiError
from akidb_embeddings.server.auth import ApiKeys
from akidb_embeddings.server.handler import Handler
from akidb_embeddings.server.health import Health
from akidb_embeddings.server.logs import LOG, log_request, request_id
from akidb_embeddings.server.servicer import SERVICE, Servicer, abort

_HEALTH_SECONDS = 0.5
_GRACE_SECONDS = 1.0
_PUBLIC = (f"/{health.SERVICE_NAME}/", "/grpc.reflection.")
# gRPC counts the bytes of a message in a C int.
_MOST_BYTES = 2**31 - 1


@contextlib.asynccontextmanager
async def running(handler: Handler, keys: ApiKeys) -> AsyncIterator[int | None]:
    """A gRPC server on the configured port, or nothing without one. EmbeddingError: the port is taken."""
    config = handler.config
    if config.grpc_port is None:
        yield None
        return
    server = grpc.aio.server(
        interceptors=[*telemetry.interceptors(SERVICE), _Authentication(keys, config.protect_health)],
        options=[
            ("grpc.max_receive_message_length", min(config.max_body_bytes, _MOST_BYTES)),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ],
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, Servicer(handler).handlers())])
    status, ready = health.aio.HealthServicer(), Health(handler)
    await _tell(status, ready)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    port = _listen(server, handler)
    await server.start()
    telling = asyncio.ensure_future(_keep_telling(status, ready))
    try:
        yield port
    finally:
        telling.cancel()
        await status.enter_graceful_shutdown()
        await server.stop(_GRACE_SECONDS)


def _listen(server: grpc.aio.Server, handler: Handler) -> int:
    """The port that the server is bound to. EmbeddingError: it cannot be had."""
    config = handler.config
    assert config.grpc_port is not None
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{host}:{config.grpc_port}"
    try:
        if config.tls_certificate is None or config.tls_key is None:
            port: int = server.add_insecure_port(address)
        else:
            pair = (Path(config.tls_key).read_bytes(), Path(config.tls_certificate).read_bytes())
            port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        reason = _reason(config.host, config.grpc_port) or str(error)
        raise EmbeddingError(f"cannot listen on {config.host}, port {config.grpc_port}, for gRPC: {reason}") from error
    return port


def _reason(host: str, port: int) -> str | None:
    """What the system has against the address; gRPC does not say."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


async def _keep_telling(status: health.aio.HealthServicer, ready: Health) -> None:
    while True:
        await asyncio.sleep(_HEALTH_SECONDS)
        await _tell(status, ready)


async def _tell(status: health.aio.HealthServicer, ready: Health) -> None:
    """Bring the standard health service up to date."""
    states = health_pb2.HealthCheckResponse.ServingStatus
    try:
        state = states.NOT_SERVING if await ready.problems() else states.SERVING
    except Exception:  # health that cannot be told is none
        LOG.exception("The state of the models cannot be told")
        state = states.NOT_SERVING
    for service in ("", SERVICE):
        await status.set(service, state)


class _Authentication(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpcio has no types
    """ApiKeys, before anything else looks at a call."""

    def __init__(self, keys: ApiKeys, protects_health: bool) -> None:
        self._keys, self._protects_health = keys, protects_health

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Let the call through, or end it as unauthenticated."""
        method = handler_call_details.method
        if self._protects_health or not method.startswith(_PUBLIC):
            given = dict(handler_call_details.invocation_metadata or ()).get("authorization", b"")
            try:
                self._keys.check(given if isinstance(given, bytes) else given.encode())
            except ApiError as error:
                return _aborting(error, method)
        return await continuation(handler_call_details)


def _aborting(error: ApiError, method: str) -> grpc.RpcMethodHandler:
    """What ends a call of any kind before a message of it is read."""

    async def end(_: object, context: Context) -> AsyncIterator[bytes]:
        identity = request_id(None)
        log_request("grpc", method[:200], error.kind.label, 0.0, request_id=identity)
        await abort(context, error, identity)
        yield b""  # never; it makes this a generator, which OpenTelemetry's interceptor needs

    return grpc.stream_stream_rpc_method_handler(end)
