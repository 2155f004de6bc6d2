"""What HTTP endpoints share: calls of the handler, disconnects, JSON responses, and OpenAPI entries."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from akidb_embeddings.server.calls.api_error import KINDS_BY_STATUS, ApiError
from akidb_embeddings.server.calls.embed_call import EmbedCall, EmbedOutcome
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.calls.rerank_call import RerankCall, RerankOutcome
from akidb_embeddings.server.http import parsing, schemas
from akidb_embeddings.server.observability.logs import work_fields

T = TypeVar("T")
Body = TypeVar("Body", bound=BaseModel)

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of pages: nothing but this server's own files and answers; icons are data. Other pages
may not embed them in a frame."""

ANY_REQUEST = (400, 401, 413, 415, 500)
"""The statuses of the errors that every route may respond with: its body may be malformed, even if it is not used."""

# Vectors of more numbers than this are written as JSON on another thread.
_MANY_NUMBERS = 20_000
_PART_BYTES = 1 << 16


class ClientDisconnectedError(Exception):
    """The client disconnected before the response."""


@dataclass(frozen=True)
class Api:
    """Routes that belong together, and the form of their errors.

    Attributes:
        router: The routes: all below the router's prefix, or those that it has.
        error_body: Makes the JSON object for an error and the request's id.
    """

    router: APIRouter
    error_body: Callable[[ApiError, str], dict[str, Any]]

    def has(self, path: str) -> bool:
        """Whether a request for ``path`` belongs to this API, even if none of its routes has that path."""
        prefix = self.router.prefix
        if not prefix:
            return any(path == getattr(route, "path", None) for route in self.router.routes)
        return path == prefix or path.startswith(f"{prefix}/")


def handler_of(request: Request) -> Handler:
    """The handler that a request goes to."""
    handler: Handler = request.app.state.handler
    return handler


async def read_body(request: Request, schema: type[Body]) -> Body:
    """The body of a request.

    Raises:
        ApiError: It does not follow the schema, or has more texts than a request may have.
    """
    return await parsing.parse(await request.body(), schema, handler_of(request).config.max_texts)


async def embed_call(request: Request, call: EmbedCall, protocol: str) -> EmbedOutcome:
    """The outcome of a call. If the client disconnects, its texts are removed from the queue.

    Raises:
        ApiError: The call failed.
        ClientDisconnectedError: The client disconnected.
    """
    outcome = await _while_connected(request, handler_of(request).embed(call, protocol))
    request.state.fields.update(
        work_fields(protocol, outcome.model, outcome.token_counts, outcome.truncated, outcome.timings)
    )
    return outcome


async def rerank_call(request: Request, call: RerankCall, protocol: str) -> RerankOutcome:
    """The outcome of a call. If the client disconnects, its pairs are removed from the queue.

    Raises:
        ApiError: The call failed.
        ClientDisconnectedError: The client disconnected.
    """
    outcome = await _while_connected(request, handler_of(request).rerank(call, protocol))
    result = outcome.result
    request.state.fields.update(
        work_fields(protocol, outcome.model, result.token_counts, result.truncated, result.timings)
    )
    return outcome


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(request.receive())  # after the body, the next message is the disconnect
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnectedError
    finally:
        disconnect.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # or asyncio logs that it was never retrieved


async def vectors_response(
    body: Callable[[], object], outcome: EmbedOutcome, headers: Mapping[str, str] | None = None
) -> Response:
    """The body as JSON. Its arrays have the digits that restore the same float32 values.

    Args:
        body: Makes the body, which may take long: of large outcomes, on another thread.
        outcome: The vectors.
        headers: Further headers.
    """
    is_large = outcome.size > _MANY_NUMBERS
    content = await asyncio.to_thread(_write, body) if is_large else _write(body)
    return _Parts(content, headers=headers, media_type="application/json")


def _write(body: Callable[[], object]) -> bytes:
    """The body as JSON, one vector after the other: between two of them, other threads run."""
    return orjson.dumps(body(), default=_rows)


def _rows(array: np.ndarray[Any, Any]) -> object:
    return list(array) if array.ndim > 1 else orjson.Fragment(orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))


class _Parts(Response):
    """A response that is sent in parts, each once the client has read most of those before it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        content = memoryview(self.body)
        for begin in range(0, len(content), _PART_BYTES):
            part = bytes(content[begin : begin + _PART_BYTES])
            await send({"type": "http.response.body", "body": part, "more_body": begin + _PART_BYTES < len(content)})


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A small body as JSON."""
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")


def error_response(error: ApiError, request_id: str, api: Api) -> Response:
    """The response for an error."""
    content = orjson.dumps(api.error_body(error, request_id))
    return Response(content, error.kind.status, error.headers, "application/json")


def describe_errors(*statuses: int, schema: type[BaseModel] = schemas.ErrorBody) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries for errors with these statuses."""
    return {status: {"model": schema, "description": KINDS_BY_STATUS[status].description} for status in statuses}


def describe_body(*schemas: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI entry for a request's body of one of these schemas, which the endpoint reads itself."""
    found = [parsing.json_schema(schema) for schema in schemas]
    schema = found[0] if len(found) == 1 else {"oneOf": found}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_path_parameter(name: str, description: str) -> dict[str, Any]:
    """The OpenAPI entry for a part of the path, which the endpoint reads itself."""
    entry = {"name": name, "in": "path", "required": True, "description": description, "schema": {"type": "string"}}
    return {"parameters": [entry]}
