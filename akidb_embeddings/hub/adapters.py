"""Adapters to models: folders or repositories of the hub, found and downloaded as models are."""

import contextlib
from pathlib import Path

from akidb_embeddings.errors import ConfigurationError, EmbeddingError, ModelNotFoundError
from akidb_embeddings.hub.download import download_model
from akidb_embeddings.hub.missing import is_offline, not_found_error
from akidb_embeddings.hub.resolve import find_files, find_source, is_repo, local_folder
from akidb_embeddings.registry import SPECS, Spec


def find_adapter(name: str, *, revision: str | None = None, cache_dir: str | Path | None = None) -> Path | None:
    """The folder of an adapter, without the network; None if it is not on this machine.

    Args:
        name: A folder or a repository.
        revision: A branch, tag or commit hash; None for the main branch.
        cache_dir: The cache folder; None for the default one.

    Raises:
        ModelNotFoundError: The name is no folder's and no repository's.
        EmbeddingError: As in ``find_model``.
    """
    _check_name(name)
    try:
        files = find_files(name, revision, cache_dir, Spec)
    except EmbeddingError as error:
        raise about_adapter(error, name) from error.__cause__
    return None if files is None else files.path


def resolve_adapter(
    name: str, *, revision: str | None = None, cache_dir: str | Path | None = None, auto_download: bool = True
) -> Path:
    """The folder of an adapter, downloaded if it is not on this machine.

    Args:
        name: A folder or a repository.
        revision: A branch, tag or commit hash; None for the main branch.
        cache_dir: The cache folder; None for the default one.
        auto_download: Whether to download a missing adapter.

    Raises:
        ModelNotFoundError: It is missing and ``auto_download`` is false.
        EmbeddingError: As in ``find_adapter`` and ``download_model``.
    """
    found = find_adapter(name, revision=revision, cache_dir=cache_dir)
    if found is not None:
        return found
    try:
        if not auto_download:
            raise not_found_error(find_source(name, revision, cache_dir, Spec), offline=is_offline())
        return download_model(name, revision=revision, cache_dir=cache_dir).path
    except EmbeddingError as error:
        raise about_adapter(error, name) from error.__cause__


def about_adapter(error: EmbeddingError, name: str) -> EmbeddingError:
    """The error about a model as one about the adapter ``name``, without the ways out that are for models."""
    if isinstance(error, ConfigurationError) and error.field == "revision":
        return error.changed(field="adapter_revision")
    text = error.text and f"The adapter {name}: {error.text}"
    return error.changed(text=text, hint="")


def _check_name(name: str) -> None:
    """Refuse what is no folder and no repository.

    Raises:
        ModelNotFoundError: It is neither.
    """
    with contextlib.suppress(ModelNotFoundError):
        if local_folder(name) is not None or name in SPECS or is_repo(name):
            return
    raise ModelNotFoundError(
        field="adapter",
        reason=f"is {name!r}, which is no folder here and no repository's name. Give a folder ('./my-adapter') or a "
        "Hugging Face repository ('org/name').",
    )
