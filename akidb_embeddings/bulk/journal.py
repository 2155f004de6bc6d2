"""What a job has finished, in the folder ``OUT.parts`` beside its output, so that it can be killed at any moment.

A part holds all that came of a fixed stretch of the input, whatever happened before: it ends before the first row that
is ``PART_ROWS`` behind its own first one, or has ``PART_CHARACTERS`` before it. It is a folder that gets its name when
it is whole and on the disk; what was being written when the process died has another name, and is thrown away.
``job.json`` has all that the output depends on: a job goes on only as the same.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Self

from akidb_embeddings.bulk.disk import beside, flush_file, flush_folder, locked, read_whole, write_whole
from akidb_embeddings.errors import InputError

# The tests set the variable: with so few rows in a part, a small input has many.
PART_ROWS = int(os.environ.get("AKIDB_BULK_PART_ROWS", "8192"))
# Minutes of work, whatever the length of texts.
PART_CHARACTERS = 4 << 20
VERSION = 2
REJECTS = "rejects.jsonl"
_JOB = "job.json"
_COUNTS = "counts.json"
_PART = "part-"
_OPEN = "open"
_FINAL = "final"
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
    """The finished parts of a job that this process alone may go on with; ``open_journal`` makes one.

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
        for name in (_OPEN, _FINAL):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        while (counts := read_whole(self._part(len(self.parts)) / _COUNTS)) is not None:
            next_row = counts.pop("next_row")
            self.complete, self.rows_done = next_row is None, next_row or self.rows_done
            self.counts += Counts(**counts)
            self.parts.append(self._part(len(self.parts)))
        for rest in {*self.folder.glob(f"{_PART}*")} - {*self.parts}:
            shutil.rmtree(rest)

    def begin_part(self) -> "OpenPart":
        """A part to write to. There may be one at a time."""
        folder = self.folder / _OPEN
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return OpenPart(folder)

    def finish_part(self, part: "OpenPart", counts: Counts, next_row: int | None) -> None:
        """Keep a part for good: the next one of the job, up to before ``next_row``; None: up to the input's end."""
        part.close()
        write_whole(part.folder / _COUNTS, asdict(counts) | {"next_row": next_row})
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
        folder = self.folder / _FINAL
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
        return self.folder / f"{_PART}{index:06d}"


class OpenPart:
    """The files of a part that is being written, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._streams: dict[str, BinaryIO] = {}

    def write(self, pieces: Mapping[str, bytes]) -> None:
        """Append to files, each made when it is first named."""
        for name, piece in pieces.items():
            if name not in self._streams:
                self._streams[name] = open(self.folder / name, "wb")  # noqa: SIM115 - closed by close()
            self._streams[name].write(piece)

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


@contextlib.contextmanager
def open_journal(out: Path, job: Job, *, overwrite: bool = False) -> Iterator[Journal]:
    """The journal of a job whose output is to be ``out``, for this process alone.

    InputError: another process has it; or there is an output, or parts, of another job, or a file that is no output at
    all, and ``overwrite`` is not set. The message names fingerprints and options that differ. ``overwrite`` also begins
    anew what came from a pipe. A job that is finished, or has finished no part, leaves no folder behind.
    """
    parts = {"version": VERSION, "part_rows": PART_ROWS, "part_characters": PART_CHARACTERS}
    job = json.loads(json.dumps({**parts, **job}))  # as it will be read again
    folder = beside(out, ".parts")
    with locked(folder / "lock", out):
        journal: Journal | None = None
        try:
            journal = _checked(out, job, overwrite)
            yield journal
        finally:
            is_own = read_whole(folder / _JOB) in (None, job)
            if (journal and journal.finished and is_own) or not any(folder.glob(f"{_PART}*")):
                _forget(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _checked(out: Path, job: Job, overwrite: bool) -> Journal:
    folder = beside(out, ".parts")
    begun = read_whole(folder / _JOB)
    done = read_whole(beside(out, ".json")) if out.exists() else None
    # A pipe may have other texts every time, and nobody sees it but the user.
    anew = overwrite and job["input"].get("size") is None
    journal = Journal(out, job)
    if begun == job and not anew:
        journal.load()
    if done and done.get("job") == job and not anew:
        # With parts: it was begun anew, and interrupted; or killed just after it told of itself.
        return journal if journal.parts else Journal(out, job, Counts(**done["counts"]))
    if out.exists() and not overwrite and not journal.complete:  # complete: killed just before it told of itself
        _refuse(out, (done or {}).get("job"), job)
    description = beside(out, ".json")
    if description.exists() and not overwrite and "job" not in (read_whole(description) or ()):
        _refuse(description, None, job)
    if begun != job or anew:
        if begun is not None and any(folder.glob(f"{_PART}*")) and not overwrite:
            _refuse(folder, begun, job)
        _forget(folder)
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
        write_whole(folder / _JOB, job)
    return journal


def _forget(folder: Path) -> None:
    """Let parts belong to no job, before the first of them is removed: killed then, nobody goes on with the rest."""
    (folder / _JOB).unlink(missing_ok=True)
    flush_folder(folder)


def _refuse(path: Path, there: Job | None, now: Job) -> None:
    ways = "Give another --out, or --overwrite to replace it"
    if not there:
        raise InputError(f"{path} exists and is no output of this command. {ways}.")
    changes = "; ".join(_differences(there, now))
    raise InputError(f"{path} is of another job: {changes}. {ways}; the same command as before goes on with it.")


def _differences(there: Job, now: Job, names: Sequence[str] = ()) -> Iterator[str]:
    """``fingerprint X there, Y now``, the fingerprint first, whether it differs or not."""
    for key in sorted({*there, *now}, key=lambda name: (name != "fingerprint", name)):
        old, new = there.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, (*names, key))
        elif old != new or key == "fingerprint":
            yield f"{' '.join((*names, key))} {_shown(old)} there, {_shown(new)} now"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
