"""Rows of an input: those to embed, and those that are rejected."""

from __future__ import annotations

from dataclasses import dataclass, field


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


@dataclass(frozen=True)
class Reject:
    """A row that cannot be embedded.

    Attributes:
        number: As in ``Row``.
        line: As in ``Row``.
        id: The row's id; None if it could not be read.
        reason: Why it is rejected.
    """

    number: int
    line: int | None
    id: str | None
    reason: str


RowOrReject = Row | Reject
