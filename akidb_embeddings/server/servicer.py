"""gRPC's calls: bytes to a call, its outcome to a message or a status."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc.aio import ServicerContext as Context

from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.api_error import REQUEST_NAMES, ApiError, ErrorKind, api_error
from akidb_embeddings.server.handler import EmbedCall, EmbedOutcome, Handler
from akidb_embeddings.server.logs import LOG, log_request, request_id
from akidb_embeddings.vectors.precision import little_endian

Schema = TypeVar("Schema", bound=Message)

SERVICE = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
# Requests of one stream that are worked on at once, so that they share micro-batches.
_STREAM_DEPTH = 8
# A status's words travel in a header. Clients take 8 kB of headers in all, and each of these bytes may become 3.
_MOST_MESSAGE_BYTES = 1000


class Servicer:
    """The proto's three calls."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The calls by name.

        Messages come as bytes. Where grpcio parses them, one that is malformed ends as UNKNOWN with the parser's
        words, and with a traceback in the log.
        """
        return {
            "Embed": grpc.unary_unary_rpc_method_handler(
                self.embed, response_serializer=pb.EmbedResponse.SerializeToString
            ),
            "EmbedStream": grpc.stream_stream_rpc_method_handler(
                self.embed_stream, response_serializer=pb.EmbedStreamResponse.SerializeToString
            ),
            "Info": grpc.unary_unary_rpc_method_handler(
                self.info, response_serializer=pb.InfoResponse.SerializeToString
            ),
        }

    async def embed(self, message: bytes, context: Context) -> pb.EmbedResponse:
        """Answer one request, or end the call with an error's status."""
        request = _parsed(message, pb.EmbedRequest)
        identity = _identity(request)
        try:
            return await self._respond("Embed", request, identity, context.time_remaining())
        except ApiError as error:
            await abort(context, error, identity)

    async def embed_stream(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Answer requests in their order; an error is an answer too.

        They are written, not yielded: a call that ends while an answer is on its way would leave a generator at its
        `yield`, to be closed at some later time, with tasks that still read from a call that is gone. A generator it is
        for OpenTelemetry, which wraps nothing else.
        """
        tasks: set[asyncio.Task[Any]] = set()
        answers: asyncio.Queue[asyncio.Task[pb.EmbedStreamResponse] | None] = asyncio.Queue()
        places = asyncio.Semaphore(_STREAM_DEPTH)

        def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            task = asyncio.ensure_future(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            return task

        async def read() -> None:
            try:
                async for message in messages:
                    await places.acquire()
                    answers.put_nowait(start(self._stream_respond(message, context)))
            finally:
                answers.put_nowait(None)

        reading = start(read())
        try:
            while (task := await answers.get()) is not None:
                await context.write(await task)
                places.release()
            await reading  # which raises what ended it early
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return
        yield

    async def info(self, message: bytes, context: Context) -> pb.InfoResponse:
        """Version, limits and models."""
        identity = request_id(None)
        try:
            if _parsed(message, pb.InfoRequest) is None:
                raise _malformed(pb.InfoRequest)
            told = self._handler.info()
            models = [pb.Model(**model) for model in told["models"]]
            return pb.InfoResponse(version=told["version"], limits=told["limits"], models=models)
        except Exception as error:
            await abort(context, _logged(error, {"request_id": identity}), identity)

    async def _stream_respond(self, message: bytes, context: Context) -> pb.EmbedStreamResponse:
        request = _parsed(message, pb.EmbedRequest)
        identity = _identity(request)
        try:
            seconds = context.time_remaining()
            return pb.EmbedStreamResponse(response=await self._respond("EmbedStream", request, identity, seconds))
        except ApiError as error:
            return pb.EmbedStreamResponse(error=_error(error, identity))

    async def _respond(
        self, method: str, request: pb.EmbedRequest | None, identity: str, seconds: float | None
    ) -> pb.EmbedResponse:
        """The response within ``seconds``.

        Raises:
            ApiError: Whatever the reason.
        """
        begin, label = time.monotonic(), "cancelled"
        facts: dict[str, object] = {"request_id": identity}
        try:
            if request is None:
                raise _malformed(pb.EmbedRequest)
            outcome = await self._handler.embed(_call(request), "grpc", seconds)
            response = _response(outcome, identity)
            facts.update(model=outcome.model, texts=len(outcome.token_counts), tokens=sum(outcome.token_counts))
            label = "ok"
            return response
        except Exception as error:
            told = _logged(error, facts)
            label = told.kind.label
            raise told from error.__cause__
        finally:
            log_request("grpc", method, label, time.monotonic() - begin, **facts)


def _parsed(message: bytes, schema: type[Schema]) -> Schema | None:
    """The message, or None for bytes that are none, invalid UTF-8 included."""
    try:
        return schema.FromString(message)
    except DecodeError:
        return None


def _malformed(schema: type[Message]) -> ApiError:
    message = f"The message is not a {schema.DESCRIPTOR.full_name}, or has text that is not UTF-8."
    return ApiError(ErrorKind.MALFORMED, message)


def _identity(request: pb.EmbedRequest | None) -> str:
    return request_id(None if request is None else request.request_id)


def _call(request: pb.EmbedRequest) -> EmbedCall:
    """What the request asks for."""
    given = [list(vector.values) or None for vector in request.embeddings]
    names = ("model", "pooling", "normalize", "prompt", "dimensions", "truncate", "precision")
    options = {name: getattr(request, name) for name in names if request.HasField(name)}
    return EmbedCall(list(request.texts), embeddings=given or None, **options)


def _response(outcome: EmbedOutcome, identity: str) -> pb.EmbedResponse:
    timings = {name: 1e3 * getattr(outcome.timings, name) for name in ("tokenize", "queue", "compute", "total")}
    return pb.EmbedResponse(
        model=outcome.model,
        dimension=outcome.dimension,
        precision=outcome.precision,
        vectors=little_endian(outcome.vectors).tobytes(),
        token_counts=outcome.token_counts,
        truncated=outcome.truncated,
        fingerprint=outcome.fingerprint,
        timings=pb.Timings(**timings),
        request_id=identity,
    )


def _logged(error: Exception, facts: dict[str, object]) -> ApiError:
    """What the client is told of an error; one that is the server's own fault goes to the log as well."""
    told = api_error(error)
    if told.kind is ErrorKind.INTERNAL:
        LOG.error("A request failed", exc_info=error, extra={"facts": facts})
    return told


async def abort(context: Context, error: ApiError, identity: str) -> NoReturn:
    """End the call with the error's status; the request's id and when to try again are in the trailing metadata."""
    metadata = {"x-request-id": identity, "retry-after": error.retry_after}
    context.set_trailing_metadata(tuple((name, str(value)) for name, value in metadata.items() if value is not None))
    await context.abort(_code(error), _brief(error.message(REQUEST_NAMES)))
    raise AssertionError("abort raises")


def _error(error: ApiError, identity: str) -> pb.Error:
    details: dict[str, Any] = error.details()
    return pb.Error(
        message=_brief(error.message(REQUEST_NAMES)),
        type=error.kind.label,
        code=_code(error).value[0],
        request_id=identity,
        **details,
    )


def _brief(message: str) -> str:
    """The message, cut in its middle if it repeats a long value of the client's; what would be right is at its end."""
    data = message.encode(errors="replace")
    if len(data) <= _MOST_MESSAGE_BYTES:
        return data.decode()
    half = _MOST_MESSAGE_BYTES // 2
    return f"{data[:half].decode(errors='ignore')} … {data[-half:].decode(errors='ignore')}"


def _code(error: ApiError) -> grpc.StatusCode:
    code: grpc.StatusCode = grpc.StatusCode[error.kind.grpc_status]
    return code
