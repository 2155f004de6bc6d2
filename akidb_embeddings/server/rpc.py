"""gRPC: the same questions to the same desk, with health and reflection as clients expect them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server import embedding_pb2_grpc, telemetry
from akidb_embeddings.server.desk import Answer, Desk, Question
from akidb_embeddings.server.health import Health
from akidb_embeddings.server.keys import Keys
from akidb_embeddings.server.logs import LOG, log_request, request_id
from akidb_embeddings.server.refusal import Kind, Refusal
from akidb_embeddings.server.rest import information


Context = grpc.aio.ServicerContext

SERVICE = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
# Requests of one stream that are worked on at once, so that they share micro-batches.
_STREAM_DEPTH = 8
_HEALTH_SECONDS = 1.0
_PUBLIC = (f"/{health.SERVICE_NAME}/", "/grpc.reflection.")


@contextlib.asynccontextmanager
async def running(desk: Desk, keys: Keys) -> AsyncIterator[int | None]:
    """A gRPC server on the configured port, or nothing without one. EmbeddingError: the port is taken."""
    config = desk.config
    if config.grpc_port is None:
        yield None
        return
    server = grpc.aio.server(
        interceptors=[*telemetry.interceptors(), _Gate(keys, config.protect_health)],
        options=[
            ("grpc.max_receive_message_length", config.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ],
    )
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(Servicer(desk), server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection([SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    address = f"[{config.host}]:{config.grpc_port}" if ":" in config.host else f"{config.host}:{config.grpc_port}"
    try:
        port = _listen(server, address, desk)
    except RuntimeError as error:
        raise EmbeddingError(f"cannot listen on {config.host}, port {config.grpc_port}: {error}") from error
    await server.start()
    telling = asyncio.ensure_future(_tell_health(status, Health(desk)))
    try:
        yield port
    finally:
        telling.cancel()
        await server.stop(grace=1.0)


def _listen(server: grpc.aio.Server, address: str, desk: Desk) -> int:
    config = desk.config
    if config.tls_certificate is None or config.tls_key is None:
        return server.add_insecure_port(address)
    pair = (Path(config.tls_key).read_bytes(), Path(config.tls_certificate).read_bytes())
    return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))


async def _tell_health(status: health.aio.HealthServicer, ready: Health) -> None:
    """Keep the standard health service up to date."""
    states = health_pb2.HealthCheckResponse.ServingStatus
    while True:
        state = states.NOT_SERVING if await ready.problems() else states.SERVING
        for service in ("", SERVICE):
            await status.set(service, state)
        await asyncio.sleep(_HEALTH_SECONDS)


class Servicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """The proto's three calls."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        """One answer, or the status of its refusal."""
        try:
            return await self._respond(request, context.time_remaining())
        except Refusal as refusal:
            if refusal.retry_after is not None:
                context.set_trailing_metadata([("retry-after", str(refusal.retry_after))])
            await context.abort(_code(refusal), refusal.message)
            raise AssertionError("abort raises") from refusal

    async def EmbedStream(
        self, requests: AsyncIterator[pb.EmbedRequest], context: Context
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Answers in the requests' order; a refusal is an answer too."""
        waiting: asyncio.Queue[asyncio.Task[pb.EmbedStreamResponse] | None] = asyncio.Queue(_STREAM_DEPTH)
        async with asyncio.TaskGroup() as tasks:

            async def read() -> None:
                async for request in requests:
                    await waiting.put(tasks.create_task(self._stream_respond(request, context)))
                await waiting.put(None)

            reading = tasks.create_task(read())
            try:
                while (task := await waiting.get()) is not None:
                    yield await task
            finally:
                reading.cancel()

    async def Info(self, request: pb.InfoRequest, context: Context) -> pb.InfoResponse:
        """Version, limits and models."""
        told = information(self._desk)
        models = [pb.Model(**model) for model in told["models"]]
        return pb.InfoResponse(version=told["version"], limits=told["limits"], models=models)

    async def _stream_respond(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedStreamResponse:
        try:
            return pb.EmbedStreamResponse(response=await self._respond(request, context.time_remaining()))
        except Refusal as refusal:
            return pb.EmbedStreamResponse(error=_error(refusal, request.request_id))

    async def _respond(self, request: pb.EmbedRequest, seconds: float | None) -> pb.EmbedResponse:
        begin, outcome, identity = time.monotonic(), "cancelled", request_id(request.request_id)
        facts: dict[str, object] = {"request_id": identity}
        try:
            answer = await self._desk.answer(_question(request), "grpc", seconds)
            outcome = "ok"
            facts.update(model=answer.model, texts=len(answer.token_counts), tokens=sum(answer.token_counts))
            return _response(answer, request.request_id)
        except Refusal as refusal:
            outcome = refusal.kind.label
            if refusal.kind is Kind.INTERNAL:
                LOG.exception("A request failed", extra={"facts": facts})
            raise
        finally:
            log_request("grpc", "Embed", outcome, time.monotonic() - begin, **facts)


class _Gate(grpc.aio.ServerInterceptor):
    """Keys, before anything else looks at a call."""

    def __init__(self, keys: Keys, protects_health: bool) -> None:
        self._keys, self._protects_health = keys, protects_health

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Let the call through, or end it as unauthenticated."""
        if self._protects_health or not handler_call_details.method.startswith(_PUBLIC):
            metadata = {key: value for key, value in handler_call_details.invocation_metadata or ()}
            try:
                self._keys.check(str(metadata.get("authorization", "")).encode())
            except Refusal as refusal:
                return _refusing(refusal)
        return await continuation(handler_call_details)


def _refusing(refusal: Refusal) -> grpc.RpcMethodHandler:
    async def refuse(_: object, context: Context) -> None:
        await context.abort(_code(refusal), refusal.message)

    return grpc.unary_unary_rpc_method_handler(refuse)


def _question(request: pb.EmbedRequest) -> Question:
    """The request as the desk takes it. Refusal: a value that the proto's types let through and REST's do not."""
    given = [list(vector.values) or None for vector in request.embeddings]
    names = ("model", "pooling", "normalize", "prompt", "dimensions", "truncate")
    options = {name: getattr(request, name) for name in names if request.HasField(name)}
    return Question(list(request.texts), embeddings=given or None, **options)


def _response(answer: Answer, identity: str) -> pb.EmbedResponse:
    timings = {name: 1e3 * getattr(answer.timings, name) for name in ("tokenize", "queue", "compute", "total")}
    return pb.EmbedResponse(
        model=answer.model,
        dimension=answer.vectors.shape[1],
        vectors=answer.vectors.astype("<f4", copy=False).tobytes(),
        token_counts=answer.token_counts,
        truncated=answer.truncated,
        fingerprint=answer.fingerprint,
        timings=pb.Timings(**timings),
        request_id=identity,
    )


def _error(refusal: Refusal, identity: str) -> pb.Error:
    known = {name: value for name in ("field", "limit", "retry_after") if (value := getattr(refusal, name)) is not None}
    code = _code(refusal).value[0]
    return pb.Error(message=refusal.message, type=refusal.kind.label, code=code, request_id=identity, **known)


def _code(refusal: Refusal) -> grpc.StatusCode:
    code: grpc.StatusCode = grpc.StatusCode[refusal.kind.grpc_status]
    return code
