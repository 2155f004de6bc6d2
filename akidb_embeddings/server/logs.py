"""The server's log: one line per request, plain or JSON, with the request's id and never its texts."""

import json
import logging
import re
import sys
import uuid
from datetime import UTC, datetime

LOG = logging.getLogger("akidb_embeddings.server")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def ensure_request_id(given: str | None) -> str:
    """The id that the client gave its request, if it is safe to log; otherwise a new one."""
    return given if given and _ID.fullmatch(given) else uuid.uuid4().hex[:16]


def log_request(protocol: str, method: str, outcome: str, seconds: float, **fields: object) -> None:
    """Log a finished request.

    Args:
        protocol: "http" or "grpc".
        method: The HTTP method and path, or the gRPC method.
        outcome: The HTTP status; for gRPC "ok", "cancelled" or the kind of error.
        seconds: The duration.
        **fields: Further fields of the entry.
    """
    fields = {"protocol": protocol, "method": method, "outcome": outcome, "ms": round(1e3 * seconds, 2)} | fields
    LOG.info("request", extra={"fields": fields})


def configure(log_format: str) -> None:
    """Send the logs of the library and of the server to stderr.

    Args:
        log_format: "plain" or "json".
    """
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
        fields = " ".join(f"{name}={_in_one_line(value)}" for name, value in _fields(record).items())
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
