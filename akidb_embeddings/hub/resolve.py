"""Finding of a model's files on this machine, without the network: in the bundle, a folder, or one of two caches.

A name is a registry name (``minilm-l6-v2``), a folder (``./my-model``), or a repository of the hub (``org/name``). A
model is never substituted by another one.
"""

import contextlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal

from akidb_embeddings.checkpoint.integrity import check_model, snapshot_problem
from akidb_embeddings.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from akidb_embeddings.hub import cache
from akidb_embeddings.hub.names import differs_in_case, refusal, shortened, spec_of_kind, unknown_model_error
from akidb_embeddings.registry import SPECS, AnySpec, ModelSpec

Origin = Literal["bundled", "folder", "cache", "huggingface"]

BUNDLE_ROOT = Path(__file__).parent.parent / "bundled"
# Both parts make one name of a folder in the cache, which has at most 255 characters.
_REPO = re.compile(r"\b[\w.-]{1,96}\b/\b[\w.-]{1,96}\b", re.ASCII)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFiles(Generic[AnySpec]):
    """A complete model on this machine.

    Attributes:
        name: The requested name.
        path: The folder.
        origin: Where it was found.
        spec: The model's entry in the registry, if it has one.
        revision: The commit hash; None if it is unknown.
    """

    name: str
    path: Path
    origin: Origin
    spec: AnySpec | None
    revision: str | None


@dataclass(frozen=True)
class Source(Generic[AnySpec]):
    """Where a model's files may be.

    Attributes:
        name: The requested name.
        repo: The repository.
        revision: The requested or pinned revision; None for the main branch.
        spec: The model's entry in the registry, if it has one.
        folder: The folder in the cache.
        bundle: The folder in this package, if the model is bundled.
        kind: The kind that is wanted; ``Spec`` for either.
        asked: The revision that the caller gave; None for the one of the registry, or main.
    """

    name: str
    repo: str
    revision: str | None
    spec: AnySpec | None
    folder: Path
    bundle: Path | None
    kind: type[AnySpec]
    asked: str | None = None

    @property
    def command(self) -> str:
        """The command that downloads the model."""
        return f"akidb-embed download {self.name}" + (f" --revision {self.asked}" if self.asked else "")


def find_model(
    name: str, *, revision: str | None = None, cache_dir: str | Path | None = None
) -> ModelFiles[ModelSpec] | None:
    """Find an embedding model's files, without the network.

    A registry name is searched for in the bundle (unless a revision is requested), the cache and the Hugging Face
    cache. Any other name is a folder if it exists, else a repository in the two caches.

    Args:
        name: A registry name, a folder or a repository.
        revision: A branch, tag or commit hash; None for the registry's or the main branch.
        cache_dir: The cache folder; None for the default one.

    Returns:
        The files; None if they are not on this machine.

    Raises:
        ModelNotFoundError: The name is neither known nor a folder nor a repository, or the model is not supported.
        CheckpointError: The files are damaged.
        ConfigurationError: A revision is given for a folder, or the registry says that it is a reranker.
    """
    return find_files(name, revision, cache_dir, ModelSpec)


def find_files(
    name: str, revision: str | None, cache_dir: str | Path | None, kind: type[AnySpec]
) -> ModelFiles[AnySpec] | None:
    """The same for models of a kind; ``Spec`` for either.

    Raises:
        EmbeddingError: As in ``find_model``.
    """
    folder = local_folder(name)
    if folder is not None:
        return from_folder(name, folder, revision)
    return from_anywhere(find_source(name, revision, cache_dir, kind))


def local_folder(name: str) -> Path | None:
    """The folder with this name; None if the name can be a model's.

    Raises:
        ModelNotFoundError: The name is a path that does not exist.
    """
    if not name or name in SPECS:
        return None
    path = Path(name).absolute()
    with contextlib.suppress(RuntimeError):  # the user after "~" does not exist
        path = Path(name).expanduser().absolute()
    if os.path.isdir(path):  # unlike Path.is_dir, it is False for a name that is too long for any file
        return path
    if is_repo(name) or not (name.startswith("~") or "/" in name or os.sep in name):
        return None
    raise ModelNotFoundError(f"No model folder at {shortened(str(path))}")


def is_repo(name: str) -> bool:
    """Whether a name has the form of a repository's."""
    return _REPO.fullmatch(name) is not None and "--" not in name and ".." not in name


def find_source(name: str, revision: str | None, cache_dir: str | Path | None, kind: type[AnySpec]) -> Source[AnySpec]:
    """The repository, revision and possible folders of a model.

    A known name with other capitals is refused: the hub would take it for the same repository, but it would be cached
    again, and computed without what the registry says about it.

    Raises:
        ModelNotFoundError: The name is neither known nor a repository, or the model is not supported.
        ConfigurationError: The registry says that the model is of the other kind.
    """
    spec = spec_of_kind(name, kind)
    if spec is None:
        refused = refusal(name)
        if refused is not None:
            raise refused
        if differs_in_case(name) or not is_repo(name):
            raise unknown_model_error(name, kind)
    folder = cache.model_folder(name, revision, cache_dir)
    if spec is None or spec.name != name:
        return Source(name, name, revision or None, spec, folder, None, kind, revision or None)
    bundle = BUNDLE_ROOT / name if spec.bundled and not revision else None
    return Source(name, spec.repo, revision or spec.revision, spec, folder, bundle, kind, revision or None)


def from_folder(name: str, folder: Path, revision: str | None) -> ModelFiles[Any]:
    """The model in a user's folder.

    Raises:
        CheckpointError: The model is incomplete or damaged.
        ConfigurationError: A revision is given.
    """
    if revision:
        raise ConfigurationError(
            field="revision", reason=f"is {revision!r}, but {folder} is a folder, which has no revisions; leave it out."
        )
    check_model(folder, "give the folder that has them, or copy it again")
    return ModelFiles(name, folder, "folder", None, None)


def from_anywhere(source: Source[AnySpec]) -> ModelFiles[AnySpec] | None:
    """The model from the bundle or a cache; None if it is not on this machine.

    Raises:
        CheckpointError: The model is damaged.
    """
    return from_bundle(source) or from_cache(source) or _from_hugging_face(source)


def from_bundle(source: Source[AnySpec]) -> ModelFiles[AnySpec] | None:
    """The model from the bundle; None if it is not bundled.

    Raises:
        CheckpointError: The model is incomplete or damaged.
    """
    if source.bundle is None or not source.bundle.is_dir():
        return None
    check_model(source.bundle, "reinstall akidb-embeddings")
    return ModelFiles(source.name, source.bundle, "bundled", source.spec, None)


def from_cache(source: Source[AnySpec]) -> ModelFiles[AnySpec] | None:
    """The model from the cache; None if it is not there or incomplete.

    Raises:
        CheckpointError: The model is damaged.
    """
    with contextlib.suppress(CheckpointError, FileNotFoundError):
        found = _check_cached(source)
        if found is not None:
            return found
    # Another process may have just replaced the folder. If files are missing or damaged now, they really are.
    cache.await_replacement(source.folder)
    return _check_cached(source)


def _check_cached(source: Source[AnySpec]) -> ModelFiles[AnySpec] | None:
    manifest = cache.read_manifest(source.folder)
    # Another version of the registry may have another repository or revision for the name.
    if manifest is None or (manifest.repo, manifest.requested) != (source.repo, source.revision):
        return None
    if not all((source.folder / name).is_file() for name in manifest.files):
        _log.debug("%s is incomplete and not used", source.folder)
        return None
    remedy = f"run `{source.command} --force`"
    cache.check_sizes(source.folder, manifest, remedy)
    check_model(source.folder, remedy)
    return ModelFiles(source.name, source.folder, "cache", source.spec, manifest.commit)


def _from_hugging_face(source: Source[AnySpec]) -> ModelFiles[AnySpec] | None:
    snapshot = cache.snapshot_folder(source.repo, source.revision)
    if not snapshot.is_dir():
        return None
    problem = snapshot_problem(snapshot, is_known=source.spec is not None)
    if problem:
        _log.warning("%s is not used: %s", snapshot, problem)
        return None
    return ModelFiles(source.name, snapshot, "huggingface", source.spec, snapshot.name)
