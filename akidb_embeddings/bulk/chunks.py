"""Grouping rows into chunks, which are embedded together, and parts, which are finished together.

Parts depend on the rows alone, chunks also on the kind of the device.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from akidb_embeddings.bulk.first_rows import FIRST_ROWS
from akidb_embeddings.bulk.journal import JobDescription
from akidb_embeddings.bulk.rows import Reject, Row, RowOrReject
from akidb_embeddings.service import WINDOW_CHARACTERS, WINDOW_TEXTS

# A chunk is one window of the service on a CPU: enough to sort by length, and about a second of work.
CHUNK_ROWS = WINDOW_TEXTS
CHUNK_CHARACTERS = WINDOW_CHARACTERS


@dataclass
class Chunk:
    """Rows of one part to be embedded together, and the rejects among them.

    Attributes:
        rows: The rows to embed.
        rejects: Rows that could not be read.
        position: Bytes of the input up to the end of the chunk; None if unknown.
        characters: Total length of the rows' texts.
        next_row: Number of the next part's first row if this chunk ends its part; else None. It is also None in the
            last part, whose end is not known in advance.
    """

    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    position: int | None = None
    characters: int = 0
    next_row: int | None = None


def make_chunks(
    items: Iterable[RowOrReject],
    job: JobDescription,
    position: Callable[[], int | None],
    first_row: int = 0,
    scale: int = 1,
) -> Iterator[Chunk]:
    """Group rows into chunks, each within one part, of at most ``scale`` windows of a CPU in rows and characters.

    A text with more characters is a chunk of its own.

    Args:
        items: Rows and rejects in the input's order.
        job: Gives the size of parts (``part_rows``, ``part_characters``).
        position: Returns how many bytes of the input were read so far.
        first_row: Number of the row with which a part begins.
        scale: By which factor the device's windows are larger than a CPU's (``EmbeddingService.window_scale``).

    Yields:
        The chunks in the input's order.
    """
    chunk: Chunk | None = None
    characters, last_row = 0, first_row
    ends = _Ends(position)
    for item in items:
        is_long = item.number - first_row >= job["part_rows"] or characters >= job["part_characters"]
        part_ends = is_long and item.number != last_row
        if chunk is not None and (part_ends or _is_full(chunk, item, scale)):
            chunk.next_row = item.number if part_ends else None
            yield chunk
            chunk = None
        if part_ends:
            first_row, characters = item.number, 0
        chunk, last_row = chunk or Chunk(), item.number
        chunk.position = ends.of(item)
        if isinstance(item, Reject):
            chunk.rejects.append(item)
        else:
            chunk.rows.append(item)
            chunk.characters += len(item.text)
            characters += len(item.text)
    if chunk is not None:
        yield chunk


class _Ends:
    """Where items end in the input, in bytes.

    A row is read before its first passage is taken: then its passages end within its bytes, by their characters.
    """

    def __init__(self, position: Callable[[], int | None]) -> None:
        self._position = position
        self._row = -1
        self._begin: int | None = None
        self._end: int | None = None

    def of(self, item: RowOrReject) -> int | None:
        """Return where an item ends that was just read; None if unknown."""
        if item.number != self._row:
            self._row, self._begin = item.number, self._end
            self._end = self._position()
        if self._begin is None or self._end is None or isinstance(item, Reject) or item.end is None:
            return self._end
        length = item.end + item.behind
        return self._end - (self._end - self._begin) * item.behind // length if length else self._end


def _is_full(chunk: Chunk, item: RowOrReject, scale: int) -> bool:
    if not chunk.rows:
        return len(chunk.rejects) >= FIRST_ROWS  # which may be the end of the job; the rows' chunks stay the same
    if isinstance(item, Reject):
        return False
    is_long = chunk.characters + len(item.text) > scale * CHUNK_CHARACTERS
    return is_long or len(chunk.rows) == scale * CHUNK_ROWS
