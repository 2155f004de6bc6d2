"""Rows of an input: those to embed, and those that are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True)
class Row:
    """One text to embed.

    Attributes:
        number: Position in the input, from 0. Rejected rows are counted, so that a number means the same row in every
            run.
        id: The row's id.
        text: The text, or a passage of it.
        begin: Where ``text`` begins in the source text, in characters.
        end: Where it ends; None if ``text`` is the whole source text.
        line: Line of the input on which the row begins, from 1; None for inputs without lines (Parquet, folders).
        behind: How many characters of the source text come after a passage.
    """

    number: int
    id: str
    text: str
    begin: int = 0
    end: int | None = None
    line: int | None = field(default=None, compare=False)  # not part of a row's identity
    behind: int = field(default=0, compare=False)


class Problem(StrEnum):
    """The kind of reason for which a row is rejected."""

    TEXT_FIELD = "text field"
    ID_FIELD = "id field"
    JSON = "JSON"
    COLUMNS = "columns"
    ENCODING = "encoding"
    TOO_LONG = "too long"
    TOO_MANY_TOKENS = "too many tokens"
    OTHER = "other"


@dataclass(frozen=True)
class Reject:
    """A row that cannot be embedded.

    Attributes:
        number: As in ``Row``.
        line: As in ``Row``.
        id: The row's id; None if it could not be read.
        reason: Why it is rejected.
        problem: The kind of the reason.
        fields: The record's fields that may be meant instead of one that is missing or has no text: the strings, or
            what may be an id.
    """

    number: int
    line: int | None
    id: str | None
    reason: str
    problem: Problem = field(default=Problem.OTHER, compare=False)
    fields: Sequence[str] = field(default=(), compare=False)

    def as_record(self) -> dict[str, Any]:
        """What the file of rejects says about it."""
        return {"number": self.number, "line": self.line, "id": self.id, "reason": self.reason}


RowOrReject = Row | Reject
