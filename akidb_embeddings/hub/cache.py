"""Where models lie on disk: the cache's layout, manifests, locks, removal.

Below the cache folder::

    models/<name>                 one whole model with its manifest, ``akidb.json``
    models/<name>@<revision>      the same model at a revision somebody asked for
    models/.partial/<folder>/     what an unfinished download has so far
    models/.locks/<folder>.lock   held while a model is written or removed

A model appears under its final name by one rename, after its manifest was written. A folder without a manifest
was not put there by this library: it is neither loaded nor removed.
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
from akidb_embeddings.registry import MODELS

MANIFEST = "akidb.json"
COMMIT_HASH = re.compile(r"[0-9a-f]{40}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """What one download brought: ``files`` maps names to bytes, ``requested`` is the revision asked for."""

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
    """Return a model folder's manifest; ``None`` when there is none that can be read."""
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return manifest if isinstance(manifest.files, dict) else None


def get_cache_dir(cache_dir: str | Path | None = None) -> Path:
    """Return the absolute cache folder; it need not exist.

    The argument, else ``$AKIDB_CACHE_DIR``, else ``$XDG_CACHE_HOME/akidb``, else ``~/.cache/akidb``. An empty
    variable counts as unset.
    """
    chosen = cache_dir or os.environ.get("AKIDB_CACHE_DIR") or _user_cache() / "akidb"
    return Path(chosen).expanduser().absolute()


def hugging_face_cache() -> Path:
    """Return the folder in which huggingface_hub keeps its models.

    huggingface_hub reads these variables once, at its import; reading them here follows later changes, and
    finding a model does not have to wait for that import.
    """
    home = Path(os.environ.get("HF_HOME") or _user_cache() / "huggingface")
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or home / "hub"
    return Path(os.path.expandvars(chosen)).expanduser().absolute()


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def model_folder(name: str, revision: str | None, cache_dir: str | Path | None = None) -> Path:
    """Return where our cache keeps a registry name or a repository ``org/name``; it need not exist."""
    # Escaping, not replacing: the revisions "a/b" and "a-b" must not share a folder.
    suffix = f"@{quote(revision, safe='')}" if revision else ""
    return get_cache_dir(cache_dir) / "models" / (_folder_name(name) + suffix)


def _folder_name(name: str) -> str:
    return name.replace("/", "--")


def partial_folder(folder: Path) -> Path:
    """Return where the unfinished download of a model folder collects its files."""
    return folder.parent / ".partial" / folder.name


def snapshot_folder(repo: str, revision: str | None) -> Path:
    """Return where the Hugging Face cache keeps a branch, tag or commit hash (``None``: main); it need not exist."""
    root = hugging_face_cache() / f"models--{_folder_name(repo)}"
    commit = revision or "main"
    if not COMMIT_HASH.fullmatch(commit):
        reference = root / "refs" / commit
        # A revision such as "../x" must not lead out of the cache.
        known = ".." not in reference.parts and reference.is_relative_to(root) and reference.is_file()
        commit = reference.read_text(encoding="utf-8").strip() if known else quote(commit, safe="")
    return root / "snapshots" / commit


def check_sizes(folder: Path, manifest: Manifest, remedy: str) -> None:
    """Raise CheckpointError, ending with the cure, for a file whose size is not the downloaded one."""
    for name, size in manifest.files.items():
        found = (folder / name).stat().st_size
        if found != size:
            raise CheckpointError(f"{folder / name} is damaged: {found} bytes, but {size} were downloaded; {remedy}")


@contextlib.contextmanager
def folder_lock(folder: Path, *, wait: bool) -> Iterator[None]:
    """Keep other threads and processes from writing or removing a model folder of the cache meanwhile.

    Raises EmbeddingError at once when another one holds it and ``wait`` is false.
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
    """Make and return the folder that collects a download, with what an earlier one got of the same commit.

    Files of another commit must not mix with these and are removed.
    """
    # Not the whole hash: huggingface_hub 0.34.0 fails at paths beyond 255 characters, and adds 130 itself.
    staging = partial_folder(folder) / commit[:12]
    for path in _subpaths(partial_folder(folder)):
        if path != staging:
            shutil.rmtree(path, ignore_errors=True)
    staging.mkdir(parents=True, exist_ok=True)
    return staging


def check_ownership(folder: Path) -> None:
    """Raise EmbeddingError for a folder of the cache without a manifest: what others put there is not replaced."""
    if folder.exists() and read_manifest(folder) is None:
        raise EmbeddingError(f"{folder} was not downloaded by this library (no {MANIFEST}); move it away first")


def publish(staging: Path, folder: Path) -> None:
    """Give a finished download its final name, in place of what stood there. Needs ``exclusive``.

    A folder cannot be renamed over a full one, so a replacement takes two renames; ``await_replacement`` is for
    readers who come between them.
    """
    shutil.rmtree(staging / ".cache", ignore_errors=True)  # huggingface_hub's notes for an interrupted download
    previous = _move_aside(folder) if folder.exists() else None
    try:
        staging.rename(folder)
    except OSError:
        if previous is not None:
            previous.rename(folder)
        raise
    shutil.rmtree(partial_folder(folder), ignore_errors=True)


def await_replacement(folder: Path) -> None:
    """Wait, a second at most, while ``publish`` has moved the old model away and not yet put the new one there."""
    deadline = time.monotonic() + 1.0
    while _previous(folder).exists() and not folder.exists() and time.monotonic() < deadline:
        time.sleep(0.001)


def _previous(folder: Path) -> Path:
    return partial_folder(folder) / "previous"


def _move_aside(folder: Path) -> Path:
    """Move a model out of sight in one step: a removal that is interrupted must not leave half a model."""
    previous = _previous(folder)
    shutil.rmtree(previous, ignore_errors=True)
    previous.parent.mkdir(parents=True, exist_ok=True)
    return folder.rename(previous)


def cached_folders(cache_dir: str | Path | None = None) -> list[tuple[Path, Manifest]]:
    """Return our cache's model folders that carry a manifest, sorted by name."""
    folders = [(folder, read_manifest(folder)) for folder in _subpaths(get_cache_dir(cache_dir) / "models")]
    return [(folder, manifest) for folder, manifest in folders if manifest is not None]


def _subpaths(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def folder_size(folder: Path, *, follow_symlinks: bool) -> int:
    """Return the bytes of all files below a folder; linked folders are never entered."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat(follow_symlinks=follow_symlinks).st_size for path in files)


def clear_cache(name: str | None = None, *, cache_dir: str | Path | None = None) -> int:
    """Remove a model, with all its revisions and unfinished downloads, or every model from our cache.

    Returns the bytes freed. Symbolic links are removed, never followed; the bundled model and the Hugging Face
    cache are not touched. Raises ModelNotFoundError for an unknown name that is not in the cache, and
    EmbeddingError when the model is being downloaded.
    """
    models = get_cache_dir(cache_dir) / "models"
    if (models / ".partial").is_symlink():
        (models / ".partial").unlink()
    folders = {folder for folder, _ in cached_folders(cache_dir)}
    folders.update(models / unfinished.name for unfinished in _subpaths(models / ".partial"))
    if name is not None:
        folders = {folder for folder in folders if folder.name.partition("@")[0] == _folder_name(name)}
        if not folders and name not in MODELS:
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
