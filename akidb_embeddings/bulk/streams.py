"""Lines of a file or standard input: decompressed, limited in length, and with truncated files detected."""

import gzip
import io
import os
import stat
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

from akidb_embeddings.errors import InputError
from akidb_embeddings.extras import require

STDIN = "-"
COMPRESSED = (".gz", ".zst")
# The most of one line, file or value: longer ones are not texts to embed, and would take too much memory.
MAX_BYTES = 64 << 20
_BUFFER = 1 << 18
# Compressed files are read in small pieces: what was read and is not decompressed yet counts as done.
_COMPRESSED_BUFFER = 1 << 14
_PEEKED_LINES = 100
# So many bytes tell UTF-16 from UTF-8. An even number, because those of UTF-16 come in pairs.
_BEGINNING = 256
_BOM = b"\xef\xbb\xbf"
# Beginnings of files that are not text, whatever their name says.
_UTF16 = "UTF-16; convert it to UTF-8: iconv -f {} -t UTF-8"
_MARKED = _UTF16.format("UTF-16")
_NOT_TEXT = {  # and what to do about it, with a file and at standard input
    b"\x1f\x8b": (
        "compressed with gzip; let its name end in .gz, or decompress it",
        "compressed with gzip; decompress it: gunzip -c FILE | akidb-embed file -",
    ),
    b"\x28\xb5\x2f\xfd": (
        "compressed with zstd; let its name end in .zst, or decompress it",
        "compressed with zstd; decompress it: zstd -dc FILE | akidb-embed file -",
    ),
    b"PAR1\x15": ("Parquet; give its format as parquet", "Parquet, whose index is at the end; give a file"),
    b"\xff\xfe": (_MARKED, _MARKED),
    b"\xfe\xff": (_MARKED, _MARKED),
}


def pyarrow(what: str) -> Any:
    """Import pyarrow.

    Args:
        what: What needs it, for the error message.

    Raises:
        ConfigurationError: It is not installed.
    """
    require("bulk", what, "pyarrow")
    import pyarrow as module

    return module


def compression(path: str) -> str:
    """Return the suffix of COMPRESSED that a file's name ends in, in upper or lower case; "" if it ends in none."""
    return next((suffix for suffix in COMPRESSED if path.lower().endswith(suffix)), "")


def too_long_reason() -> str:
    """Return the reason for rejecting a line, file or value that is too long."""
    return f"longer than {MAX_BYTES} bytes; split it"


def invalid_utf8_reason(error: UnicodeDecodeError) -> str:
    """Return the reason for rejecting bytes, with the position of the first bad one, from 1."""
    return f"not valid UTF-8: byte 0x{error.object[error.start]:02x} at {error.start + 1}"


def utf16_reason(content: bytes) -> str | None:
    """Return the reason for refusing UTF-16 without a byte order mark; None if bytes do not begin like that.

    In UTF-16, every second byte of most letters is a small number. In UTF-8, these bytes are control characters; a text
    may have some, and some may be NUL, but never in three of four places.

    Args:
        content: All bytes, or at least the first 256.
    """
    beginning = content[:_BEGINNING]
    halves = (beginning[1::2], "UTF-16LE"), (beginning[::2], "UTF-16BE")
    controls = [sum(byte < ord("\t") for byte in half) for half, _ in halves]
    for (half, encoding), high, low in zip(halves, controls, reversed(controls), strict=True):
        is_whole = len(beginning) == 2 * len(half) and b"\n" not in half
        if is_whole and high > 1 and 4 * high >= 3 * len(half) and 4 * low < len(half):
            return _UTF16.format(encoding)
    return None


def has_only_cr(line: bytes) -> bool:
    """Whether a line that is all there is has no LF, but CR between its characters: CR seems to end the lines."""
    return not line.endswith(b"\n") and -1 < line.find(b"\r") < len(line) - 1


def only_cr_error(path: str) -> InputError:
    """Return the error for such input, which would be one text."""
    name = "Standard input" if path == STDIN else path
    return InputError(
        f"{name} has no line feeds (LF) but carriage returns (CR), which alone do not end a line here. "
        "Convert them: tr '\\r' '\\n' < OLD > NEW"
    )


def size_and_mtime(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return a file's size in bytes and modification time in nanoseconds; zeros if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


class _Counted(io.RawIOBase):
    """A stream that is read in blocks of a limited size, and counts its bytes."""

    def __init__(self, stream: Any, most: int = _BUFFER) -> None:
        self._stream, self._most = stream, most
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._most))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class ByteLines:
    """The lines of a file, decompressed if its name ends in .gz or .zst (any number of members or frames).

    Args:
        path: The file; ``-`` for standard input.

    Attributes:
        path: The file.
        total_bytes: Size of the file itself, compressed or not, in bytes; None if unknown.
        mtime_ns: Modification time in nanoseconds; None if unknown.
        has_only_cr: Whether the first line, once it was read, is all there is, and has CR between its characters: not
            LF, but CR seems to end the lines.

    Raises:
        InputError: The file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.total_bytes: int | None = None
        self.mtime_ns: int | None = None
        self.has_only_cr = False
        self._raw: io.FileIO | None = None
        self._peeked = deque[bytes]()
        self._packed: _Counted | None = None  # of a compressed file, before and after
        self._unpacked: _Counted | None = None
        self._taken = self._position = 0  # bytes of the lines so far, decompressed and not
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
        packed = _Counted(raw, _COMPRESSED_BUFFER)
        kind = compression(self.path)
        if kind == ".gz":
            unpacked: Any = gzip.GzipFile(fileobj=packed)
        elif kind == ".zst":
            # Unlike the package zstandard, it reports a file that ends within a frame.
            arrow = pyarrow("Reading .zst")
            unpacked = arrow.CompressedInputStream(arrow.PythonFile(packed, mode="r"), "zstd")
        else:
            return io.BufferedReader(raw, _BUFFER)
        self._packed, self._unpacked = packed, _Counted(unpacked)
        return io.BufferedReader(self._unpacked, _BUFFER)

    @property
    def read_bytes(self) -> int | None:
        """How many of ``total_bytes`` the lines so far take; None if unknown. Any thread may ask.

        In a compressed file it is what was read of it, less the share that no line has taken yet.
        """
        if self.total_bytes is None:
            return None
        if self._packed is None or self._unpacked is None:
            return self._taken
        position = self._packed.count * self._taken // max(self._unpacked.count, 1)
        self._position = max(self._position, position)
        return self._position

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        """Iterate over (number from 1, line with its end); None instead of a line longer than MAX_BYTES.

        Raises:
            InputError: The file cannot be read or decompressed beyond some line, or is not a text file.
        """
        number = 0
        try:
            self._check()
            while line := self._read_line(MAX_BYTES + 1):
                number += 1
                is_long = len(line) > MAX_BYTES and not line.endswith(b"\n")
                if number == 1:
                    line = line.removeprefix(_BOM)
                end = line
                if is_long:
                    while (end := self._read_line(MAX_BYTES)) and not end.endswith(b"\n"):
                        pass
                if number == 1 and not end.endswith(b"\n"):
                    self.has_only_cr = has_only_cr(line)
                yield number, None if is_long else line
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"{self.path} cannot be read beyond line {number}: {error}. It is damaged or was cut off; get it again."
            ) from error

    def peek(self) -> bytes:
        """Return the first line that is not blank, without a byte order mark; b"" if there is none near the beginning.

        The iteration has it, too. It waits until a pipe has such a line.

        Raises:
            InputError: It is not a text file.
        """
        self._check()
        for index in range(_PEEKED_LINES):
            line = self._peeked[index] if index < len(self._peeked) else self._read_ahead()
            if index == 0:
                line = line.removeprefix(_BOM)
            if not line or line.strip():
                return line
        return b""

    def _read_line(self, most: int) -> bytes:
        line = self._peeked.popleft() if self._peeked else self._wait_for_line(most)
        self._taken += len(line)
        return line

    def _read_ahead(self) -> bytes:
        """Read a line that the iteration has, too; b"" at the end."""
        if line := self._wait_for_line(MAX_BYTES + 1):
            self._peeked.append(line)
        return line

    def _wait_for_line(self, most: int) -> bytes:
        self._is_waiting = True
        line = self._stream.readline(most)
        self._is_waiting = False
        return line

    @property
    def has_changed(self) -> bool:
        """Whether the file was replaced or written to."""
        return self.total_bytes is not None and size_and_mtime(self.path) != (self.total_bytes, self.mtime_ns)

    def _check(self) -> None:
        """Check that the input begins like a text. Beyond its first line it is read only if that may be UTF-16."""
        first = self._peeked[0] if self._peeked else self._read_ahead()
        for beginning, (kind, at_stdin) in _NOT_TEXT.items():
            if first.startswith(beginning):
                raise InputError(f"{self.path} is {kind}." if self.path != STDIN else f"Standard input is {at_stdin}.")
        if first and (not first.strip() or min(first[:_BEGINNING]) < ord("\t")):
            while sum(map(len, self._peeked)) < _BEGINNING and self._read_ahead():
                pass
            if reason := utf16_reason(b"".join(line[:_BEGINNING] for line in self._peeked)):
                raise InputError(f"{'Standard input' if self.path == STDIN else self.path} is {reason}.")

    def close(self) -> None:
        """Close the file.

        Standard input stays open. So does a pipe while another thread waits for it, because that thread holds a lock
        that closing needs.
        """
        if self._raw is not None and not (self._is_waiting and self.total_bytes is None):
            self._stream.close()
            self._raw.close()
