"""Why a request fails, in one form for every protocol.

Every error that reaches a client has one of these kinds. An unexpected exception becomes ``internal``, whose message
does not contain the cause; the cause is in the log, under the request's id.
"""

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from akidb_embeddings.errors import (
    ConfigurationError,
    DeadlineError,
    EmbeddingError,
    InputError,
    Names,
    OverloadError,
    UnusableVectorError,
    WorkerError,
)

REQUEST_NAMES: Names = {"prompt": "prompt_text", "vectors": "embeddings"}
"""The names of the library's arguments in requests of this library's own protocols."""

_NO_NAMES: Names = {}


class ErrorKind(Enum):
    """Name, HTTP status and gRPC status of an error."""

    MALFORMED = ("malformed", 400, "INVALID_ARGUMENT")
    UNAUTHENTICATED = ("unauthenticated", 401, "UNAUTHENTICATED")
    FORBIDDEN = ("forbidden", 403, "PERMISSION_DENIED")
    NOT_FOUND = ("not_found", 404, "NOT_FOUND")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "UNIMPLEMENTED")
    TOO_LARGE = ("too_large", 413, "RESOURCE_EXHAUSTED")
    UNSUPPORTED_ENCODING = ("unsupported_encoding", 415, "UNIMPLEMENTED")
    INVALID = ("invalid", 422, "INVALID_ARGUMENT")
    OVERLOADED = ("overloaded", 429, "RESOURCE_EXHAUSTED")
    INTERNAL = ("internal", 500, "INTERNAL")
    UNAVAILABLE = ("unavailable", 503, "UNAVAILABLE")
    DEADLINE = ("deadline", 504, "DEADLINE_EXCEEDED")

    def __init__(self, label: str, status: int, grpc_status: str) -> None:
        self.label, self.status, self.grpc_status = label, status, grpc_status

    @property
    def description(self) -> str:
        """The name in words, for the OpenAPI document."""
        return self.label.replace("_", " ").capitalize()


KINDS_BY_STATUS: Mapping[int, ErrorKind] = {kind.status: kind for kind in ErrorKind}


class ApiError(EmbeddingError):
    """The error that a client gets for its request.

    Attributes:
        kind: Which status it has.
        retry_after: Seconds after which the request may be sent again; None if that would not help.
        headers: What goes with it over HTTP.
        cause: The error of the library that has the message; None if it is this error's own.
        names: What this one request calls arguments, where its protocol has several names for one.
    """

    def __init__(
        self,
        kind: ErrorKind,
        text: str = "",
        *,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        cause: EmbeddingError | None = None,
        names: Names = _NO_NAMES,
        **attributes: Any,
    ) -> None:
        super().__init__(text, **attributes)
        self.kind, self.retry_after, self.cause, self.names = kind, retry_after, cause, names
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(retry_after)

    @classmethod
    def of(cls, kind: ErrorKind, error: EmbeddingError, *, retry_after: int | None = None) -> "ApiError":
        """The client's form of an error of the library: with its message, ``field``, ``index`` and ``limit``."""
        return cls(
            kind,
            error.text,
            retry_after=retry_after,
            field=error.field,
            index=error.index,
            limit=error.limit,
            reason=error.reason,
            hint=error.hint,
        )

    def message(self, names: Names = REQUEST_NAMES) -> str:
        """See ``EmbeddingError``."""
        names = {**names, **self.names}
        return super().message(names) if self.cause is None else self.cause.message(names)

    def subject(self, names: Names = REQUEST_NAMES) -> str | None:
        """See ``EmbeddingError``."""
        return super().subject({**names, **self.names})

    def details(self, names: Names = REQUEST_NAMES) -> dict[str, object]:
        """``field``, ``limit`` and ``retry_after``, as far as the error has them."""
        found = {"field": self.subject(names), "limit": self.limit, "retry_after": self.retry_after}
        return {name: value for name, value in found.items() if value is not None}


def api_error(error: Exception) -> ApiError:
    """The error that the client gets for any error."""
    match error:
        case ApiError():
            response_error = error
        case DeadlineError():
            response_error = ApiError.of(ErrorKind.DEADLINE, error)
        case OverloadError():
            seconds = max(1, math.ceil(error.retry_after or 1))
            response_error = ApiError.of(ErrorKind.OVERLOADED, error, retry_after=seconds)
        case UnusableVectorError():
            response_error = ApiError(ErrorKind.INTERNAL, field=error.field, index=error.index, cause=error)
        case WorkerError():
            message = "The model failed while it had this request; it may be sent again."
            response_error = ApiError(ErrorKind.UNAVAILABLE, message, retry_after=1)
        case InputError() | ConfigurationError():
            response_error = ApiError.of(ErrorKind.INVALID, error)
        case _:
            message = "The server failed; its log has the cause under this request's id."
            response_error = ApiError(ErrorKind.INTERNAL, message)
    return response_error
