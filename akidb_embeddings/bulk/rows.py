"""What the bulk command reads: rows to embed, and rows that cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One text to embed.

    number: position in the input from 0; rejected rows are counted, so that a number names the same row in every run.
    begin, end: character offsets in the source text where ``text`` is a passage of it; ``end=None``: it is the whole.
    line: the line of the input (from 1) on which the row begins; None where the input has no lines (Parquet, folders).
    """

    number: int
    id: str
    text: str
    begin: int = 0
    end: int | None = None
    line: int | None = field(default=None, compare=False)  # where a row was read is no part of what it is


@dataclass(frozen=True)
class Reject:
    """A row that was read and cannot be embedded, with the reason.

    line: as of ``Row``. id: None when it could not be read.
    """

    number: int
    line: int | None
    id: str | None
    reason: str


Item = Row | Reject
