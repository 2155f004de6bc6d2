"""Whether a job may begin on an output, or go on with what is there, and for whom: nothing of others is touched.

``OUT.parts/job.json`` has all that the output depends on: a job goes on only as the same.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from akidb_embeddings.bulk.disk import beside, flush_folder, locked, read_whole, write_whole
from akidb_embeddings.bulk.journal import FINAL, OPEN, PART, Counts, Job, Journal
from akidb_embeddings.bulk.streams import size_and_time
from akidb_embeddings.errors import InputError

# The tests set the variable: with so few rows in a part, a small input has many.
PART_ROWS = int(os.environ.get("AKIDB_BULK_PART_ROWS", "8192"))
# Minutes of work, whatever the length of texts.
PART_CHARACTERS = 4 << 20
VERSION = 3
_JOB = "job.json"
# What stood in the output's place when the job was begun with leave to replace it.
_REPLACED = "replaced.json"
_OWN = re.compile(rf"lock|(?:job|replaced)\.json(?:\.partial)?|{OPEN}|{FINAL}|{PART}\d{{6,}}")


@contextlib.contextmanager
def open_journal(out: Path, job: Job, *, overwrite: bool = False) -> Iterator[Journal]:
    """The journal of a job whose output is to be ``out``, for this process alone.

    InputError: another process has it; or there is an output, or parts, of another job, or a file that is no output at
    all, and ``overwrite`` is not set; or ``OUT.parts`` is not ours, or on another disk. The message names fingerprints
    and options that differ. ``overwrite`` also begins anew what came from a pipe; a job that was begun with it goes on
    without. A job that is finished, or has finished no part, leaves no folder behind.
    """
    parts = {"version": VERSION, "part_rows": PART_ROWS, "part_characters": PART_CHARACTERS}
    job = json.loads(json.dumps({**parts, **job}))  # as it will be read again
    folder = beside(out, ".parts")
    _check_is_own(folder)
    with locked(folder / "lock", out):
        journal: Journal | None = None
        try:
            journal = _checked(out, job, overwrite)
            yield journal
        finally:
            is_own = read_whole(folder / _JOB) in (None, job)
            if (journal and journal.finished and is_own) or not any(folder.glob(f"{PART}*")):
                _forget(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _check_is_own(folder: Path) -> None:
    """InputError: the folder for parts is somebody else's, or nothing can be moved from it to its place."""
    try:
        foreign = sorted(name for name in os.listdir(folder) if not _OWN.fullmatch(name))
        is_apart = folder.is_symlink() or folder.stat().st_dev != folder.parent.stat().st_dev
    except FileNotFoundError:
        return
    if foreign:
        raise InputError(
            f"{folder}, where parts are to be kept, holds {foreign[0]!r}, which is not of this command. Give another "
            "--out, or move that folder."
        )
    if is_apart:
        raise InputError(
            f"{folder} is a link, or another disk's: the output cannot be moved into its place from there. Remove it; "
            "or give an --out on the disk that has the room, also for parts."
        )


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
    description = beside(out, ".json")
    there = {path.name: [*size_and_time(path)] for path in (out, description) if path.exists()}
    may_replace = overwrite or (begun == job and there == read_whole(folder / _REPLACED))
    if out.exists() and not may_replace and not journal.complete:  # complete: killed just before it told of itself
        _refuse(out, (done or {}).get("job"), job)
    if description.exists() and not may_replace and "job" not in (read_whole(description) or ()):
        _refuse(description, None, job)
    if begun != job or anew:
        if begun is not None and any(folder.glob(f"{PART}*")) and not overwrite:
            _refuse(folder, begun, job)
        _forget(folder)
        for entry in folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
        write_whole(folder / _REPLACED, there)
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
