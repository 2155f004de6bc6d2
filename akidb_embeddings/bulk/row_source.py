"""The base class of all sources, and the rules for which values are texts and ids."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from akidb_embeddings.bulk import streams
from akidb_embeddings.bulk.rows import Problem, Reject, Row, RowOrReject
from akidb_embeddings.bulk.streams import invalid_utf8_reason

T = TypeVar("T")

MISSING = object()
BLANK = "a blank line; only the end of a file may have them"
_JSON_TYPES = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}
_LISTED = 200  # characters of field names in a reason
_NO_RECORD: Mapping[str, object] = {}


class RowSource(ABC):
    """Streams the rows and rejects of one input, in order. Iterate once, and close it or use ``with``.

    Attributes:
        skip: How many items to leave out at the beginning, rejects included. Set it before the iteration begins.
        identity: What identifies the input: name, size, modification time, format and fields. It has no folder names,
            so that a file that was moved is the same input.
        total_bytes: Size of the input in bytes; None if unknown.
    """

    def __init__(self, identity: Mapping[str, Any], total_bytes: int | None) -> None:
        self.identity = dict(identity)
        self.total_bytes = total_bytes
        self.skip = 0

    @abstractmethod
    def __iter__(self) -> Iterator[RowOrReject]:
        """Iterate over the items from ``skip`` on.

        Raises:
            InputError: The input is damaged.
        """

    @property
    @abstractmethod
    def read_bytes(self) -> int | None:
        """How many of ``total_bytes`` the items so far take; None if unknown. Any thread may ask."""

    @property
    @abstractmethod
    def has_changed(self) -> bool:
        """Whether the input no longer matches ``identity``."""

    @abstractmethod
    def close(self) -> None:
        """Close the input's files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass(frozen=True)
class Fields:
    """The names of a record's fields for text and id.

    A name with dots refers to a field of a nested object (``meta.title``), unless the record has a field of that name.

    Attributes:
        text: Field of the text.
        id: Field of the id; None if ids are the rows' numbers.
    """

    text: str
    id: str | None

    @property
    def names(self) -> list[str]:
        """The names that a table must have as columns."""
        return [self.text] if self.id is None else [self.text, self.id]

    def reject_record(self, number: int, line: int | None, reason: str, problem: Problem = Problem.OTHER) -> Reject:
        """Make a reject of a record whose fields cannot be read."""
        return Reject(number, line, str(number) if self.id is None else None, reason, problem)

    def item(
        self, number: int, line: int | None, text: object, key: object, record: Mapping[str, object] = _NO_RECORD
    ) -> RowOrReject:
        """Make a row, or a reject if text or id are not valid.

        Args:
            number: The row's number.
            line: The line on which it begins; None if the input has no lines.
            text: The text's value: a string, or bytes in UTF-8.
            key: The id's value: as the text, or a whole number.
            record: The whole record, for the reason and for what may be meant instead.

        Returns:
            A row, or a reject with the reason.
        """
        known: str | None = str(number)
        problem = Problem.TEXT_FIELD
        try:
            if self.id is not None:
                known, problem = None, Problem.ID_FIELD
                known, problem = _id(key, self.id, record), Problem.TEXT_FIELD
            return Row(number, known or "", _string(text, self.text, "a string is", record), line=line)
        except _BadValueError as error:
            return Reject(number, line, known, str(error), problem, _candidates(record, problem, self.names))


def get_field(record: Mapping[str, Any], name: str) -> object:
    """Return a field's value; MISSING if there is no such field."""
    if name in record:
        return record[name]
    value: object = record
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return MISSING
        value = value[part]
    return value


def _candidates(record: Mapping[str, object], problem: Problem, asked: Sequence[str]) -> list[str]:
    """Fields that may be meant: for a text the strings, longest first; for an id also whole numbers, in their order."""
    found = list[tuple[int, str]]()
    for name, value in record.items():
        inner = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        for full, each in inner.items():
            if problem is Problem.ID_FIELD and (isinstance(each, int) and not isinstance(each, bool)):
                found.append((0, full))
            elif isinstance(each, str) and each:
                found.append((-len(each) if problem is Problem.TEXT_FIELD else 0, full))
    return [name for _, name in sorted(found, key=lambda pair: pair[0]) if name not in asked]


def quote_names(names: Iterable[str]) -> str:
    """List names for an error message, shortened if there are many."""
    text = ", ".join(repr(name) for name in names)
    return text if len(text) <= _LISTED else text[:_LISTED] + "…"


def number_records(entries: Iterable[tuple[int, T | None]]) -> Iterator[tuple[int, int, T | None]]:
    """Number the records of an input; blank lines count, except at the end of the input.

    Args:
        entries: (line, record); None instead of a record for a blank line.

    Yields:
        (number from 0, line, record or None).
    """
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
    """The reason why a value is not a text or an id."""


def _id(value: object, name: str, record: Iterable[str]) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, float):  # 1.0, 1e3, NaN: programs write the same number in different ways
        raise _BadValueError(f"field {name!r} is a number but not an integer; a string or an integer is expected")
    key = _string(value, name, "a string or an integer is", record)
    if not key:
        raise _BadValueError(f"field {name!r} is empty; an id is expected")
    return key


def _string(value: object, name: str, expected: str, record: Iterable[str]) -> str:
    if value is MISSING:
        there = quote_names(record)
        raise _BadValueError(f"no field {name!r}; {f'the record has {there}' if there else 'the record is empty'}")
    try:
        if isinstance(value, bytes):
            value = value.decode()
        if not isinstance(value, str):
            raise _BadValueError(f"field {name!r} is {_json_type(value)}; {expected} expected")
        # JSON can encode half a character ("\\ud83d" alone), which tokenizers and files do not accept.
        size = len(value.encode())
    except UnicodeDecodeError as error:
        raise _BadValueError(f"field {name!r} is {invalid_utf8_reason(error)}") from None
    except UnicodeEncodeError as error:
        raise _BadValueError(
            f"field {name!r} has a lone surrogate at character {error.start + 1}, which is not valid Unicode"
        ) from None
    if size > streams.MAX_BYTES:
        raise _BadValueError(f"field {name!r} is {streams.too_long_reason()}")
    return value


def _json_type(value: object) -> str:
    return "null" if value is None else _JSON_TYPES.get(type(value), f"of type {type(value).__name__}")
