"""Around every HTTP request: its id, its API key, the limit of its body, its line in the log; and errors as responses.

Every error becomes a response here and nowhere else, in the form of the API that the request belongs to.
"""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from akidb_embeddings.server.api_error import ApiError, ErrorKind, api_error
from akidb_embeddings.server.auth import ApiKeys
from akidb_embeddings.server.handler import Handler
from akidb_embeddings.server.logs import LOG, log_request, request_id
from akidb_embeddings.server.responses import Api, ClientLeftError, error_response

# What the log and the metrics say where no client waits for a status any more, as other servers do.
CLIENT_LEFT = 499
_ALWAYS_PUBLIC = {"/", "/docs", "/openapi.json"}
_HEALTH = {"/livez", "/readyz", "/metrics"}


class RequestMiddleware:
    """ASGI middleware. ``scope["state"]`` gets ``request_id`` and ``facts``, which endpoints add to the log.

    ``apis``: the APIs that are served; the first one that a path belongs to decides on the form of errors.
    """

    def __init__(self, app: ASGIApp, handler: Handler, keys: ApiKeys, apis: tuple[Api, ...]) -> None:
        self._app, self._config, self._metrics = app, handler.config, handler.metrics
        self._keys, self._apis = keys, apis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        identity = request_id(headers.get(b"x-request-id", b"").decode("latin-1"))
        facts: dict[str, object] = {}
        scope.setdefault("state", {}).update(request_id=identity, facts=facts)
        begin, status = time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", identity.encode())]
            await send(message)

        try:
            self._authorize(scope["path"], headers)
            body = await self._read(headers, receive)
            await self._app(scope, _replay(body, receive), send_with_id)
        except ClientLeftError:
            status = CLIENT_LEFT
        except Exception as error:
            told = api_error(error)
            if told.kind is ErrorKind.INTERNAL:
                LOG.error("A request failed", exc_info=error, extra={"facts": {"request_id": identity}})
            if not status:
                api = next(api for api in self._apis if api.has(scope["path"]))
                await error_response(told, identity, api)(scope, receive, send_with_id)
        finally:
            self._metrics.http(status)
            what = f"{scope['method']} {scope['path']}"[:200]
            log_request("http", what, str(status), time.monotonic() - begin, request_id=identity, **facts)

    def _authorize(self, path: str, headers: dict[bytes, bytes]) -> None:
        if path in _ALWAYS_PUBLIC or (path in _HEALTH and not self._config.protect_health):
            return
        self._keys.check(headers.get(b"authorization"))

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Read the whole body.

        Raises:
            ApiError: It is larger than allowed, or takes longer.
            ClientLeftError: The client left before its end.
        """
        limit = self._config.max_body_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self._config.request_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeftError
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(limit)
                    chunks.append(chunk)
                    more = message.get("more_body", False)
        except TimeoutError:
            seconds = self._config.request_seconds
            raise ApiError(ErrorKind.DEADLINE, f"The body did not come within {seconds:g} seconds.") from None
        return b"".join(chunks)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        ErrorKind.TOO_LARGE,
        f"The body is larger than max_body_bytes, {limit}.",
        field="max_body_bytes",
        limit=limit,
        headers={"connection": "close"},  # the rest of the body is not read
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once, and then whatever else comes: that the client left."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
