"""The finished parts of a job, in the folder ``OUT.parts`` next to its output; the job may be killed at any time.

A part holds the results for a fixed range of the input's rows (see ``chunks``), independent of interruptions. It is a
folder that is renamed to its final name once it is complete and on the disk. A part that was being written when the
process died has another name, and is discarded.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Self

from akidb_embeddings.bulk.disk import append_suffix, flush_file, flush_folder, read_json_object, write_json_atomically

REJECTS = "rejects.jsonl"
# Names in OUT.parts: finished parts, the part being written, and the output being assembled.
PART_PREFIX = "part-"
OPEN_PART = "open"
ASSEMBLY = "final"
_COUNTS = "counts.json"
IDS = "ids.jsonl"
SIDE_FILES = (IDS, REJECTS)
"""What may follow the output's name and a dot in the names of the files beside it."""

JobDescription = Mapping[str, Any]
"""Everything that the output's bytes depend on: fingerprint, options, the input's identity, the size of parts."""


@dataclass(frozen=True)
class RowCounts:
    """What was done with the rows of a part or a job.

    Attributes:
        rows: Rows embedded.
        vectors: Vectors of these rows; more than ``rows`` if texts were split into passages.
        rejects: Rows or passages rejected.
        truncated: Texts truncated to the model's limit.
        tokens: Tokens embedded.
    """

    rows: int = 0
    vectors: int = 0
    rejects: int = 0
    truncated: int = 0
    tokens: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Journal:
    """The finished parts of a job, for the one process that holds the job's lock; ``open_journal`` makes one.

    Attributes:
        out: The output file.
        job: The job's description.
        folder: The folder of the parts.
        parts: Folders of the finished parts, in order.
        counts: Totals over the finished parts.
        rows_done: How many rows of the input, rejects included, the finished parts cover.
        complete: Whether the finished parts cover the whole input.
        finished: Whether the output exists, so that there is nothing left to do.
    """

    def __init__(self, out: Path, job: JobDescription, finished: RowCounts | None = None) -> None:
        self.out, self.job = out, job
        self.folder = append_suffix(out, ".parts")
        self.parts: list[Path] = []
        self.counts = finished or RowCounts()
        self.finished = finished is not None
        self.complete = False
        self.rows_done = 0

    def load(self) -> None:
        """Find the finished parts, and remove unfinished ones."""
        for name in (OPEN_PART, ASSEMBLY):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        while (counts := _read_counts(self._part(len(self.parts)))) is not None:
            next_row = counts.pop("next_row")
            self.complete, self.rows_done = next_row is None, next_row or self.rows_done
            self.counts += RowCounts(**counts)
            self.parts.append(self._part(len(self.parts)))
        for rest in {*self.folder.glob(f"{PART_PREFIX}*")} - {*self.parts}:
            shutil.rmtree(rest)

    def begin_part(self) -> "PartWriter":
        """Open a new part for writing. Only one may be open at a time."""
        folder = self.folder / OPEN_PART
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return PartWriter(folder)

    def finish_part(self, part: "PartWriter", counts: RowCounts, next_row: int | None) -> None:
        """Save a part as the job's next finished one.

        Args:
            part: The part, written completely.
            counts: The part's own counts.
            next_row: Number of the first row after the part; None if the part reaches the end of the input.
        """
        part.close()
        write_json_atomically(part.folder / _COUNTS, asdict(counts) | {"next_row": next_row, "sizes": part.sizes})
        for file in part.folder.iterdir():
            flush_file(file)
        flush_folder(part.folder)
        name = self._part(len(self.parts))
        part.folder.rename(name)
        flush_folder(self.folder)
        self.parts.append(name)
        self.counts += counts
        self.complete, self.rows_done = next_row is None, next_row or self.rows_done

    def publish(self, files: Mapping[str, Path], summary: Mapping[str, Any]) -> None:
        """Move complete files to their final names, then write ``OUT.json``, which marks the output as complete.

        Args:
            files: Suffix of the final name -> file in the ``assembly_folder``; ``""`` for ``OUT`` itself.
            summary: Further entries of ``OUT.json``.
        """
        final = append_suffix(self.out, ".json")
        final.unlink(missing_ok=True)
        for path in files.values():
            flush_file(path)
        sizes = {_name_suffix(suffix): path.stat().st_size for suffix, path in sorted(files.items())}
        # Left by an earlier output; ``open_journal`` has checked whose they are.
        for suffix in set(SIDE_FILES) - files.keys():
            append_suffix(self.out, _name_suffix(suffix)).unlink(missing_ok=True)
        for suffix in sorted(files, reverse=True):  # "" last: if OUT exists, its side files do
            files[suffix].replace(append_suffix(self.out, _name_suffix(suffix)))
        flush_folder(self.out.parent)
        description = {**summary, "counts": asdict(self.counts), "sizes": sizes, "job": self.job}
        write_json_atomically(final, description, self.folder / ASSEMBLY / "description")
        self.finished = True

    def discard(self) -> None:
        """Remove the finished parts, the last one first, so that those before it are a job's beginning at any time."""
        while self.parts:
            shutil.rmtree(self.parts.pop())
        self.counts, self.rows_done, self.complete = RowCounts(), 0, False

    @contextlib.contextmanager
    def assembly_folder(self) -> Iterator[Path]:
        """Make an empty folder on the output's disk for the files to ``publish``, and remove it afterwards.

        It is also removed after an error, so that a full disk has room again.
        """
        folder = self.folder / ASSEMBLY
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def rejects(self) -> Iterator[dict[str, Any]]:
        """The rejects of all finished parts, in the input's order."""
        for part in self.parts:
            with open(part / REJECTS, "rb") as stream:
                yield from map(json.loads, stream)

    def _part(self, index: int) -> Path:
        return self.folder / f"{PART_PREFIX}{index:06d}"


class PartWriter:
    """A part that is being written.

    Attributes:
        folder: The part's folder.
        sizes: File name -> bytes written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sizes: dict[str, int] = {}
        self._streams: dict[str, BinaryIO] = {}

    def write(self, pieces: Mapping[str, bytes]) -> None:
        """Append bytes to the part's files, by name. A file is created when it is first named."""
        for name, piece in pieces.items():
            if name not in self._streams:
                self._streams[name] = open(self.folder / name, "wb")  # noqa: SIM115 - closed by close()
            self._streams[name].write(piece)
            self.sizes[name] = self.sizes.get(name, 0) + len(piece)

    def close(self) -> None:
        """Close the files.

        Raises:
            OSError: Buffered content could not be written.
        """
        with contextlib.ExitStack() as stack:
            for stream in self._streams.values():
                stack.callback(stream.close)

    def discard(self) -> None:
        """Remove the files even if they cannot be closed, so that a full disk has room again."""
        for stream in self._streams.values():
            with contextlib.suppress(OSError):
                stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _name_suffix(suffix: str) -> str:
    """What is appended to the output's name: "" or ".ids.jsonl"."""
    return f".{suffix}" if suffix else ""


def _read_counts(part: Path) -> dict[str, Any] | None:
    """The counts file of a part; None if it is missing, or the part's files do not have the sizes it lists."""
    counts = read_json_object(part / _COUNTS)
    if counts is None:
        return None
    sizes = {file.name: file.stat().st_size for file in part.iterdir() if file.name != _COUNTS}
    return counts if counts.pop("sizes") == sizes else None
