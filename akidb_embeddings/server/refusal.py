"""Why a request is not answered, in one form for every protocol.

Every error that reaches a client is one of these kinds; what is none of them becomes ``internal``, whose message says
nothing of the cause. The cause is in the log, under the request's id.
"""

import re
from enum import Enum

from akidb_embeddings.errors import (
    ConfigurationError,
    DeadlineError,
    InputError,
    NonFiniteVectorError,
    OverloadError,
    WorkerError,
)

_NAME = re.compile(r"(?:texts|embeddings)\[\d+\]|(?:prompt|dimensions|pooling|truncate|precision)\b")
_LIMIT = re.compile(r"(?:the limit is|max_queued_tokens is|; this model gives) (\d+)")


class Kind(Enum):
    """Name, HTTP status and gRPC status of a refusal."""

    MALFORMED = ("malformed", 400, "INVALID_ARGUMENT")
    UNAUTHENTICATED = ("unauthenticated", 401, "UNAUTHENTICATED")
    NOT_FOUND = ("not_found", 404, "NOT_FOUND")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "UNIMPLEMENTED")
    TOO_LARGE = ("too_large", 413, "RESOURCE_EXHAUSTED")
    INVALID = ("invalid", 422, "INVALID_ARGUMENT")
    OVERLOADED = ("overloaded", 429, "RESOURCE_EXHAUSTED")
    INTERNAL = ("internal", 500, "INTERNAL")
    UNAVAILABLE = ("unavailable", 503, "UNAVAILABLE")
    DEADLINE = ("deadline", 504, "DEADLINE_EXCEEDED")

    def __init__(self, label: str, status: int, grpc_status: str) -> None:
        self.label, self.status, self.grpc_status = label, status, grpc_status


class Refusal(Exception):  # noqa: N818  (it is no error of the program)
    """A request that is not answered. ``field`` and ``limit`` where one is at fault; ``retry_after`` in seconds."""

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        field: str | None = None,
        limit: float | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.field, self.limit, self.retry_after = kind, message, field, limit, retry_after

    def body(self, request_id: str) -> dict[str, object]:
        """What a client reads."""
        body: dict[str, object] = {"error": self.message, "type": self.kind.label, "request_id": request_id}
        body |= {
            name: value for name in ("field", "limit", "retry_after") if (value := getattr(self, name)) is not None
        }
        return body


def refusal_of(error: Exception) -> Refusal:
    """The refusal that an error of the core amounts to."""
    message = str(error)
    match error:
        case Refusal():
            refusal = error
        case DeadlineError():
            refusal = Refusal(Kind.DEADLINE, message)
        case OverloadError():
            limit = _limit(message)
            refusal = Refusal(Kind.OVERLOADED, message, field="max_queued_tokens", limit=limit, retry_after=1)
        case NonFiniteVectorError():
            refusal = Refusal(Kind.INTERNAL, message, field=f"texts[{error.index}]")
        case WorkerError():
            message = "The model failed while it had this request; it may be sent again."
            refusal = Refusal(Kind.UNAVAILABLE, message, retry_after=1)
        case InputError() | ConfigurationError():
            refusal = _of_a_value(message)
        case _:
            refusal = unforeseen()
    return refusal


def unforeseen() -> Refusal:
    """The refusal for what nobody foresaw; it tells nothing of it."""
    return Refusal(Kind.INTERNAL, "The server failed; its log has the cause under this request's id.")


def _of_a_value(message: str) -> Refusal:
    """The core's errors begin with the name of what is at fault."""
    message = message.replace("prompt_name is", "prompt is", 1).removesuffix(" Or give prompt=TEXT.")
    name = _NAME.match(message)
    return Refusal(Kind.INVALID, message, field=name and name[0], limit=_limit(message))


def _limit(message: str) -> int | None:
    found = _LIMIT.search(message)
    return found and int(found[1])
