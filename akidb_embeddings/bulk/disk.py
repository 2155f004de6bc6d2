"""Atomic files: written and flushed to the disk before they are renamed to their final name; and file locks."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from akidb_embeddings.errors import InputError


def append_suffix(path: Path, suffix: str) -> Path:
    """Return ``path`` with a suffix appended to its name."""
    return path.with_name(path.name + suffix)


def flush_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    with open(path, "rb") as stream:
        _flush(stream.fileno())


def flush_folder(path: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    """``fsync``; on macOS ``F_FULLFSYNC``, because ``fsync`` leaves content in the drive's cache there."""
    if full := getattr(fcntl, "F_FULLFSYNC", None):
        with contextlib.suppress(OSError):  # not on every file system
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def write_json_atomically(path: Path, content: object, partial: Path | None = None) -> None:
    """Write ``content`` as JSON atomically: ``path`` never holds an incomplete file.

    Args:
        path: The file.
        content: Its content.
        partial: The name it has until it is complete, on the same disk; None for the final name with ``.partial``.
    """
    partial = partial or append_suffix(path, ".partial")
    # File names that are not valid UTF-8 are written with JSON escapes.
    text = json.dumps(content, indent=2, ensure_ascii=False).encode(errors="backslashreplace")
    partial.write_bytes(text + b"\n")
    flush_file(partial)
    partial.replace(path)
    flush_folder(path.parent)


def read_json_object(path: Path) -> dict[str, Any] | None:
    """Read what ``write_json_atomically`` wrote; None if the file is missing or is not a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextlib.contextmanager
def exclusive_lock(path: Path, name: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file. The system releases it when the process ends, even if it is killed.

    Args:
        path: The lock file; it and its folder are created.
        name: What the lock protects, for the error message.

    Raises:
        InputError: Another process holds the lock.
    """
    while True:
        path.parent.mkdir(exist_ok=True)
        with open(path, "ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"another process is writing {name}. Wait for it, end it, or give another --out."
                ) from None
            # The previous holder may have removed the file after it was opened here. Then this lock protects nothing.
            if path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                yield
                return
