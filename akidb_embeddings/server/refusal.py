"""Why a request is not answered, in one form for every protocol.

Every error that reaches a client is one of these kinds; what is none of them becomes ``internal``, whose message says
nothing of the cause. The cause is in the log, under the request's id.
"""

from enum import Enum

from akidb_embeddings.errors import (
    ConfigurationError,
    DeadlineError,
    InputError,
    NonFiniteVectorError,
    OverloadError,
    WorkerError,
)


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


class Refusal(Exception):
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
        body |= {name: value for name in ("field", "limit", "retry_after") if (value := getattr(self, name)) is not None}
        return body


def refusal_of(error: Exception) -> Refusal:
    """The refusal that an error of the core amounts to."""
    match error:
        case Refusal():
            return error
        case DeadlineError():
            return Refusal(Kind.DEADLINE, str(error))
        case OverloadError():
            return Refusal(Kind.OVERLOADED, str(error), retry_after=1)
        case NonFiniteVectorError():
            return Refusal(Kind.INTERNAL, str(error), field="texts")
        case WorkerError():
            return Refusal(Kind.UNAVAILABLE, "The model failed while it had this request; it may be sent again.")
        case InputError() | ConfigurationError():
            return Refusal(Kind.INVALID, str(error))
        case _:
            return Refusal(Kind.INTERNAL, "The server failed; its log has the cause under this request's id.")
