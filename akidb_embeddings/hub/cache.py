"""The cache of models: its layout, manifests, locks, removal.

The cache folder contains::

    models/<name>                 a complete model with its manifest, ``akidb.json``
    models/<name>@<revision>      the model at a requested revision
    models/.partial/<folder>/     the files of an unfinished download
    models/.locks/<folder>.lock   held while a model is written or removed

A model gets its final name by one rename, after its manifest was written. A folder without a manifest was not written
by this library: it is neither loaded nor removed.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from akidb_embeddings.errors import CheckpointError, EmbeddingError, ModelNotFoundError
from akidb_embeddings.registry import SPECS

MANIFEST = "akidb.json"
COMMIT_HASH = re.compile(r"[0-9a-f]{40}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """The description of a downloaded model.

    Attributes:
        name: The registry name or repository.
        repo: The repository.
        requested: The requested or pinned revision; None for the main branch.
        commit: The commit hash.
        files: The sizes of the files by name, in bytes.
        date: The time of the download, ISO 8601 in UTC.
    """

    name: str
    repo: str
    requested: str | None
    commit: str
    files: dict[str, int]
    date: str

    def write(self, folder: Path) -> None:
        """Write the manifest into a model folder, as its last file."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """Read a model folder's manifest; None if it is missing or malformed."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return manifest if isinstance(manifest.files, dict) else None


def get_cache_dir(cache_dir: str | Path | None = None) -> Path:
    """Return the absolute path of the cache folder, which need not exist.

    Args:
        cache_dir: The folder; None for ``$AKIDB_CACHE_DIR``, else ``$XDG_CACHE_HOME/akidb``, else ``~/.cache/akidb``.
            An empty variable counts as unset.
    """
    chosen = cache_dir or os.environ.get("AKIDB_CACHE_DIR") or _user_cache() / "akidb"
    return Path(chosen).expanduser().absolute()


def hugging_face_cache() -> Path:
    """Return the folder of huggingface_hub's cache.

    huggingface_hub reads these variables once, at import. Reading them here follows later changes, and finds models
    without that import.
    """
    home = Path(os.environ.get("HF_HOME") or _user_cache() / "huggingface")
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or home / "hub"
    return Path(os.path.expandvars(chosen)).expanduser().absolute()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def model_folder(name: str, revision: str | None, cache_dir: str | Path | None = None) -> Path:
    """Return the cache's folder for a registry name or a repository ``org/name``; it need not exist."""
    # Escaping, not replacing: the revisions "a/b" and "a-b" must not share a folder.
    suffix = f"@{quote(revision, safe='')}" if revision else ""
    return get_cache_dir(cache_dir) / "models" / (_folder_name(name) + suffix)


def _folder_name(name: str) -> str:
    return name.replace("/", "--")


def partial_folder(folder: Path) -> Path:
    """Return the folder with the files of a model folder's unfinished download."""
    return folder.parent / ".partial" / folder.name


def snapshot_folder(repo: str, revision: str | None) -> Path:
    """Return the Hugging Face cache's folder for a branch, tag or commit hash (None: main); it need not exist."""
    root = hugging_face_cache() / f"models--{_folder_name(repo)}"
    commit = revision or "main"
    if not COMMIT_HASH.fullmatch(commit):
        reference = root / "refs" / commit
        # A revision such as "../x" must not leave the cache.
        known = ".." not in reference.parts and reference.is_relative_to(root) and reference.is_file()
        commit = reference.read_text(encoding="utf-8").strip() if known else quote(commit, safe="")
    return root / "snapshots" / commit


def check_sizes(folder: Path, manifest: Manifest, remedy: str) -> None:
    """Check that files have the sizes that were downloaded.

    Args:
        folder: The model folder.
        manifest: Its manifest.
        remedy: What to do about a damaged file, the end of error messages.

    Raises:
        CheckpointError: A file has another size.
    """
    for name, size in manifest.files.items():
        found = (folder / name).stat().st_size
        if found != size:
            raise CheckpointError(f"{folder / name} is damaged: {found} bytes, but {size} were downloaded; {remedy}")


@contextlib.contextmanager
def folder_lock(folder: Path, *, wait: bool) -> Iterator[None]:
    """Lock a model folder of the cache against writing and removal by other threads and processes.

    Args:
        folder: The model folder.
        wait: Whether to wait for the lock.

    Raises:
        EmbeddingError: The folder is locked and ``wait`` is false.
    """
    from filelock import FileLock, Timeout

    path = folder.parent / ".locks" / f"{folder.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise EmbeddingError(f"{folder} is being downloaded; try again when that is done") from None
        _log.info("Waiting for another download into %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def staging_folder(folder: Path, commit: str) -> Path:
    """Create and return the folder for a download, with the files that an earlier one has of the same commit.

    Files of other commits are removed.
    """
    # Not the full hash: huggingface_hub 0.34.0 fails for paths beyond 255 characters, and adds 130 itself.
    staging = partial_folder(folder) / commit[:12]
    for path in _subpaths(partial_folder(folder)):
        if path != staging:
            shutil.rmtree(path, ignore_errors=True)
    staging.mkdir(parents=True, exist_ok=True)
    return staging


def check_ownership(folder: Path) -> None:
    """Check that a folder of the cache, if it exists, was written by this library and may be replaced.

    Raises:
        EmbeddingError: The folder has no manifest.
    """
    if folder.exists() and read_manifest(folder) is None:
        raise EmbeddingError(f"{folder} was not downloaded by this library (no {MANIFEST}); move it away first")


def publish(staging: Path, folder: Path) -> None:
    """Move a finished download to its final name, and replace an earlier model. The caller must hold the lock.

    A folder cannot be renamed to a non-empty one, so a replacement takes two renames; ``await_replacement`` is for
    readers in between.
    """
    shutil.rmtree(staging / ".cache", ignore_errors=True)  # huggingface_hub's metadata for resuming
    previous = _move_aside(folder) if folder.exists() else None
    try:
        staging.rename(folder)
    except OSError:
        if previous is not None:
            previous.rename(folder)
        raise
    shutil.rmtree(partial_folder(folder), ignore_errors=True)


def await_replacement(folder: Path) -> None:
    """Wait at most one second while ``publish`` has moved the old model away but not the new one into place."""
    deadline = time.monotonic() + 1.0
    while _previous(folder).exists() and not folder.exists() and time.monotonic() < deadline:
        time.sleep(0.001)


def _previous(folder: Path) -> Path:
    return partial_folder(folder) / "previous"


def _move_aside(folder: Path) -> Path:
    """Rename a model atomically, so that an interrupted removal does not leave an incomplete model."""
    previous = _previous(folder)
    shutil.rmtree(previous, ignore_errors=True)
    previous.parent.mkdir(parents=True, exist_ok=True)
    return folder.rename(previous)


def cached_folders(cache_dir: str | Path | None = None) -> list[tuple[Path, Manifest]]:
    """Return the cache's model folders that have a manifest, sorted by name."""
    folders = [(folder, read_manifest(folder)) for folder in _subpaths(get_cache_dir(cache_dir) / "models")]
    return [(folder, manifest) for folder, manifest in folders if manifest is not None]


def _subpaths(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def folder_size(folder: Path, *, follow_symlinks: bool) -> int:
    """Return the size of all files below a folder, in bytes. Symbolic links to folders are not followed."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat(follow_symlinks=follow_symlinks).st_size for path in files)


def clear_cache(name: str | None = None, *, cache_dir: str | Path | None = None) -> int:
    """Remove models from the cache. The bundled model and the Hugging Face cache are not changed.

    Symbolic links are removed, not followed.

    Args:
        name: The model to remove, with all revisions and unfinished downloads; None for all models.
        cache_dir: The cache folder; None for the default one.

    Returns:
        The number of bytes freed.

    Raises:
        ModelNotFoundError: The name is unknown and not in the cache.
        EmbeddingError: The model is being downloaded.
    """
    models = get_cache_dir(cache_dir) / "models"
    if (models / ".partial").is_symlink():
        (models / ".partial").unlink()
    folders = {folder for folder, _ in cached_folders(cache_dir)}
    folders.update(models / unfinished.name for unfinished in _subpaths(models / ".partial"))
    if name is not None:
        folders = {folder for folder in folders if folder.name.partition("@")[0] == _folder_name(name)}
        if not folders and name not in SPECS:
            raise ModelNotFoundError(f"{name!r} is not in the cache {models}; nothing was removed")
    return sum(_remove(folder) for folder in sorted(folders))


def _remove(folder: Path) -> int:
    partial = partial_folder(folder)
    with folder_lock(folder, wait=False):
        if partial.is_symlink():
            partial.unlink()
        if read_manifest(folder) is not None:
            _move_aside(folder)
        freed = folder_size(partial, follow_symlinks=False)
        shutil.rmtree(partial, ignore_errors=True)
    return freed
