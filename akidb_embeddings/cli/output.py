"""The command line's output: messages on stderr; tables and sizes as text."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from akidb_embeddings.cli.command import PROGRAM

if TYPE_CHECKING:
    from akidb_embeddings.service.service import EmbeddingService

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def print_message(message: str) -> None:
    """Print a message on stderr, as one line even if it contains line breaks."""
    print_line(f"{PROGRAM}: {' '.join(message.split())}")


def print_line(line: str) -> None:
    """Print a line on stderr, above a progress bar if there is one."""
    if (module := sys.modules.get("tqdm")) is not None:
        module.tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr, flush=True)


def warn_about_cuts(
    service: "EmbeddingService", cut: int, count: int, output: str, prompt_name: str | None = None
) -> None:
    """Print how many texts were cut, and whether --max-tokens may be higher.

    Args:
        service: The model.
        cut: How many texts were cut.
        count: How many texts there were.
        output: What they became.
        prompt_name: The name of their prompt.
    """
    if not cut:
        return
    from akidb_embeddings.checkpoint.settings import largest_limit
    from akidb_embeddings.checkpoint.token_vectors import DOCUMENT, QUERY

    limit = service.token_limit(output=output, prompt_name=prompt_name)
    most = largest_limit(service.checkpoint, QUERY if prompt_name == QUERY else DOCUMENT)
    hint = f"--max-tokens may be up to {most}" if limit < most else "that is the model's limit"
    print_message(f"warning: {cut} of {count} texts were cut at {limit} tokens; {hint}")


def size(count: float) -> str:
    """A human-readable number of bytes, with three digits: ``24.1 MB``."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.3g} {name}" if count < 999.5 * unit else f"{count / unit:.0f} {name}"
    return f"{count:.0f} bytes"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines, with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def shorten(text: str, width: int) -> str:
    """A text on one line of at most ``width`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"
