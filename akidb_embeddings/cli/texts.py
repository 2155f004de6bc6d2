"""Texts from the command line's arguments, or from the lines of standard input."""

import contextlib
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from akidb_embeddings.bulk.streams import STDIN, has_only_cr, only_cr_error
from akidb_embeddings.cli.command import PROGRAM
from akidb_embeddings.cli.output import print_message
from akidb_embeddings.errors import InputError, UnusableVectorError

_FILE_ADVICE = f"To embed a field of JSON lines: `{PROGRAM} file - --text-field NAME --out vectors.jsonl`"


@dataclass(frozen=True)
class Texts:
    """A stream of texts.

    Attributes:
        items: The texts.
        unit: The word that errors use for one of them: ``text`` or ``line``, for example.
    """

    items: Iterator[str]
    unit: str

    def chunks(self, count: int) -> Iterator[list[str]]:
        """Lists of ``count`` texts, the last one possibly shorter, so that a long input is never held in memory."""
        while chunk := list(itertools.islice(self.items, count)):
            yield chunk

    @contextlib.contextmanager
    def renumber_errors(self, begin: int) -> Iterator[None]:
        """Make errors name "line 2054" of the input instead of "texts[5]" of a chunk.

        Args:
            begin: How many texts of the input come before the chunk.
        """
        try:
            yield
        except (InputError, UnusableVectorError) as error:
            if error.index is None:
                raise
            raise error.changed(field=f"{self.unit} {begin + error.index + 1}", index=None) from error


def stdin_is_terminal() -> bool:
    """Whether reading standard input would wait for a user to type."""
    return sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()


def read_texts(arguments: list[str], unit: str = "text", advice: str = _FILE_ADVICE) -> Texts:
    """The arguments; without any, or for a single ``-``, the lines of standard input.

    Args:
        arguments: The arguments.
        unit: What one of them is: ``text`` or ``document``.
        advice: What to do if the first line is a JSON object, since its fields are not read.

    Raises:
        InputError: There are no arguments, and standard input is a terminal.
    """
    if arguments and arguments != [STDIN]:
        return Texts(iter(arguments), unit)
    if not arguments and stdin_is_terminal():
        raise InputError(f"no {unit}s: give them as arguments, or on standard input, one per line")
    return Texts(_lines(sys.stdin.buffer, advice), "line")


def _note_json(line: bytes, advice: str) -> None:
    """Print a note if a line is a JSON object."""
    try:
        is_object = isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return
    if is_object:
        print_message(f"note: the first line is a JSON object, and lines are taken as they are. {advice}".rstrip())


def _lines(stream: BinaryIO, advice: str) -> Iterator[str]:
    """Lines without their ends. A blank line is a text, so that line n of the output belongs to line n of the input.

    Raises:
        InputError: A line is not valid UTF-8, or CR alone seems to end the lines, as for ``akidb-embed file``.
    """
    for number, line in enumerate(stream, start=1):
        if number == 1:
            if has_only_cr(line):
                raise only_cr_error(STDIN)
            _note_json(line, advice)
        encoding = "utf-8-sig" if number == 1 else "utf-8"  # files from Windows may begin with a byte order mark
        try:
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode(encoding)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise InputError(f"line {number} is not valid UTF-8: byte 0x{byte:02x} at {error.start + 1}") from None
