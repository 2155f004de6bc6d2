"""A digest of the files that a model's vectors depend on."""

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

from akidb_embeddings.checkpoint.folder import ModelFolder
from akidb_embeddings.checkpoint.modules import Step

# What vectors depend on, beside the folders of modules. Prompts have a place of their own in a fingerprint, and notes
# (README, SOURCE) have none.
_DIGEST_FILES = (
    "*.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "sentence_*_config.json", "modules.json",
)  # fmt: skip


# What a file held, and its state then, by path: a process that loads a model again does not read it all again. No lock
# guards it, which a fork may leave held; two threads at worst read the same file twice.
_hashes: dict[Path, tuple[tuple[int, ...], str]] = {}
_TIMESTAMP_MARGIN = (
    2_000_000_000  # nanoseconds: no file system's clock is coarser, so that a later change shows in the state
)


def digest(folder: ModelFolder) -> str:
    """SHA-256 over weights, tokenizer and settings: folders with the same one give the same vectors."""
    combined = hashlib.sha256()
    for file in deciding_files(folder.path, folder.steps):
        combined.update(f"{file.relative_to(folder.path).as_posix()} {_hash(file)}\n".encode())
    return combined.hexdigest()


def _hash(file: Path) -> str:
    """SHA-256 of a file, which is read only if it may have changed since this process read it."""
    name = file.absolute()
    with file.open("rb") as stream:
        state = _file_state(stream.fileno())
        cached_state, content = _hashes.get(name, (None, ""))
        if cached_state == state:
            return content
        began = time.time_ns()
        content = hashlib.file_digest(stream, "sha256").hexdigest()
        # Of a file that changes while it is read, or changed just before, the state may not tell what was read.
        if _file_state(stream.fileno()) == state and began - max(state[2:4]) > _TIMESTAMP_MARGIN:
            _hashes[name] = state, content
    return content


def _file_state(file: int) -> tuple[int, ...]:
    stat = os.fstat(file)
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def deciding_files(path: Path, steps: Sequence[Step]) -> list[Path]:
    """The files of a model's folder and of its modules that its vectors depend on, in order."""
    files = {file for pattern in _DIGEST_FILES for file in path.glob(pattern)}
    for step in steps:
        if step.folder != path:
            files |= {*step.folder.glob("config.json"), *step.folder.glob("*.safetensors")}
    return sorted(files)
