"""Writing a job: embedded chunks to its parts, and the complete parts to the output."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from akidb_embeddings.bulk.journal import REJECTS, Journal, PartWriter, RowCounts
from akidb_embeddings.bulk.outputs import EmbeddedRows, Output
from akidb_embeddings.bulk.progress import Progress
from akidb_embeddings.bulk.rows import Reject
from akidb_embeddings.errors import EmbeddingError


@dataclass(frozen=True)
class EmbeddedChunk:
    """A chunk's result; ``embedded`` is None if all rows were rejected."""

    embedded: EmbeddedRows | None
    rejects: Sequence[Reject]
    next_row: int | None


class PartsWriter:
    """Writes embedded chunks to their parts. Only one thread at a time may use it."""

    def __init__(self, output: Output, journal: Journal) -> None:
        self._output, self._journal = output, journal
        self._open: PartWriter | None = None
        self._counts, self._last_row = RowCounts(), -1

    def add(self, done: EmbeddedChunk) -> None:
        """Write a chunk, and finish its part if it is the last one."""
        with _convert_disk_errors(self._journal):
            part = self._part()
            if done.embedded:
                part.write(self._output.serialize(done.embedded))
            part.write({REJECTS: b"".join(json.dumps(r.as_record()).encode() + b"\n" for r in done.rejects)})
            self._counts += self._count(done)
            if done.next_row is not None:
                self._finish(done.next_row)

    def end(self) -> None:
        """Finish the last part."""
        with _convert_disk_errors(self._journal):
            self._finish(None)

    def close(self) -> None:
        """Discard the part that is not finished, if there is one."""
        if self._open:
            self._open.discard()

    def _part(self) -> PartWriter:
        if self._open is None:
            self._open = self._journal.begin_part()
            self._open.write({REJECTS: b""})
        return self._open

    def _finish(self, next_row: int | None) -> None:
        self._journal.finish_part(self._part(), self._counts, next_row)
        self._open, self._counts = None, RowCounts()

    def _count(self, done: EmbeddedChunk) -> RowCounts:
        if not done.embedded:
            return RowCounts(rejects=len(done.rejects))
        embedded = done.embedded
        rows = 0
        for row in embedded.rows:  # passages of a row have its number, and are consecutive
            rows += row.number != self._last_row
            self._last_row = row.number
        cut, tokens = sum(embedded.truncated), sum(embedded.tokens)
        return RowCounts(rows, len(embedded.rows), len(done.rejects), cut, tokens)


def assemble_output(output: Output, journal: Journal, progress: Progress) -> None:
    """Assemble the parts of a complete journal, and move the output to its final name.

    Args:
        output: The output format.
        journal: The journal, complete.
        progress: Shows how far it is.

    Raises:
        EmbeddingError: The disk cannot be written to. The parts are kept, and the same job assembles them.
    """
    with (
        _convert_disk_errors(journal),
        journal.assembly_folder() as folder,
        progress.assembling(output.size(journal.parts)) as step,
    ):
        files = output.assemble(journal.parts, folder, step.advance)
        if journal.counts.rejects:
            files[REJECTS] = _write_rejects(journal, folder / REJECTS)
        step.save()
        journal.publish(files, output.layout.metadata)


def _write_rejects(journal: Journal, path: Path) -> Path:
    with open(path, "w", encoding="utf-8") as stream:
        for reject in journal.rejects():
            stream.write(json.dumps(reject, ensure_ascii=False) + "\n")
    return path


@contextlib.contextmanager
def _convert_disk_errors(journal: Journal) -> Iterator[None]:
    """Convert the system's errors about the disk into ``EmbeddingError``."""
    try:
        yield
    except OSError as error:
        raise EmbeddingError(
            f"{error.filename or journal.folder} cannot be written: {error.strerror or error}."
        ) from error
