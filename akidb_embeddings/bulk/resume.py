"""Starting or resuming a job, and refusing to touch files that belong to another job or program.

``OUT.parts/job.json`` records everything that the output depends on. A job is resumed only if its description is equal.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from akidb_embeddings.bulk.differences import describe_differences
from akidb_embeddings.bulk.disk import (
    append_suffix,
    exclusive_lock,
    flush_folder,
    read_json_object,
    write_json_atomically,
)
from akidb_embeddings.bulk.journal import (
    ASSEMBLY,
    IDS,
    OPEN_PART,
    PART_PREFIX,
    SIDE_FILES,
    JobDescription,
    Journal,
    RowCounts,
)
from akidb_embeddings.bulk.streams import size_and_mtime
from akidb_embeddings.errors import InputError

# Tests set the variable, so that a small input has many parts.
PART_ROWS = int(os.environ.get("AKIDB_BULK_PART_ROWS", "8192"))
# Limits a part to minutes of work if texts are long.
PART_CHARACTERS = 4 << 20
VERSION = 3
_JOB = "job.json"
# Sizes and modification times of the files that the job may replace, as they were when it began with ``overwrite``.
_REPLACED = "replaced.json"
# Of the files beside the output.
_SUFFIXES = (".json", *(f".{name}" for name in SIDE_FILES))
_OWN_NAMES = re.compile(rf"lock|(?:job|replaced)\.json(?:\.partial)?|{OPEN_PART}|{ASSEMBLY}|{PART_PREFIX}\d{{6,}}")


@contextlib.contextmanager
def open_journal(out: Path, job: JobDescription, *, overwrite: bool = False) -> Iterator[Journal]:
    """Start or resume a job, and hold its lock. A finished job, or one without finished parts, leaves no folder.

    Args:
        out: The output file.
        job: Everything that the output depends on.
        overwrite: Replace an output or parts of another job, or a file that is not an output. If the input is a pipe,
            also restart the same job from the beginning. A job that was started with it is resumed without it.

    Yields:
        The job's journal, for this process alone.

    Raises:
        InputError: Another process holds the lock; or there are an output or parts of another job, or a file that is
            not from this command but has the name of the output or of one beside it, and ``overwrite`` is False (the
            message names the options that differ); or ``OUT.parts`` holds other files, is a link, or is on another
            disk; or the same job's output is finished, but a file of it is missing or has another size, and
            ``overwrite`` is False.
    """
    parts = {"version": VERSION, "part_rows": PART_ROWS, "part_characters": PART_CHARACTERS}
    job = json.loads(json.dumps({**parts, **job}))  # as it will be read from the file
    folder = append_suffix(out, ".parts")
    _check_is_own(folder)
    with exclusive_lock(folder / "lock", out):
        journal: Journal | None = None
        try:
            journal = _load_or_begin(out, job, overwrite)
            yield journal
        finally:
            is_own = read_json_object(folder / _JOB) in (None, job)
            if (journal and journal.finished and is_own) or not any(folder.glob(f"{PART_PREFIX}*")):
                _remove_job_file(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _check_is_own(folder: Path) -> None:
    """Check that the folder for parts has no other files, and is on the output's disk."""
    try:
        foreign = sorted(name for name in os.listdir(folder) if not _OWN_NAMES.fullmatch(name))
        is_apart = folder.is_symlink() or folder.stat().st_dev != folder.parent.stat().st_dev
    except FileNotFoundError:
        return
    if foreign:
        raise InputError(
            f"{folder} is needed for the parts, but holds {foreign[0]!r}, which is not from this command. Give another "
            "--out, or move that folder."
        )
    if is_apart:
        raise InputError(
            f"{folder} is a link, or is on another disk: the output cannot be moved from there to its final name. "
            "Remove it, or give an --out on a disk that has room for the parts, too."
        )


def _load_or_begin(out: Path, job: JobDescription, overwrite: bool) -> Journal:
    folder = append_suffix(out, ".parts")
    begun = read_json_object(folder / _JOB)
    done = read_json_object(append_suffix(out, ".json")) if out.exists() else None
    # A pipe may give other texts every time, which only the user can know.
    restart = overwrite and job["input"].get("size") is None
    journal = Journal(out, job)
    if begun == job and not restart:
        journal.load()
    if done and done.get("job") == job and not restart:
        if journal.parts:  # it was restarted and interrupted, or killed just after it wrote its description
            return journal
        damage = _damage(out, done)
        if not damage:
            return Journal(out, job, RowCounts(**done["counts"]))
        if not overwrite:
            raise InputError(
                f"{out} was finished by this command, but {damage}. Restore it, or give --overwrite to compute "
                "it again."
            )
    paths = (out, *(append_suffix(out, suffix) for suffix in _SUFFIXES))
    existing = {path.name: [*size_and_mtime(path)] for path in paths if os.path.lexists(path)}
    if not overwrite:
        leave = read_json_object(folder / _REPLACED) if begun == job else None
        changed = [
            path for path in paths if path.name in existing and existing[path.name] != (leave or {}).get(path.name)
        ]
        _check_replaceable(out, changed, job, is_complete=journal.complete)
    if begun != job or restart:
        if begun is not None and any(folder.glob(f"{PART_PREFIX}*")) and not overwrite:
            raise _other_job_error(folder, begun, job, is_finished=False)
        _begin(folder, job, existing)
    return journal


def _check_replaceable(out: Path, existing: Iterable[Path], job: JobDescription, *, is_complete: bool) -> None:
    """Check that files with the names of a job's output belong to an output that its description says may be replaced.

    Args:
        out: The output.
        existing: Those of its files that exist, and that the job was not given leave to replace.
        job: The job.
        is_complete: Whether all its parts are finished. Then it may have been killed while it moved the files to these
            names, before it wrote their description.
    """
    description = read_json_object(append_suffix(out, ".json")) or {}
    for path in existing:
        suffix = path.name.removeprefix(out.name)
        if suffix == ".json":
            if "job" not in description:
                raise _other_job_error(path, None, job)
        elif not is_complete and not suffix:
            raise _other_job_error(path, description.get("job"), job)
        elif not is_complete and not _has_side_file(description, suffix, path):
            raise _other_job_error(path, None, job)


def _has_side_file(description: Mapping[str, Any], suffix: str, path: Path) -> bool:
    """Whether a file beside an output is the one that its description tells of."""
    if "job" not in description:
        return False
    if "sizes" in description:
        return bool(description["sizes"].get(suffix) == size_and_mtime(path)[0])
    # Earlier versions kept no sizes.
    if suffix == f".{IDS}":
        return bool(description["job"].get("out_format") == "npy")
    return bool(description["counts"]["rejects"])


def _begin(folder: Path, job: JobDescription, replaced: Mapping[str, Any]) -> None:
    """Begin a job in place of the one in the folder."""
    _remove_job_file(folder)
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    write_json_atomically(folder / _REPLACED, replaced)
    write_json_atomically(folder / _JOB, job)


def _damage(out: Path, description: Mapping[str, Any]) -> str | None:
    """What is missing of a finished output, or has another size; None if nothing. Earlier versions kept no sizes."""
    for suffix, size in description.get("sizes", {}).items():
        path = append_suffix(out, suffix)
        if not path.exists():
            return f"{path} is missing"
        if path.stat().st_size != size:
            return f"{path} has {path.stat().st_size:,} bytes now, not {size:,}"
    return None


def _remove_job_file(folder: Path) -> None:
    """Detach the parts from their job before they are removed, so that no job resumes from an incomplete set."""
    (folder / _JOB).unlink(missing_ok=True)
    flush_folder(folder)


def _other_job_error(
    path: Path, existing: JobDescription | None, new: JobDescription, *, is_finished: bool = True
) -> InputError:
    hint = "Give another --out, or --overwrite to replace it"
    if not existing:
        return InputError(f"{path} exists and is not an output of this command. {hint}.")
    changes = "; ".join(describe_differences(existing, new))
    return InputError(
        f"{path} belongs to another job. What differs: {changes}. {hint}."
        f"{'' if is_finished else ' The same command as before resumes that job.'}"
    )
