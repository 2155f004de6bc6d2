"""Tables for terminals, 100 columns wide: long names wrap, remarks have lines of their own, and nothing is cut off."""

import textwrap
from collections.abc import Sequence

WIDTH = 100
_GAP = "  "
# The first column keeps this many, however wide the others are.
_NARROWEST = 16
_REMARK = 4 * " "


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first takes the room that the others leave, the last is for remarks, below their rows."""
    lines = [tuple(head[:-1]), *(tuple(row[:-1]) for row in rows)]
    remarks = ["", *(row[-1] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    others = sum(len(_GAP) + width for width in widths[1:])
    widths[0] = min(widths[0], max(_NARROWEST, WIDTH - others))
    return "\n".join(
        part
        for cells, remark in zip(lines, remarks, strict=True)
        for part in (*_row(cells, widths), *wrapped(remark, _REMARK))
    )


def wrapped(text: str, indent: str = "", hanging: str | None = None) -> list[str]:
    """A text on lines of at most 100 columns; none for an empty text."""
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent if hanging is None else hanging)


def _row(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = textwrap.wrap(cells[0], widths[0]) or [""]
    line = _GAP.join(cell.ljust(width) for cell, width in zip((first, *cells[1:]), widths, strict=True))
    return [line.rstrip(), *others]
