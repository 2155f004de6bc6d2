"""gRPC's calls: bytes to a question, the desk's answer to a message or a status."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc.aio import ServicerContext as Context

from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.desk import Answer, Desk, Question
from akidb_embeddings.server.logs import LOG, log_request, request_id
from akidb_embeddings.server.refusal import Kind, Refusal, refusal_of
from akidb_embeddings.server.rest import information
from akidb_embeddings.vectors.precision import little_endian

Shape = TypeVar("Shape", bound=Message)

SERVICE = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
# Requests of one stream that are worked on at once, so that they share micro-batches.
_STREAM_DEPTH = 8
# A status's words travel in a header. Clients take 8 kB of headers in all, and each of these bytes may become 3.
_MOST_MESSAGE_BYTES = 1000


class Servicer:
    """The proto's three calls."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

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
        """One answer, or the status of its refusal."""
        request = _parsed(message, pb.EmbedRequest)
        identity = _identity(request)
        try:
            return await self._respond("Embed", request, identity, context.time_remaining())
        except Refusal as refusal:
            await abort(context, refusal, identity)

    async def embed_stream(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Answers in the requests' order; a refusal is an answer too.

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
            told = information(self._desk)
            models = [pb.Model(**model) for model in told["models"]]
            return pb.InfoResponse(version=told["version"], limits=told["limits"], models=models)
        except Exception as error:
            await abort(context, _refusal(error, {"request_id": identity}), identity)

    async def _stream_respond(self, message: bytes, context: Context) -> pb.EmbedStreamResponse:
        request = _parsed(message, pb.EmbedRequest)
        identity = _identity(request)
        try:
            seconds = context.time_remaining()
            return pb.EmbedStreamResponse(response=await self._respond("EmbedStream", request, identity, seconds))
        except Refusal as refusal:
            return pb.EmbedStreamResponse(error=_error(refusal, identity))

    async def _respond(
        self, method: str, request: pb.EmbedRequest | None, identity: str, seconds: float | None
    ) -> pb.EmbedResponse:
        """The desk's answer within ``seconds``. Refusal: whatever the reason."""
        begin, outcome = time.monotonic(), "cancelled"
        facts: dict[str, object] = {"request_id": identity}
        try:
            if request is None:
                raise _malformed(pb.EmbedRequest)
            answer = await self._desk.answer(_question(request), "grpc", seconds)
            response = _response(answer, identity)
            facts.update(model=answer.model, texts=len(answer.token_counts), tokens=sum(answer.token_counts))
            outcome = "ok"
            return response
        except Exception as error:
            refusal = _refusal(error, facts)
            outcome = refusal.kind.label
            raise refusal from error.__cause__
        finally:
            log_request("grpc", method, outcome, time.monotonic() - begin, **facts)


def _parsed(message: bytes, shape: type[Shape]) -> Shape | None:
    """The message, or None for bytes that are none, invalid UTF-8 included."""
    try:
        return shape.FromString(message)
    except DecodeError:
        return None


def _malformed(shape: type[Message]) -> Refusal:
    return Refusal(Kind.MALFORMED, f"The message is no {shape.DESCRIPTOR.full_name}, or has text that is not UTF-8.")


def _identity(request: pb.EmbedRequest | None) -> str:
    return request_id(None if request is None else request.request_id)


def _question(request: pb.EmbedRequest) -> Question:
    """The request as the desk takes it."""
    given = [list(vector.values) or None for vector in request.embeddings]
    names = ("model", "pooling", "normalize", "prompt", "dimensions", "truncate", "precision")
    options = {name: getattr(request, name) for name in names if request.HasField(name)}
    return Question(list(request.texts), embeddings=given or None, **options)


def _response(answer: Answer, identity: str) -> pb.EmbedResponse:
    timings = {name: 1e3 * getattr(answer.timings, name) for name in ("tokenize", "queue", "compute", "total")}
    return pb.EmbedResponse(
        model=answer.model,
        dimension=answer.dimension,
        precision=answer.precision,
        vectors=little_endian(answer.vectors).tobytes(),
        token_counts=answer.token_counts,
        truncated=answer.truncated,
        fingerprint=answer.fingerprint,
        timings=pb.Timings(**timings),
        request_id=identity,
    )


def _refusal(error: Exception, facts: dict[str, object]) -> Refusal:
    """The refusal that an error amounts to; what nobody foresaw goes to the log as well."""
    refusal = refusal_of(error)
    if refusal.kind is Kind.INTERNAL:
        LOG.error("A request failed", exc_info=error, extra={"facts": facts})
    return refusal


async def abort(context: Context, refusal: Refusal, identity: str) -> NoReturn:
    """End the call with the refusal's status; when to come back and the request's id are in the trailing metadata."""
    told = {"x-request-id": identity, "retry-after": refusal.retry_after}
    context.set_trailing_metadata(tuple((name, str(value)) for name, value in told.items() if value is not None))
    await context.abort(_code(refusal), _brief(refusal.message))
    raise AssertionError("abort raises")


def _error(refusal: Refusal, identity: str) -> pb.Error:
    known = {name: value for name in ("field", "limit", "retry_after") if (value := getattr(refusal, name)) is not None}
    code = _code(refusal).value[0]
    return pb.Error(message=_brief(refusal.message), type=refusal.kind.label, code=code, request_id=identity, **known)


def _brief(message: str) -> str:
    """The message, cut in its middle if it repeats a long value of the client's; what would be right is at its end."""
    data = message.encode(errors="replace")
    if len(data) <= _MOST_MESSAGE_BYTES:
        return data.decode()
    half = _MOST_MESSAGE_BYTES // 2
    return f"{data[:half].decode(errors='ignore')} … {data[-half:].decode(errors='ignore')}"


def _code(refusal: Refusal) -> grpc.StatusCode:
    code: grpc.StatusCode = grpc.StatusCode[refusal.kind.grpc_status]
    return code
