"""Middleware for every HTTP request: its id, API key, body (limited and decompressed), and errors.

All errors become responses here, in the form of the API that the request belongs to.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind, api_error
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.calls.handler import Handler
from akidb_embeddings.server.http import admin, docs, page
from akidb_embeddings.server.http.access import CLIENT_CLOSED_REQUEST, HEALTH_PATHS
from akidb_embeddings.server.http.content_encoding import content_encoding, decompress, too_large
from akidb_embeddings.server.http.responses import Api, ClientDisconnectedError, error_response
from akidb_embeddings.server.observability.logs import LOG, ensure_request_id

_ALWAYS_PUBLIC = {"/openapi.json", *docs.PATHS, *page.PATHS}


class RequestMiddleware:
    """ASGI middleware. It adds ``request_id`` to ``scope["state"]``."""

    def __init__(self, app: ASGIApp, handler: Handler, keys: ApiKeys, apis: tuple[Api, ...]) -> None:
        """Wrap an application.

        Args:
            app: The application.
            handler: The handler of its requests.
            keys: The API keys.
            apis: The APIs that are served. The first one that a path belongs to determines the form of errors; the last
                one has all other paths.
        """
        self._app, self._config, self._metrics = app, handler.config, handler.metrics
        self._keys, self._apis = keys, apis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = ensure_request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            self._authorize(scope["method"], scope["path"], headers)
            encoding = content_encoding(scope["headers"])
            body = await self._read(headers, receive)
            if encoding:
                body = await asyncio.to_thread(decompress, body, encoding, self._config.max_body_bytes)
            await self._app(_route_scope(scope), _replay(body, receive), send_with_id)
        except ClientDisconnectedError:
            status = CLIENT_CLOSED_REQUEST
        except Exception as error:  # whatever fails, the client gets a response
            response_error = api_error(error)
            if response_error.kind is ErrorKind.INTERNAL:
                LOG.error("A request failed", exc_info=error, extra={"fields": {"request_id": request_id}})
            if not status:
                api = next((api for api in self._apis if api.has(scope["path"])), self._apis[-1])
                await error_response(response_error, request_id, api)(scope, receive, send_with_id)
        finally:
            self._metrics.count_http_response(status)

    def _authorize(self, method: str, path: str, headers: dict[bytes, bytes]) -> None:
        is_public = path in _ALWAYS_PUBLIC and method in ("GET", "HEAD")  # POST / computes vectors
        if is_public or (path in HEALTH_PATHS and not self._config.protect_health):
            return
        authorization = headers.get(b"authorization")
        if method == "POST" and path.startswith(admin.PREFIX):  # other methods are none of that path's
            self._keys.check_admin(authorization)
        else:
            self._keys.check(authorization)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Read the whole body.

        Raises:
            ApiError: It is larger than allowed, or takes longer.
            ClientDisconnectedError: The client disconnected before its end.
        """
        limit = self._config.max_body_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise too_large(limit)
        chunks: list[bytes] = []
        size, more = 0, True
        seconds = min(self._config.body_seconds, self._config.request_seconds)
        try:
            async with asyncio.timeout(seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnectedError
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > limit:
                        raise too_large(limit)
                    chunks.append(chunk)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise ApiError(
                ErrorKind.DEADLINE,
                f"The body did not arrive within {seconds:g} seconds.",
                field="body_seconds",
                limit=seconds,
                headers={"connection": "close"},  # the rest of the body is not read
            ) from None
        return b"".join(chunks)


def _route_scope(scope: Scope) -> Scope:
    """The scope for the routes, which answer HEAD as GET; the server sends no body, by its own scope."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that returns the body once, and then the connection's further messages, such as the disconnect."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
