"""What a job has finished, in the folder ``OUT.parts`` beside its output, so that it can be killed at any moment.

A part holds all that came of a fixed stretch of the input, whatever happened before (see ``chunks``). It is a folder
that gets its name when it is whole and on the disk; what was being written when the process died has another name, and
is thrown away.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Self

from akidb_embeddings.bulk.disk import beside, flush_file, flush_folder, read_whole, write_whole

REJECTS = "rejects.jsonl"
# In OUT.parts: finished parts, the one being written, and the output being put together.
PART = "part-"
OPEN = "open"
FINAL = "final"
_COUNTS = "counts.json"
_SIDE_FILES = (REJECTS, "ids.jsonl")

Job = Mapping[str, Any]


@dataclass(frozen=True)
class Counts:
    """Rows embedded, vectors they gave (more, where they were cut into passages), rows rejected, and more."""

    rows: int = 0
    vectors: int = 0
    rejects: int = 0
    truncated: int = 0
    tokens: int = 0

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Journal:
    """The finished parts of a job that this process alone may go on with; ``opening`` makes one.

    ``parts``: their folders, in order. ``rows_done``: how many rows of the input, rejects among them, need not be read
    again. ``complete``: the last part has the input's end. ``finished``: the output is there, nothing is to be done.
    """

    def __init__(self, out: Path, job: Job, finished: Counts | None = None) -> None:
        self.out, self.job = out, job
        self.folder = beside(out, ".parts")
        self.parts: list[Path] = []
        self.counts = finished or Counts()
        self.finished = finished is not None
        self.complete = False
        self.rows_done = 0

    def load(self) -> None:
        """Find the finished parts, and remove what is not finished."""
        for name in (OPEN, FINAL):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        while (counts := _counts_of(self._part(len(self.parts)))) is not None:
            next_row = counts.pop("next_row")
            self.complete, self.rows_done = next_row is None, next_row or self.rows_done
            self.counts += Counts(**counts)
            self.parts.append(self._part(len(self.parts)))
        for rest in {*self.folder.glob(f"{PART}*")} - {*self.parts}:
            shutil.rmtree(rest)

    def begin_part(self) -> "OpenPart":
        """A part to write to. There may be one at a time."""
        folder = self.folder / OPEN
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return OpenPart(folder)

    def finish_part(self, part: "OpenPart", counts: Counts, next_row: int | None) -> None:
        """Keep a part for good: the next one of the job, up to before ``next_row``; None: up to the input's end."""
        part.close()
        write_whole(part.folder / _COUNTS, asdict(counts) | {"next_row": next_row, "sizes": part.sizes})
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
        """Give finished files their names, ``OUT`` and a suffix, then ``OUT.json``, which says that all is there.

        ``summary``: what else it is to say.
        """
        final = beside(self.out, ".json")
        final.unlink(missing_ok=True)
        for path in files.values():
            flush_file(path)
        for suffix in set(_SIDE_FILES) - files.keys():  # an earlier output's
            beside(self.out, f".{suffix}").unlink(missing_ok=True)
        for suffix in sorted(files, reverse=True):  # "" last: where OUT is, what belongs to it is
            files[suffix].replace(beside(self.out, f".{suffix}" if suffix else ""))
        flush_folder(self.out.parent)
        write_whole(final, {**summary, "counts": asdict(self.counts), "job": self.job})
        self.finished = True

    @contextlib.contextmanager
    def assembly(self) -> Iterator[Path]:
        """An empty folder for what ``publish`` gets, on the output's disk; then it is removed: a full disk has room."""
        folder = self.folder / FINAL
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
        return self.folder / f"{PART}{index:06d}"


class OpenPart:
    """The files of a part that is being written, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sizes: dict[str, int] = {}
        self._streams: dict[str, BinaryIO] = {}

    def write(self, pieces: Mapping[str, bytes]) -> None:
        """Append to files, each made when it is first named."""
        for name, piece in pieces.items():
            if name not in self._streams:
                self._streams[name] = open(self.folder / name, "wb")  # noqa: SIM115 - closed by close()
            self._streams[name].write(piece)
            self.sizes[name] = self.sizes.get(name, 0) + len(piece)

    def close(self) -> None:
        """Close the files. OSError: what they held back could not be written."""
        with contextlib.ExitStack() as stack:
            for stream in self._streams.values():
                stack.callback(stream.close)

    def discard(self) -> None:
        """Remove them, whatever state they are in: a full disk gets room again."""
        for stream in self._streams.values():
            with contextlib.suppress(OSError):
                stream.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _counts_of(part: Path) -> dict[str, Any] | None:
    """What a finished part says of itself; None where it, or one of its files, is not whole."""
    counts = read_whole(part / _COUNTS)
    if counts is None:
        return None
    sizes = {file.name: file.stat().st_size for file in part.iterdir() if file.name != _COUNTS}
    return counts if counts.pop("sizes") == sizes else None
