"""The server's log: one line per request, plain or JSON, with the request's id and never its texts.

Plain lines have what a person looks for, JSON has every field.
"""

import json
import logging
import re
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from akidb_embeddings.server.observability import telemetry
from akidb_embeddings.service.result import Timings

LOG = logging.getLogger("akidb_embeddings.server")
_ACCESS = LOG.getChild("access")
# Fields that only JSON has.
_DETAILS = frozenset({"queue_ms", "compute_ms", "bytes_in", "bytes_out", "http_version", "user_agent", "trace_id"})
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def ensure_request_id(given: str | None) -> str:
    """The id that the client gave its request, if it is safe to log; otherwise a new one."""
    return given if given and _ID.fullmatch(given) else uuid.uuid4().hex[:16]


def log_request(protocol: str, method: str, outcome: str, seconds: float, **fields: object) -> None:
    """Log a finished request, unless such entries are switched off.

    Args:
        protocol: "http" or "grpc".
        method: The HTTP method and path, or the gRPC method.
        outcome: The HTTP status; for gRPC "ok", "cancelled" or the kind of error.
        seconds: The duration.
        **fields: Further fields of the entry; those that are None are left out.
    """
    if not _ACCESS.isEnabledFor(logging.INFO):
        return
    about = {"protocol": protocol, "method": method, "outcome": outcome, "ms": round(1e3 * seconds, 2)}
    entry = about | fields | {"trace_id": telemetry.trace_id()}
    _ACCESS.info("request", extra={"fields": {name: value for name, value in entry.items() if value is not None}})


def work_fields(
    api: str, model: str, token_counts: Sequence[int], truncated: Sequence[bool], timings: Timings
) -> dict[str, object]:
    """The fields of a request that was computed.

    Args:
        api: The API that it was asked in: "rest", "openai", "grpc", …
        model: The model's name.
        token_counts: The tokens of each text.
        truncated: Whether each text was truncated.
        timings: Where the time went.
    """
    return {
        "api": api,
        "model": model,
        "texts": len(token_counts),
        "tokens": sum(token_counts),
        "truncated": sum(truncated),
        "queue_ms": round(1e3 * timings.queue, 2),
        "compute_ms": round(1e3 * timings.compute, 2),
    }


def configure(log_format: str, *, access_log: bool = True) -> None:
    """Send the logs of the library and of the server to stderr.

    Args:
        log_format: "plain" or "json".
        access_log: Whether requests are logged; errors always are.
    """
    _ACCESS.setLevel(logging.INFO if access_log else logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _PlainFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("akidb_embeddings", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for noisy in ("httpx", "filelock", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        shown = {name: value for name, value in _fields(record).items() if name not in _DETAILS}
        fields = " ".join(f"{name}={_in_one_line(value)}" for name, value in shown.items())
        line = f"{_time(record)} {record.levelname.lower()} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {"time": _time(record), "level": record.levelname.lower()}
        entry |= {"message": record.getMessage()} | _fields(record)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return getattr(record, "fields", {})


def _in_one_line(value: object) -> str:
    """A value with escapes, so that a path with a line break cannot forge a log line."""
    return str(value).encode("unicode_escape").decode("ascii")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
