"""Lines of a file or of standard input, decompressed, within bounds, and with an end that is told from damage."""

import contextlib
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from akidb_embeddings.errors import InputError
from akidb_embeddings.extras import require

STDIN = "-"
COMPRESSED = (".gz", ".zst")
# Of one line, file or value: beyond this it is no text to embed, and reading it would end the bound on memory.
MAX_BYTES = 64 << 20
_BUFFER = 1 << 18
_BOM = b"\xef\xbb\xbf"
# What the first line shows, where the name says something else.
_NOT_TEXT = {
    b"\x1f\x8b": "compressed with gzip; let its name end in .gz, or decompress it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; let its name end in .zst, or decompress it",
    b"PAR1\x15": "Parquet; give its format as parquet",
    b"\xff\xfe": "UTF-16; convert it to UTF-8: iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "UTF-16; convert it to UTF-8: iconv -f UTF-16 -t UTF-8",
}


def pyarrow(what: str) -> Any:
    """The module, which ``what`` needs.

    Raises:
        ConfigurationError: It is not installed.
    """
    require("bulk", what, "pyarrow")
    import pyarrow as module

    return module


def too_long() -> str:
    """The reason for refusing a line, a file or a value."""
    return f"longer than {MAX_BYTES} bytes; split it"


def invalid_utf8(error: UnicodeDecodeError) -> str:
    """The reason for refusing bytes, with the place of the first bad one, from 1."""
    return f"not valid UTF-8: byte 0x{error.object[error.start]:02x} at {error.start + 1}"


def size_and_time(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(bytes, time of modification in ns); zeros for a file that is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


class ByteLines:
    """A file, decompressed if its name ends in .gz or .zst (any number of members or frames); ``-``: standard input.

    ``total_bytes``, ``read_bytes``: of the file as it lies there, compressed or not; None where that is unknown.
    InputError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.total_bytes: int | None = None
        self.mtime_ns: int | None = None
        self._raw: io.FileIO | None = None
        self._read_bytes = 0
        self._is_waiting = False
        self._stream: BinaryIO | io.BufferedReader
        if path == STDIN:
            if sys.stdin is None or sys.stdin.closed:
                raise InputError("Standard input is closed; give a file, or send texts there.")
            self._stream = sys.stdin.buffer
            return
        try:
            self._raw = io.FileIO(path)
        except OSError as error:
            raise InputError(f"{path} cannot be opened: {error.strerror}.") from None
        status = os.fstat(self._raw.fileno())
        if stat.S_ISREG(status.st_mode):  # else a pipe
            self.total_bytes, self.mtime_ns = status.st_size, status.st_mtime_ns
        try:
            self._stream = self._decompressed(self._raw)
        except BaseException:
            self._raw.close()
            raise

    def _decompressed(self, raw: io.FileIO) -> io.BufferedReader:
        if self.path.endswith(".gz"):
            unpacked: Any = gzip.GzipFile(fileobj=io.BufferedReader(raw, _BUFFER))
        elif self.path.endswith(".zst"):
            # Unlike the package zstandard, it tells an end in mid-frame from the end of the file.
            arrow = pyarrow("Reading .zst")
            unpacked = arrow.CompressedInputStream(arrow.PythonFile(raw, mode="r"), "zstd")
        else:
            unpacked = raw
        return io.BufferedReader(unpacked, _BUFFER)

    @property
    def read_bytes(self) -> int | None:
        """How much of ``total_bytes`` was taken in; any thread."""
        if self.total_bytes is None or self._raw is None:
            return None
        with contextlib.suppress(ValueError):  # closed
            self._read_bytes = self._raw.tell()
        return self._read_bytes

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        """(number from 1, line with its end); None instead of a line longer than MAX_BYTES.

        InputError names the last whole line where what follows cannot be read or decompressed, or shows that the file
        is no text at all.
        """
        number = 0
        try:
            while line := self._read_line(MAX_BYTES + 1):
                number += 1
                is_long = len(line) > MAX_BYTES and not line.endswith(b"\n")
                if number == 1:
                    self._check(line)
                    line = line.removeprefix(_BOM)
                if is_long:
                    while (rest := self._read_line(MAX_BYTES)) and not rest.endswith(b"\n"):
                        pass
                yield number, None if is_long else line
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"{self.path} cannot be read beyond line {number}: {error}. It is damaged or was cut off; get it again."
            ) from error

    def _read_line(self, most: int) -> bytes:
        self._is_waiting = True
        line = self._stream.readline(most)
        self._is_waiting = False
        return line

    @property
    def has_changed(self) -> bool:
        """Whether there is another file of its name now, or it was written to."""
        return self.total_bytes is not None and size_and_time(self.path) != (self.total_bytes, self.mtime_ns)

    def _check(self, line: bytes) -> None:
        for beginning, kind in _NOT_TEXT.items():
            if line.startswith(beginning):
                raise InputError(f"{'Standard input' if self.path == STDIN else self.path} is {kind}.")

    def close(self) -> None:
        """Close the file. Standard input stays open, and a pipe while another thread waits for it: that thread holds
        a lock that closing needs."""
        if self._raw is not None and not (self._is_waiting and self.total_bytes is None):
            _ = self.read_bytes
            self._stream.close()
            self._raw.close()
