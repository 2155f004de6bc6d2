"""Rows as chunks that are embedded together, and as parts that are finished together; both follow from rows alone."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from akidb_embeddings.bulk.journal import Job
from akidb_embeddings.bulk.rows import Item, Reject, Row

# One window of the engine's (see ``job``): enough to sort by length, and a second or so of work on a CPU.
CHUNK_ROWS = 512
CHUNK_CHARACTERS = 1 << 20


@dataclass
class Chunk:
    """Rows of one part to be embedded together, and rejects among them.

    ``position``: the source's, after them. ``next_row``: where the next part begins, if this chunk is its part's last;
    in the part in which the input ends, none is known to be.
    """

    rows: list[Row] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    position: int | None = None
    characters: int = 0
    next_row: int | None = None


def chunks(items: Iterable[Item], job: Job, position: Callable[[], int | None], first_row: int = 0) -> Iterator[Chunk]:
    """Items as chunks of at most ``CHUNK_ROWS`` rows and ``CHUNK_CHARACTERS``, or one longer text, of one part each.

    ``job``: how long parts are. ``first_row``: where one begins.
    """
    chunk: Chunk | None = None
    characters, last_row = 0, first_row
    for item in items:
        is_long = item.number - first_row >= job["part_rows"] or characters >= job["part_characters"]
        part_ends = is_long and item.number != last_row
        if chunk is not None and (part_ends or _is_full(chunk, item)):
            chunk.position, chunk.next_row = position(), item.number if part_ends else None
            yield chunk
            chunk = None
        if part_ends:
            first_row, characters = item.number, 0
        chunk, last_row = chunk or Chunk(), item.number
        if isinstance(item, Reject):
            chunk.rejects.append(item)
        else:
            chunk.rows.append(item)
            chunk.characters += len(item.text)
            characters += len(item.text)
    if chunk is not None:
        chunk.position = position()
        yield chunk


def _is_full(chunk: Chunk, item: Item) -> bool:
    if isinstance(item, Reject) or not chunk.rows:
        return False
    return len(chunk.rows) == CHUNK_ROWS or chunk.characters + len(item.text) > CHUNK_CHARACTERS
