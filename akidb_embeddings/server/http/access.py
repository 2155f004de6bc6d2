"""The access log: an entry for each HTTP request, also for one that is refused before it reaches a route."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from akidb_embeddings.server.observability.logs import log_request

# The status in log and metrics if the client disconnected before the response, as in nginx.
CLIENT_CLOSED_REQUEST = 499
HEALTH_PATHS = frozenset({"/livez", "/readyz", "/health", "/metrics"})
"""What monitoring asks for every few seconds."""
_MAX_METHOD, _MAX_AGENT = 200, 200


class AccessLogMiddleware:
    """ASGI middleware.

    It adds ``fields`` to ``scope["state"]``, to which whoever handles the request adds fields of its entry.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log it at its end. Successful health checks are not logged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status, size_in, size_out = time.monotonic(), 0, 0, 0
        fields: dict[str, object] = {}
        scope.setdefault("state", {})["fields"] = fields

        async def count_in() -> Message:
            nonlocal size_in
            message = await receive()
            size_in += len(message.get("body", b""))
            return message

        async def count_out(message: Message) -> None:
            nonlocal status, size_out
            status = message.get("status", status)
            size_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, count_in, count_out)
        finally:
            if scope["path"] not in HEALTH_PATHS or not 0 < status < 400:
                client = scope.get("client")
                about: dict[str, object] = {
                    "client": client[0] if client else None,
                    "request_id": scope["state"].get("request_id"),
                    **fields,
                    "bytes_in": size_in,
                    "bytes_out": size_out,
                    "http_version": scope["http_version"],
                    "user_agent": _user_agent(scope),
                }
                method = f"{scope['method']} {scope['path']}"[:_MAX_METHOD]
                log_request("http", method, str(status or CLIENT_CLOSED_REQUEST), time.monotonic() - begin, **about)


def _user_agent(scope: Scope) -> str | None:
    given = next((value for name, value in scope["headers"] if name == b"user-agent"), None)
    return None if given is None else given.decode("latin-1")[:_MAX_AGENT]
