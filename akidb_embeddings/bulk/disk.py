"""Files that are whole or not there: written, flushed to the disk, and only then given their name."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from akidb_embeddings.errors import InputError


def beside(path: Path, suffix: str) -> Path:
    """The file or folder whose name is that of ``path`` and a suffix more."""
    return path.with_name(path.name + suffix)


def flush_file(path: Path) -> None:
    """Return when the disk has the file's content."""
    with open(path, "rb") as stream:
        _flush(stream.fileno())


def flush_folder(path: Path) -> None:
    """Return when the disk has the folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    """``fsync``; on macOS, where that leaves content in the drive's cache, what empties that as well."""
    if full := getattr(fcntl, "F_FULLFSYNC", None):
        with contextlib.suppress(OSError):  # not on every file system
            fcntl.fcntl(descriptor, full)
            return
    os.fsync(descriptor)


def write_whole(path: Path, content: object) -> None:
    """Write ``content`` as JSON, so that whoever opens ``path`` finds all of it."""
    partial = beside(path, ".partial")
    # Names of files that are no valid UTF-8 become JSON's own escapes.
    text = json.dumps(content, indent=2, ensure_ascii=False).encode(errors="backslashreplace")
    partial.write_bytes(text + b"\n")
    flush_file(partial)
    partial.replace(path)
    flush_folder(path.parent)


def read_whole(path: Path) -> dict[str, Any] | None:
    """What ``write_whole`` wrote; None where there is no such file, or another's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextlib.contextmanager
def locked(path: Path, name: Path) -> Iterator[None]:
    """Be the only process that has ``path`` locked. The system lets go of it when the process ends, however it ends.

    InputError: another has it, and so is at work on ``name``.
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
            # Whoever had it may have removed the file since it was opened here: then the lock is on nothing.
            if path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                yield
                return
