"""Where models lie on disk and whether they are whole: the cache's layout, manifests, checks, removal.

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
import struct
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from akidb_embeddings.errors import CheckpointError, EmbeddingError, ModelNotFoundError
from akidb_embeddings.registry import MODELS

MANIFEST = "akidb.json"
COMMIT_HASH = re.compile(r"[0-9a-f]{40}")
_LARGEST_HEADER = 100_000_000  # bytes; the safetensors format's own limit

logger = logging.getLogger(__name__)


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


def missing_files(folder: Path) -> list[str]:
    """Return the names of the files without which a folder is no model: configuration, tokenizer, weights.

    Raises CheckpointError when the index of the weights cannot be read.
    """
    needed = ["config.json", "tokenizer.json", *_weight_files(folder)]
    return [name for name in needed if not (folder / name).is_file()]


def _weight_files(folder: Path) -> list[str]:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file() or not index.is_file():
        return ["model.safetensors"]
    try:
        return sorted({str(name) for name in read_json(index)["weight_map"].values()})
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index}: no 'weight_map' that names the weight files") from error


def read_json(path: Path) -> Any:
    """Return what a JSON file says; raises CheckpointError, naming the file, when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error


def check_model(folder: Path, cure: str) -> None:
    """Raise CheckpointError, ending with the cure, when files of a model folder are missing or damaged."""
    missing = missing_files(folder)
    if missing:
        raise CheckpointError(f"{folder} is not a whole model: it has no {', '.join(missing)}; {cure}")
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("[0-9]*_*/model.safetensors")]):
        check_safetensors(path, cure)


def snapshot_flaw(snapshot: Path, *, pooling_known: bool) -> str:
    """Say why a snapshot of the Hugging Face cache cannot be used; "" when it can.

    Other libraries fetch single files. A snapshot without those that say how to pool and which dense layers
    follow would load and give other vectors than the model's. So they must be there, or the model be known to
    have none: from the registry, or by a README.md, which nobody fetches without asking for ``modules.json``.
    """
    try:
        missing = missing_files(snapshot) or _missing_modules(snapshot, pooling_known)
        if not missing:
            check_model(snapshot, "remove it from the Hugging Face cache")
    except CheckpointError as error:
        return str(error)
    return f"incomplete, without {', '.join(missing)}" if missing else ""


def _missing_modules(snapshot: Path, pooling_known: bool) -> list[str]:
    path = snapshot / "modules.json"
    if not path.is_file():
        return [] if pooling_known or (snapshot / "README.md").is_file() else [path.name]
    needs = {"Dense": ("config.json", "model.safetensors"), "Pooling": () if pooling_known else ("config.json",)}
    try:
        modules = [(module["type"].rpartition(".")[2], module["path"]) for module in read_json(path)]
    except (AttributeError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path} is not a list of modules") from error
    needed = [f"{folder}/{file}" for kind, folder in modules for file in needs.get(kind, ())]
    return [name for name in needed if not (snapshot / name).is_file()]


def check_sizes(folder: Path, manifest: Manifest, cure: str) -> None:
    """Raise CheckpointError, ending with the cure, for a file whose size is not the downloaded one."""
    for name, size in manifest.files.items():
        found = (folder / name).stat().st_size
        if found != size:
            raise CheckpointError(f"{folder / name} is damaged: {found} bytes, but {size} were downloaded; {cure}")


def check_safetensors(path: Path, cure: str = "copy or download it again") -> None:
    """Check by its header, without reading a tensor, that a safetensors file is whole.

    Raises CheckpointError, naming the file and ending with the cure, when it is truncated or damaged.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = file.read(length) if length <= _LARGEST_HEADER else b""
    if start == b"version ":
        raise CheckpointError(f"{path} is a Git LFS pointer, not the weights; run `git lfs pull`, or {cure}")
    try:
        tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
        end = max((int(tensor["data_offsets"][1]) for tensor in tensors), default=0)
    except (ValueError, AttributeError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: its safetensors header cannot be read; {cure}") from error
    found, expected = path.stat().st_size, 8 + length + end
    if found != expected:
        raise CheckpointError(f"{path} is damaged: {found} bytes, but its header says {expected}; {cure}")


@contextlib.contextmanager
def exclusive(folder: Path, *, wait: bool) -> Iterator[None]:
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
        logger.info("Waiting for another download into %s", folder)
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
    for path in _children(partial_folder(folder)):
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
    previous = _retire(folder) if folder.exists() else None
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


def _retire(folder: Path) -> Path:
    """Move a model out of sight in one step: a removal that is interrupted must not leave half a model."""
    previous = _previous(folder)
    shutil.rmtree(previous, ignore_errors=True)
    previous.parent.mkdir(parents=True, exist_ok=True)
    return folder.rename(previous)


def cached_folders(cache_dir: str | Path | None = None) -> list[tuple[Path, Manifest]]:
    """Return our cache's model folders that carry a manifest, sorted by name."""
    folders = [(folder, read_manifest(folder)) for folder in _children(get_cache_dir(cache_dir) / "models")]
    return [(folder, manifest) for folder, manifest in folders if manifest is not None]


def _children(folder: Path) -> list[Path]:
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
    folders.update(models / unfinished.name for unfinished in _children(models / ".partial"))
    if name is not None:
        folders = {folder for folder in folders if folder.name.partition("@")[0] == _folder_name(name)}
        if not folders and name not in MODELS:
            raise ModelNotFoundError(f"{name!r} is not in the cache {models}; nothing was removed")
    return sum(_remove(folder) for folder in sorted(folders))


def _remove(folder: Path) -> int:
    partial = partial_folder(folder)
    with exclusive(folder, wait=False):
        if partial.is_symlink():
            partial.unlink()
        if read_manifest(folder) is not None:
            _retire(folder)
        freed = folder_size(partial, follow_symlinks=False)
        shutil.rmtree(partial, ignore_errors=True)
    return freed
