"""Downloads from the Hugging Face hub, and information about models, downloaded or not."""

import glob
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from akidb_embeddings.checkpoint.integrity import check_model
from akidb_embeddings.errors import CheckpointError, DownloadError, EmbeddingError, ModelNotFoundError
from akidb_embeddings.hub import cache
from akidb_embeddings.hub.listing import list_files
from akidb_embeddings.hub.missing import download_error, endpoint, is_offline, not_found_error
from akidb_embeddings.hub.names import find_spec
from akidb_embeddings.hub.resolve import (
    ModelFiles,
    Origin,
    Source,
    find_files,
    find_source,
    from_anywhere,
    from_bundle,
    from_cache,
    from_folder,
    local_folder,
)
from akidb_embeddings.hub.snapshots import whole_snapshot
from akidb_embeddings.registry import AnySpec, ModelSpec, RerankerSpec, Spec


@dataclass(frozen=True)
class ModelInfo:
    """A description of a model that need not be loaded or downloaded.

    Attributes:
        name: The model's name.
        repo: The repository; None for a folder.
        spec: The model's entry in the registry, if it has one.
        cached: Whether the complete model is on this machine.
        origin: Where it was found; None if it was not.
        path: The folder; None if the model is not on this machine.
        size_on_disk: The size of its files in bytes; 0 if the model is not on this machine.
        revision: The commit hash; None if it is unknown.
    """

    name: str
    repo: str | None
    spec: Spec | None
    cached: bool
    origin: Origin | None
    path: Path | None
    size_on_disk: int
    revision: str | None


@dataclass(frozen=True)
class Download:
    """A download that has not begun.

    Attributes:
        repo: The repository.
        endpoint: The address of the hub that it is on.
        size_bytes: The size of its files in bytes; None if the hub does not tell.
        command: The command that downloads it.
    """

    repo: str
    endpoint: str
    size_bytes: int | None
    command: str


def resolve_model(
    name: str, *, revision: str | None = None, cache_dir: str | Path | None = None, auto_download: bool = True
) -> ModelFiles[ModelSpec]:
    """Return an embedding model's files. Download them if they are not on this machine.

    Args:
        name: A registry name, a folder or a repository.
        revision: A branch, tag or commit hash; None for the registry's or the main branch.
        cache_dir: The cache folder; None for the default one.
        auto_download: Whether to download missing models.

    Raises:
        ConfigurationError: The registry says that it is a reranker.
        ModelNotFoundError: The model is missing and ``auto_download`` is false.
        EmbeddingError: As in ``find_model`` and ``download_model``.
    """
    return _resolve(ModelSpec, name, revision, cache_dir, auto_download)


def resolve_reranker(
    name: str, *, revision: str | None = None, cache_dir: str | Path | None = None, auto_download: bool = True
) -> ModelFiles[RerankerSpec]:
    """The same for a reranker; a ConfigurationError says that the registry has an embedding model of that name."""
    return _resolve(RerankerSpec, name, revision, cache_dir, auto_download)


def _resolve(
    kind: type[AnySpec], name: str, revision: str | None, cache_dir: str | Path | None, auto_download: bool
) -> ModelFiles[AnySpec]:
    folder = local_folder(name)
    if folder is not None:
        return from_folder(name, folder, revision)
    source = find_source(name, revision, cache_dir, kind)
    found = whole_snapshot(source, from_anywhere(source), may_ask=auto_download)
    if found is None and not auto_download:
        raise not_found_error(source, offline=is_offline())
    return found or _download(source, force=False)


def is_model_cached(name: str, *, revision: str | None = None, cache_dir: str | Path | None = None) -> bool:
    """Return whether a complete, undamaged model is on this machine, in any of the places of ``find_model``."""
    try:
        return find_files(name, revision, cache_dir, Spec) is not None
    except (ModelNotFoundError, CheckpointError):
        return False


def get_model_info(name: str, *, revision: str | None = None, cache_dir: str | Path | None = None) -> ModelInfo:
    """Describe a model, on this machine or not, without the network.

    Args:
        name: A registry name, a folder or a repository.
        revision: A branch, tag or commit hash; None for the registry's or the main branch.
        cache_dir: The cache folder; None for the default one.

    Raises:
        EmbeddingError: As in ``find_model``.
    """
    files = find_files(name, revision, cache_dir, Spec)
    if files is None:
        source = find_source(name, revision, cache_dir, Spec)
        return ModelInfo(name, source.repo, source.spec, False, None, None, 0, None)
    repo = None if files.origin == "folder" else find_source(name, revision, cache_dir, Spec).repo
    size = cache.folder_size(files.path, follow_symlinks=True)
    return ModelInfo(name, repo, files.spec, True, files.origin, files.path, size, files.revision)


def list_cached_models(cache_dir: str | Path | None = None) -> list[ModelInfo]:
    """Describe every model in the cache. ``cached`` is false for incomplete and damaged ones."""
    return [_cached_info(folder, manifest) for folder, manifest in cache.cached_folders(cache_dir)]


def _cached_info(folder: Path, manifest: cache.Manifest) -> ModelInfo:
    source = Source(manifest.name, manifest.repo, manifest.requested, find_spec(manifest.name), folder, None, Spec)
    try:
        is_complete = from_cache(source) is not None
    except CheckpointError:
        is_complete = False
    size = cache.folder_size(folder, follow_symlinks=True)
    return ModelInfo(source.name, source.repo, source.spec, is_complete, "cache", folder, size, manifest.commit)


def download_model(
    name: str, *, revision: str | None = None, cache_dir: str | Path | None = None, force: bool = False
) -> ModelFiles[Spec]:
    """Return the files of a model of either kind. Download them into the cache if they are not on this machine.

    Concurrent calls, from threads or processes, result in one good copy. The call after an interruption resumes.

    Args:
        name: A registry name, a folder or a repository. A bundled model or a folder is never downloaded.
        revision: A branch, tag or commit hash; None for the registry's or the main branch.
        cache_dir: The cache folder; None for the default one.
        force: Whether to download again what is in a cache.

    Raises:
        ModelNotFoundError: The hub does not have the model or revision, requires a token, or may not be accessed
            (``HF_HUB_OFFLINE``).
        DownloadError: The network or the disk failed.
        CheckpointError: The repository lacks required files.
        ConfigurationError: A revision is given for a folder.
    """
    folder = local_folder(name)
    if folder is not None:
        return from_folder(name, folder, revision)
    source = find_source(name, revision, cache_dir, Spec)
    found = from_bundle(source) if force else whole_snapshot(source, from_anywhere(source), may_ask=True)
    return found or _download(source, force)


def _download(source: Source[AnySpec], force: bool) -> ModelFiles[AnySpec]:
    if is_offline():
        raise not_found_error(source, offline=True)
    try:
        with cache.folder_lock(source.folder, wait=True):
            return (None if force else from_cache(source)) or _fetch(source, force)
    except EmbeddingError:
        raise
    except Exception as error:  # huggingface_hub has had three HTTP clients, each with its own errors
        # From None: a traceback of the HTTP client would hide the error that says what to do.
        raise download_error(source, error) from None


def find_download(
    name: str,
    *,
    kind: type[Spec] = Spec,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force: bool = False,
) -> Download | None:
    """What ``download_model`` with these arguments would download; None if that is nothing, or if it may not.

    The size of a known model is the registry's; the hub is asked for that of another repository.

    Raises:
        EmbeddingError: As in ``download_model``, or the model is known not to be of the ``kind``.
    """
    if local_folder(name) is not None:
        return None
    source = find_source(name, revision, cache_dir, kind)
    found = from_bundle(source) if force else from_anywhere(source)
    if found is not None or is_offline():
        return None
    if source.spec is not None:
        return Download(source.repo, endpoint(), source.spec.size_bytes, source.command)
    try:
        sizes = list_files(source)[1].values()
    except EmbeddingError:
        raise
    except Exception as error:  # as in download_model
        raise download_error(source, error) from None
    total = sum(size or 0 for size in sizes)
    return Download(source.repo, endpoint(), None if None in sizes else total, source.command)


def _fetch(source: Source[AnySpec], force: bool) -> ModelFiles[AnySpec]:
    from huggingface_hub import snapshot_download

    cache.check_ownership(source.folder)
    commit, sizes = list_files(source)
    staging = cache.staging_folder(source.folder, commit)
    download = partial(
        snapshot_download,
        source.repo,
        revision=commit,
        cache_dir=cache.hugging_face_cache(),  # files in there are copied, not downloaded
        local_dir=staging,
        endpoint=endpoint(),
        force_download=force,
        allow_patterns=[glob.escape(name) for name in sizes],
    )
    _on_a_thread(download)
    files = _check_download(source, staging, sizes)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    cache.Manifest(source.name, source.repo, source.revision, commit, files, date).write(staging)
    cache.publish(staging, source.folder)
    return ModelFiles(source.name, source.folder, "cache", source.spec, commit)


def _on_a_thread(call: Callable[[], object]) -> None:
    """Wait for a call on a thread of its own, so that Ctrl-C ends the wait: huggingface_hub would finish its files."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # raised again where it is waited for
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="akidb-download", daemon=True).start()
    done.result()


def _check_download(source: Source[AnySpec], staging: Path, sizes: Mapping[str, int | None]) -> dict[str, int]:
    """Return the files' sizes in bytes. huggingface_hub ignores some failures if the folder is not empty."""
    found = {name: (staging / name).stat().st_size for name in sizes if (staging / name).is_file()}
    incomplete = [name for name, size in sizes.items() if name not in found or size not in (None, found[name])]
    for name in incomplete:
        (staging / name).unlink(missing_ok=True)
    if incomplete:
        raise DownloadError(
            f"The download of {source.repo} from {endpoint()} is incomplete: {', '.join(incomplete)}. "
            f"Run `{source.command}` again, with --force if that does not help"
        )
    check_model(staging, f"run `{source.command} --force`")
    return found
