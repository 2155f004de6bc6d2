"""The server's log: one line a request, plain or JSON, with its id and never its texts."""

import json
import logging
import re
import sys
import uuid
from datetime import UTC, datetime

LOG = logging.getLogger("akidb_embeddings.server")
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def request_id(given: str | None) -> str:
    """The client's id of its request, if it is fit for a log, or a new one."""
    return given if given and _ID.fullmatch(given) else uuid.uuid4().hex[:16]


def log_request(protocol: str, method: str, outcome: str, seconds: float, **facts: object) -> None:
    """Note that a request was answered or refused."""
    facts = {"protocol": protocol, "method": method, "outcome": outcome, "ms": round(1e3 * seconds, 2)} | facts
    LOG.info("request", extra={"facts": facts})


def set_up(log_format: str) -> None:
    """Send the log to stderr, the library's and the server's own, in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Plain())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("akidb_embeddings", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for noisy in ("httpx", "filelock", "huggingface_hub"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{name}={_in_one_line(value)}" for name, value in _facts(record).items())
        line = f"{_time(record)} {record.levelname.lower()} {record.getMessage()} {facts}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {"time": _time(record), "level": record.levelname.lower()}
        entry |= {"message": record.getMessage()} | _facts(record)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return getattr(record, "facts", {})


def _in_one_line(value: object) -> str:
    """Written so that a path with a line break in it cannot pass for a line of its own."""
    return str(value).encode("unicode_escape").decode("ascii")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
