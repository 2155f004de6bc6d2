"""What all sources share: their face, and the rules by which a value is a text or an id."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from akidb_embeddings.bulk import streams
from akidb_embeddings.bulk.rows import Item, Reject, Row
from akidb_embeddings.bulk.streams import invalid_utf8

T = TypeVar("T")

MISSING = object()
BLANK = "a blank line; only the end of a file may have them"
_KINDS = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object"}
_LISTED = 200  # characters of field names in a reason


class Source(ABC):
    """Rows and rejects of one input, in its order, streaming; iterate once, and close it (or use ``with``).

    ``skip``: items to leave out at the beginning, rejects counted; it may be set until the iteration begins.
    ``identity``: name, size, modification time, format and fields: what differs when the input is another one. It names
    no folders, so that a file that was moved stays the same. ``total_bytes``: the input's size, None where it has none.
    """

    def __init__(self, identity: Mapping[str, Any], total_bytes: int | None) -> None:
        self.identity = dict(identity)
        self.total_bytes = total_bytes
        self.skip = 0

    @abstractmethod
    def __iter__(self) -> Iterator[Item]:
        """The items from ``skip`` on. InputError: the input is damaged."""

    @property
    @abstractmethod
    def read_bytes(self) -> int | None:
        """How much of ``total_bytes`` was read so far; None where that is unknown. Any thread."""

    @property
    @abstractmethod
    def has_changed(self) -> bool:
        """Whether the input is another one now than ``identity`` says."""

    @abstractmethod
    def close(self) -> None:
        """Close the input's files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True)
class Fields:
    """Where a record has its text and its id; ``id=None``: ids are the rows' numbers.

    A name with dots leads into nested objects (``meta.title``), unless the record has a field of just that name.
    """

    text: str
    id: str | None

    @property
    def names(self) -> list[str]:
        """Those that a table must have as columns."""
        return [self.text] if self.id is None else [self.text, self.id]

    def bad_record(self, number: int, line: int | None, reason: str) -> Reject:
        """A record whose fields cannot be read."""
        return Reject(number, line, str(number) if self.id is None else None, reason)

    def item(self, number: int, line: int | None, text: object, key: object, record: Iterable[str] = ()) -> Item:
        """A row if text and id are such, else a reject with the reason. ``record``: the names of the fields it has.

        Bytes count as UTF-8; numbers become ids as their text, and never texts.
        """
        known: str | None = str(number)
        try:
            if self.id is not None:
                known = None
                known = _id(key, self.id, record)
            return Row(number, known or "", _string(text, self.text, "a string is", record), line=line)
        except _BadValueError as problem:
            return Reject(number, line, known, str(problem))


def look_up(record: Mapping[str, Any], name: str) -> object:
    """The field's value; MISSING where there is no such field."""
    if name in record:
        return record[name]
    value: object = record
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value


def quoted(names: Iterable[str]) -> str:
    """Names as errors list them."""
    text = ", ".join(repr(name) for name in names)
    return text if len(text) <= _LISTED else text[:_LISTED] + "…"


def numbered(entries: Iterable[tuple[int, T | None]]) -> Iterator[tuple[int, int, T | None]]:
    """(number from 0, line, entry) of (line, entry), where None is a blank line. Those at the very end are left out."""
    blanks = 0
    for number, (line, entry) in enumerate(entries):
        if entry is None:
            blanks += 1
            continue
        for back in range(blanks, 0, -1):
            yield number - back, line - back, None
        blanks = 0
        yield number, line, entry


class _BadValueError(Exception):
    """Why a value is no text or no id."""


def _id(value: object, name: str, record: Iterable[str]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    key = _string(value, name, "a string or a number is", record)
    if not key:
        raise _BadValueError(f"field {name!r} is empty; an id is expected")
    return key


def _string(value: object, name: str, expected: str, record: Iterable[str]) -> str:
    if value is MISSING:
        there = quoted(record)
        raise _BadValueError(f"no field {name!r}; there {f'is {there}' if there else 'are none'}")
    try:
        if isinstance(value, bytes):
            value = value.decode()
        if not isinstance(value, str):
            raise _BadValueError(f"field {name!r} is {_kind(value)}; {expected} expected")
        # JSON can spell half a character ("\\ud83d" alone), which no tokenizer and no file takes.
        size = len(value.encode())
    except UnicodeDecodeError as error:
        raise _BadValueError(f"field {name!r} is {invalid_utf8(error)}") from None
    except UnicodeEncodeError as error:
        raise _BadValueError(
            f"field {name!r} has a lone surrogate at character {error.start + 1}, which is no valid Unicode"
        ) from None
    if size > streams.MAX_BYTES:
        raise _BadValueError(f"field {name!r} is {streams.too_long()}")
    return value


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), f"of type {type(value).__name__}")
