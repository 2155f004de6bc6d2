"""The gRPC methods: parse a message, call the handler, and respond with a message or a status."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
from grpc.aio import ServicerContext as Context

from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.calls.api_error import REQUEST_NAMES, ApiError, ErrorKind, api_error
from akidb_embeddings.server.calls.embed_call import EmbedCall
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.observability.logs import LOG, ensure_request_id, log_request, work_fields
from akidb_embeddings.server.rpc.messages import (
    check_empty,
    embed_call,
    embed_response,
    parse,
    rerank_call,
    rerank_response,
)

# The names of the arguments in messages.
_NAMES = {**REQUEST_NAMES, "documents": "texts"}
SERVICE = pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name
# Requests of one stream that are handled at once, so that they share micro-batches.
_STREAM_DEPTH = 8
# The message of a status is sent in a header. Clients accept 8 kB of headers, and encoding may triple each byte.
_MAX_STATUS_BYTES = 1000
_MAX_AGENT = 200


class Servicer:
    """The methods of embedding.proto."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._streams = 0

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The methods by name.

        They get messages as bytes: if grpcio parsed them, a malformed one would end with UNKNOWN and the parser's
        message, and leave a traceback in the log.
        """
        return {
            "Embed": grpc.unary_unary_rpc_method_handler(
                self.embed, response_serializer=pb.EmbedResponse.SerializeToString
            ),
            "EmbedStream": grpc.stream_stream_rpc_method_handler(
                self.embed_stream, response_serializer=pb.EmbedStreamResponse.SerializeToString
            ),
            "Rerank": grpc.unary_unary_rpc_method_handler(
                self.rerank, response_serializer=pb.RerankResponse.SerializeToString
            ),
            "Info": grpc.unary_unary_rpc_method_handler(
                self.info, response_serializer=pb.InfoResponse.SerializeToString
            ),
        }

    async def embed(self, message: bytes, context: Context) -> pb.EmbedResponse:
        """Respond to one request, or end the call with an error's status."""
        call, given_id = await parse(message, pb.EmbedRequest, embed_call, self._handler.config.max_texts)
        request_id = ensure_request_id(given_id)
        try:
            about = _call_fields(context, message)
            return await self._embed("Embed", call, request_id, context.time_remaining(), about)
        except ApiError as error:
            await abort(context, error, request_id)

    async def rerank(self, message: bytes, context: Context) -> pb.RerankResponse:
        """Respond to one request, or end the call with an error's status."""
        call, given_id = await parse(message, pb.RerankRequest, rerank_call, self._handler.config.max_texts)
        request_id, seconds = ensure_request_id(given_id), context.time_remaining()
        try:
            with _logged("Rerank", request_id, _call_fields(context, message)) as fields:
                if isinstance(call, ApiError):
                    raise call
                outcome = await self._handler.rerank(call, "grpc", seconds)
                result = outcome.result
                fields.update(work_fields("grpc", outcome.model, result.token_counts, result.truncated, result.timings))
                response = rerank_response(outcome, request_id)
                fields["bytes_out"] = response.ByteSize()
                return response
        except ApiError as error:
            await abort(context, error, request_id)

    async def embed_stream(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Respond to requests in their order. A request's error is sent as a response.

        Responses are written, not yielded: if the call ended during a `yield`, the generator would be closed at some
        later time, while its tasks still read from the call. It is a generator only because OpenTelemetry requires one.
        """
        limit = self._handler.config.max_concurrent_requests
        if self._streams >= limit:
            reason = f"{self._streams} streams are open already; max_concurrent_requests is {limit}."
            error = ApiError(ErrorKind.OVERLOADED, reason, field="max_concurrent_requests", limit=limit, retry_after=1)
            await abort(context, error, ensure_request_id(None))
        self._streams += 1
        try:
            await self._answer_stream(messages, context)
        finally:
            self._streams -= 1
        return
        yield

    async def _answer_stream(self, messages: AsyncIterator[bytes], context: Context) -> None:
        tasks: set[asyncio.Task[Any]] = set()
        responses: asyncio.Queue[asyncio.Task[pb.EmbedStreamResponse] | None] = asyncio.Queue()
        slots = asyncio.Semaphore(_STREAM_DEPTH)

        def start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            task = asyncio.ensure_future(work)
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            return task

        async def read() -> None:
            try:
                async for message in messages:
                    await slots.acquire()
                    responses.put_nowait(start(self._stream_respond(message, context)))
            finally:
                responses.put_nowait(None)

        reading = start(read())
        try:
            while (task := await responses.get()) is not None:
                await context.write(await task)
                slots.release()
            await reading  # raises the error that ended it, if any
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def info(self, message: bytes, context: Context) -> pb.InfoResponse:
        """Version, limits and models."""
        request_id = ensure_request_id(None)
        try:
            check_empty(message, pb.InfoRequest)
            info = self._handler.info()
            models = [pb.Model(**model) for model in info["models"]]
            rerankers = [pb.Reranker(**reranker) for reranker in info["rerankers"]]
            return pb.InfoResponse(version=info["version"], limits=info["limits"], models=models, rerankers=rerankers)
        except Exception as error:  # as in ``_logged``, without a request to count
            await abort(context, _log_if_internal(error, {"request_id": request_id}), request_id)

    async def _stream_respond(self, message: bytes, context: Context) -> pb.EmbedStreamResponse:
        call, given_id = await parse(message, pb.EmbedRequest, embed_call, self._handler.config.max_texts)
        request_id = ensure_request_id(given_id)
        try:
            seconds = context.time_remaining()
            about = _call_fields(context, message)
            response = await self._embed("EmbedStream", call, request_id, seconds, about)
            return pb.EmbedStreamResponse(response=response)
        except ApiError as error:
            return pb.EmbedStreamResponse(error=_error(error, request_id))

    async def _embed(
        self,
        method: str,
        call: EmbedCall | ApiError,
        request_id: str,
        seconds: float | None,
        about: dict[str, object],
    ) -> pb.EmbedResponse:
        """The response within ``seconds``; ``about`` are fields of its log entry.

        Raises:
            ApiError: The request failed, for any reason.
        """
        with _logged(method, request_id, about) as fields:
            if isinstance(call, ApiError):
                raise call
            outcome = await self._handler.embed(call, "grpc", seconds)
            fields.update(work_fields("grpc", outcome.model, outcome.token_counts, outcome.truncated, outcome.timings))
            response = embed_response(outcome, request_id)
            fields["bytes_out"] = response.ByteSize()
            return response


@contextlib.contextmanager
def _logged(method: str, request_id: str, about: dict[str, object]) -> Iterator[dict[str, object]]:
    """Log a request at its end. Yields further fields of the entry.

    Raises:
        ApiError: The request failed, for any reason.
    """
    begin, label = time.monotonic(), "cancelled"
    fields: dict[str, object] = {"request_id": request_id, **about}
    try:
        yield fields
        label = "ok"
    except Exception as error:  # whatever fails, the client gets an error with a kind
        response_error = _log_if_internal(error, fields)
        label = response_error.kind.label
        raise response_error from error.__cause__
    finally:
        log_request("grpc", method, label, time.monotonic() - begin, **fields)


def _call_fields(context: Context, message: bytes) -> dict[str, object]:
    """The fields of a log entry that are known when a message arrives."""
    agent = dict(context.invocation_metadata() or ()).get("user-agent")
    return {
        "client": client_of(context.peer()),
        "bytes_in": len(message),
        "user_agent": None if agent is None else str(agent)[:_MAX_AGENT],
    }


def client_of(peer: str) -> str | None:
    """The address in what gRPC calls a peer: ``ipv4:127.0.0.1:50``, or ``ipv6:[::1]:50``, with %5B for the bracket."""
    kind, _, rest = peer.partition(":")
    return unquote(rest).rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else None


def _log_if_internal(error: Exception, fields: dict[str, object]) -> ApiError:
    """The error that the client gets. An internal error is also logged."""
    response_error = api_error(error)
    if response_error.kind is ErrorKind.INTERNAL:
        LOG.error("A request failed", exc_info=error, extra={"fields": fields})
    return response_error


async def abort(context: Context, error: ApiError, request_id: str) -> NoReturn:
    """End the call with the error's status. The trailing metadata have the request's id and ``retry-after``."""
    metadata = {"x-request-id": request_id, "retry-after": error.retry_after}
    context.set_trailing_metadata(tuple((name, str(value)) for name, value in metadata.items() if value is not None))
    await context.abort(_code(error), _shorten(error.message(_NAMES)))
    raise AssertionError("abort raises")


def _error(error: ApiError, request_id: str) -> pb.Error:
    details: dict[str, Any] = error.details(_NAMES)
    return pb.Error(
        message=_shorten(error.message(_NAMES)),
        type=error.kind.label,
        code=_code(error).value[0],
        request_id=request_id,
        **details,
    )


def _shorten(message: str) -> str:
    """The message without its middle if it is too long: it repeats a long value, and its end says what is allowed."""
    data = message.encode(errors="replace")
    if len(data) <= _MAX_STATUS_BYTES:
        return data.decode()
    half = _MAX_STATUS_BYTES // 2
    return f"{data[:half].decode(errors='ignore')} … {data[-half:].decode(errors='ignore')}"


def _code(error: ApiError) -> grpc.StatusCode:
    code: grpc.StatusCode = grpc.StatusCode[error.kind.grpc_status]
    return code
