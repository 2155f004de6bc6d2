"""Around every HTTP request: its id, its key, its body within the limit, its line in the log.

What comes out is an answer or a refusal in JSON; an error that nobody foresaw is one too, and never a stack trace.
"""

import asyncio
import re
import time
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from akidb_embeddings.server.desk import Desk
from akidb_embeddings.server.keys import Keys
from akidb_embeddings.server.logs import LOG, log_request, request_id
from akidb_embeddings.server.refusal import Kind, Refusal, unforeseen

OPENAI = "/v1/"
# What the log and the metrics say where nobody waits for a status any more, as other servers do.
CLIENT_LEFT = 499
_ALWAYS_PUBLIC = {"/", "/docs", "/openapi.json"}
_HEALTH = {"/livez", "/readyz", "/metrics"}


class ClientLeftError(Exception):
    """Nobody is there to read an answer."""


class Gate:
    """ASGI middleware. ``scope["state"]`` gets ``request_id`` and ``facts``, which endpoints add to the log."""

    def __init__(self, app: ASGIApp, desk: Desk, keys: Keys) -> None:
        self._app, self._config, self._metrics, self._keys = app, desk.config, desk.metrics, keys

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

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", identity.encode())]
            await send(message)

        try:
            self._admit(scope["path"], headers)
            body = await self._read(headers, receive)
            await self._app(scope, _replay(body, receive), noting)
        except Refusal as refusal:
            await respond(noting, refusal, identity, scope["path"])
        except ClientLeftError:
            status = CLIENT_LEFT
        except Exception:
            LOG.exception("A request failed", extra={"facts": {"request_id": identity}})
            if not status:
                await respond(noting, unforeseen(), identity, scope["path"])
        finally:
            self._metrics.http(status)
            what = f"{scope['method']} {scope['path']}"[:200]
            log_request("http", what, str(status), time.monotonic() - begin, request_id=identity, **facts)

    def _admit(self, path: str, headers: dict[bytes, bytes]) -> None:
        if path in _ALWAYS_PUBLIC or (path in _HEALTH and not self._config.protect_health):
            return
        self._keys.check(headers.get(b"authorization"))

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body. Refusal: it is larger than allowed, or takes longer."""
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
            raise Refusal(
                Kind.DEADLINE, f"The body did not come within {self._config.request_seconds:g} seconds."
            ) from None
        return b"".join(chunks)


async def respond(send: Send, refusal: Refusal, identity: str, path: str) -> None:
    """Send a refusal."""
    content = refusal_body(refusal, identity, path)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in refusal_headers(refusal).items()]
    await send({"type": "http.response.start", "status": refusal.kind.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def refusal_body(refusal: Refusal, identity: str, path: str) -> bytes:
    """A refusal's JSON, in OpenAI's shape where its clients ask."""
    body = refusal.body(identity)
    if path.startswith(OPENAI):
        detail: dict[str, Any] = {
            "message": refusal.message.replace("texts[", "input["),
            "type": "server_error" if refusal.kind.status >= 500 else "invalid_request_error",
            "param": refusal.field and re.sub(r"^texts\b", "input", refusal.field),
            "code": refusal.kind.label,
        }
        body = {"error": detail, "request_id": identity}
    return orjson.dumps(body)


def refusal_headers(refusal: Refusal) -> dict[str, str]:
    """What goes with a refusal's status."""
    headers = {}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    if refusal.kind is Kind.UNAUTHENTICATED:
        headers["www-authenticate"] = "Bearer"
    if refusal.kind is Kind.TOO_LARGE:
        headers["connection"] = "close"  # the rest of the body is not read
    return headers


def _too_large(limit: int) -> Refusal:
    return Refusal(
        Kind.TOO_LARGE, f"The body is larger than max_body_bytes, {limit}.", field="max_body_bytes", limit=limit
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, and then whatever else comes: that the client left."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
