"""The file of ``--output``: it takes the place of an older one only when the command has succeeded."""

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from akidb_embeddings.errors import InputError


@contextlib.contextmanager
def open_output(path: str) -> Iterator[BinaryIO]:
    """Standard output for "-", else a file, complete or left as it was. A device or a pipe is written to directly.

    Raises:
        InputError: It cannot be written.
    """
    if path == "-":
        yield sys.stdout.buffer
        return
    target = Path(os.path.realpath(path))  # the file that a link leads to is replaced, not the link
    try:
        is_file = not target.exists() or target.is_file()
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial") if is_file else target
        stream = partial.open("xb" if is_file else "wb")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with stream:
            yield stream
        if is_file:
            if target.exists():
                shutil.copymode(target, partial)
            partial.replace(target)
    finally:
        if is_file:
            partial.unlink(missing_ok=True)


def check_is_not_input(path: str) -> None:
    """Check that the output is another file than standard input, which it would replace while that is read.

    Raises:
        InputError: It is the same one.
    """
    try:
        given, written = os.fstat(sys.stdin.fileno()), Path(path).stat()
    except (OSError, ValueError):  # there is no such file yet, or standard input is no file
        return
    if path != "-" and stat.S_ISREG(given.st_mode) and os.path.samestat(given, written):
        raise InputError(f"--output {path} is also the input; give another name.")


def _unwritable(path: str, error: OSError) -> InputError:
    return InputError(f"--output {path} cannot be written: {error.strerror}")
