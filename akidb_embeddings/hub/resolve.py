"""Where a model's files are on this machine: bundled, a folder, our cache, the Hugging Face cache. No network.

A name is one of three things: a registry name (``minilm-l6-v2``), a folder (``./my-model``), or a repository of
the hub (``org/name``). Nothing here ever answers with another model than the one asked for.
"""

import contextlib
import difflib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from akidb_embeddings.checkpoint.integrity import check_model, snapshot_problem
from akidb_embeddings.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from akidb_embeddings.hub import cache
from akidb_embeddings.registry import BUNDLED, MODELS, ModelSpec

Origin = Literal["bundled", "folder", "cache", "huggingface"]

BUNDLE_ROOT = Path(__file__).parent.parent / "bundled"
_REPO = re.compile(r"\b[\w.-]+\b/\b[\w.-]{1,96}\b", re.ASCII)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFiles:
    """A whole model on this machine. ``revision`` is the commit hash where it is known."""

    name: str
    path: Path
    origin: Origin
    spec: ModelSpec | None
    revision: str | None


@dataclass(frozen=True)
class Source:
    """A registry name or a repository, the revision asked for or pinned, and where its files may be."""

    name: str
    repo: str
    revision: str | None
    spec: ModelSpec | None
    folder: Path
    bundle: Path | None

    @property
    def command(self) -> str:
        """What downloads it."""
        return f"akidb-embed download {self.name}" + (f" --revision {self.revision}" if self.revision else "")


def find_model(name: str, *, revision: str | None = None, cache_dir: str | Path | None = None) -> ModelFiles | None:
    """Return a model's files without touching the network, or ``None`` when they are not on this machine.

    A registry name is looked for in the bundle (unless a revision is asked for), our cache and the Hugging Face
    cache; anything else is a folder if it exists, or else a repository in the two caches.

    Raises ModelNotFoundError for a name that is neither known nor a folder nor a repository, CheckpointError for
    damaged files, ConfigurationError for the revision of a folder.
    """
    folder = local_folder(name)
    if folder is not None:
        return from_folder(name, folder, revision)
    source = find_source(name, revision, cache_dir)
    return from_bundle(source) or from_cache(source) or _from_hugging_face(source)


def local_folder(name: str) -> Path | None:
    """The folder that a name means; None for the name of a model. ModelNotFoundError: a path that leads nowhere."""
    if not name or name in MODELS:
        return None
    path = Path(name).absolute()
    with contextlib.suppress(RuntimeError):  # "~nobody" has no home
        path = Path(name).expanduser().absolute()
    if path.is_dir():
        return path
    if _is_repo(name) or not (name.startswith("~") or "/" in name or os.sep in name):
        return None
    raise ModelNotFoundError(f"No model folder at {path}")


def _is_repo(name: str) -> bool:
    return _REPO.fullmatch(name) is not None and "--" not in name and ".." not in name


def find_source(name: str, revision: str | None, cache_dir: str | Path | None) -> Source:
    """The repository, revision and places of a model. ModelNotFoundError: neither a known name nor a repository."""
    spec = find_spec(name)
    if spec is None and not _is_repo(name):
        raise _unknown_model_error(name)
    folder = cache.model_folder(name, revision, cache_dir)
    if spec is None or spec.name != name:
        return Source(name, name, revision or None, spec, folder, None)
    bundle = BUNDLE_ROOT / name if spec.bundled and not revision else None
    return Source(name, spec.repo, revision or spec.revision, spec, folder, bundle)


def find_spec(name: str) -> ModelSpec | None:
    """The registry's entry for a name or a repository."""
    return next((spec for spec in MODELS.values() if name in (spec.name, spec.repo)), None)


def _unknown_model_error(name: str) -> ModelNotFoundError:
    closest = difflib.get_close_matches(name.lower(), MODELS, n=1)
    suggestion = f"; did you mean {closest[0]!r}?" if closest else "."
    return ModelNotFoundError(
        f"Unknown model {name!r}{suggestion} Known models: {', '.join(MODELS)}. "
        "A Hugging Face repository ('org/name') or a folder ('./my-model') works too."
    )


def not_found_error(source: Source, *, offline: bool) -> ModelNotFoundError:
    """The error for a model that is not on this machine: where it was looked for, and the ways out."""
    snapshot = cache.snapshot_folder(source.repo, source.revision)
    problem = snapshot_problem(snapshot, pooling_known=source.spec is not None) if snapshot.is_dir() else ""
    places = [
        f"the bundle {source.bundle}" if source.bundle else "",
        f"the folder {Path(source.name).absolute()}" if "/" in source.name else "",
        f"the cache {source.folder}",
        f"the Hugging Face cache {snapshot}" + (f" ({problem})" if problem else ""),
    ]
    advice = "HF_HUB_OFFLINE is set, so the hub was not asked: unset it and run" if offline else "Run"
    bundled = "" if source.name == BUNDLED else f" {BUNDLED!r} is bundled and works offline."
    return ModelNotFoundError(
        f"Model {source.name!r} is not on this machine; looked in {', '.join(filter(None, places))}. "
        f"{advice} `{source.command}`.{bundled}"
    )


def from_folder(name: str, folder: Path, revision: str | None) -> ModelFiles:
    """The model in a folder of the user's. CheckpointError: it is not whole."""
    if revision:
        raise ConfigurationError(f"{folder} is a folder and has no revisions; leave revision={revision!r} out")
    check_model(folder, "copy it again")
    return ModelFiles(name, folder, "folder", None, None)


def from_bundle(source: Source) -> ModelFiles | None:
    """The model from the bundle, if it is in there."""
    if source.bundle is None or not source.bundle.is_dir():
        return None
    check_model(source.bundle, "reinstall akidb-embeddings")
    return ModelFiles(source.name, source.bundle, "bundled", source.spec, None)


def from_cache(source: Source) -> ModelFiles | None:
    """The model from our cache, if it is there whole. CheckpointError: it is damaged."""
    with contextlib.suppress(CheckpointError, FileNotFoundError):
        found = _check_cached(source)
        if found is not None:
            return found
    # The folder may have been replaced under our eyes; what is missing or damaged now really is.
    cache.await_replacement(source.folder)
    return _check_cached(source)


def _check_cached(source: Source) -> ModelFiles | None:
    manifest = cache.read_manifest(source.folder)
    # A later registry may know another repository or revision by the same name.
    if manifest is None or (manifest.repo, manifest.requested) != (source.repo, source.revision):
        return None
    if not all((source.folder / name).is_file() for name in manifest.files):
        _log.debug("%s is incomplete and not used", source.folder)
        return None
    remedy = f"run `{source.command} --force`"
    cache.check_sizes(source.folder, manifest, remedy)
    check_model(source.folder, remedy)
    return ModelFiles(source.name, source.folder, "cache", source.spec, manifest.commit)


def _from_hugging_face(source: Source) -> ModelFiles | None:
    snapshot = cache.snapshot_folder(source.repo, source.revision)
    if not snapshot.is_dir():
        return None
    problem = snapshot_problem(snapshot, pooling_known=source.spec is not None)
    if problem:
        _log.warning("%s is not used: %s", snapshot, problem)
        return None
    return ModelFiles(source.name, snapshot, "huggingface", source.spec, snapshot.name)
