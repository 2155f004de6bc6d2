"""A digest of the files that affect a model's vectors."""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from akidb_embeddings.checkpoint.adapter_config import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from akidb_embeddings.checkpoint.folder import ModelFolder
from akidb_embeddings.checkpoint.modules import Step, read_steps
from akidb_embeddings.errors import CheckpointError

# The files that affect vectors, besides those of modules. Prompts are not among them, because fingerprints contain the
# prompt itself.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_DIGEST_FILES = ("*.safetensors", "config.json", *_TOKENIZER_FILES, "sentence_*_config.json", "modules.json")
_ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS)
# Those that count where an adapter has the first of them.
_ADAPTER_MODULES = ("modules.json", "sentence_*_config.json", *_TOKENIZER_FILES)

# The state and SHA-256 of each file that was read, so that a process that loads a model again does not read it again.
# There is no lock, which a fork could leave locked; in the worst case two threads read the same file.
_hashes: dict[Path, tuple[tuple[int, ...], str]] = {}
# Nanoseconds. No file system's timestamps are coarser, so any change after that changes the state.
_TIMESTAMP_MARGIN = 2_000_000_000


def digest(folder: ModelFolder) -> str:
    """The SHA-256 of weights, adapter, tokenizer and settings. Folders with equal digests give equal vectors.

    Raises:
        CheckpointError: A file cannot be read.
    """
    files = deciding_files(folder.path, folder.steps, folder.adapter)
    named = [(_name(file, folder), file) for file in files]
    # By these names: which of the two folders comes first must not depend on where they are.
    return digest_files(sorted(named, key=lambda pair: PurePosixPath(pair[0])))


def digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """The SHA-256 of files and the names that they are given.

    Raises:
        CheckpointError: A file cannot be read.
    """
    combined = hashlib.sha256()
    for name, file in files:
        try:
            content = _hash(file)
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from error
        combined.update(f"{name} {content}\n".encode())
    return combined.hexdigest()


def _name(file: Path, folder: ModelFolder) -> str:
    """The name of a file, wherever its folder is; either folder may be in the other one."""
    in_model, in_adapter = (
        file.relative_to(root).as_posix() if root is not None and file.is_relative_to(root) else None
        for root in (folder.path, folder.adapter)
    )
    if in_adapter is not None and (in_model is None or len(in_adapter) < len(in_model)):
        return f"adapter/{in_adapter}"
    assert in_model is not None  # there are no other files
    return in_model


def _hash(file: Path) -> str:
    """The SHA-256 of a file. The file is read only if it may have changed since this process read it."""
    name = file.absolute()
    with file.open("rb") as stream:
        state = _file_state(stream.fileno())
        cached_state, content = _hashes.get(name, (None, ""))
        if cached_state == state:
            return content
        began = time.time_ns()
        content = hashlib.file_digest(stream, "sha256").hexdigest()
        # If the file changes during the read, or changed just before it, the state does not identify its contents.
        if _file_state(stream.fileno()) == state and began - max(state[2:4]) > _TIMESTAMP_MARGIN:
            _hashes[name] = state, content
    return content


def _file_state(file: int) -> tuple[int, ...]:
    stat = os.fstat(file)
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def deciding_files(path: Path, steps: Sequence[Step], adapter: Path | None = None) -> list[Path]:
    """The files of a model's folder, of its modules and of an adapter to it that affect vectors, sorted."""
    files = {file for pattern in _DIGEST_FILES for file in path.glob(pattern)}
    files |= _adapter_files(adapter) if adapter is not None else set()
    files |= {file for step in steps if step.folder not in (path, adapter) for file in _module_files(step)}
    return sorted(file for file in files if file.is_file())


def deciding_adapter_files(path: Path) -> list[Path]:
    """The files of an adapter's folder that affect vectors, those of its modules included, sorted."""
    steps = read_steps(path) if (path / "modules.json").is_file() else []
    files = _adapter_files(path) | {file for step in steps if step.folder != path for file in _module_files(step)}
    return sorted(file for file in files if file.is_file())


def _adapter_files(path: Path) -> set[Path]:
    patterns = _ADAPTER_FILES + (_ADAPTER_MODULES if (path / "modules.json").is_file() else ())
    return {file for pattern in patterns for file in path.glob(pattern)}


def _module_files(step: Step) -> set[Path]:
    return {file for name in ("config.json", "*.safetensors", "tokenizer.json") for file in step.folder.glob(name)}
