"""Adapters to models: folders or repositories of the hub, found and downloaded as models are."""

from pathlib import Path

from akidb_embeddings.errors import ConfigurationError, EmbeddingError
from akidb_embeddings.hub.download import download_model
from akidb_embeddings.hub.missing import is_offline, not_found_error
from akidb_embeddings.hub.resolve import find_files, find_source
from akidb_embeddings.registry import Spec


def find_adapter(name: str, *, revision: str | None = None, cache_dir: str | Path | None = None) -> Path | None:
    """The folder of an adapter, without the network; None if it is not on this machine.

    Args:
        name: A folder or a repository.
        revision: A branch, tag or commit hash; None for the main branch.
        cache_dir: The cache folder; None for the default one.

    Raises:
        EmbeddingError: As in ``find_model``.
    """
    try:
        files = find_files(name, revision, cache_dir, Spec)
    except EmbeddingError as error:
        raise _about_adapter(error) from error.__cause__
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
        raise _about_adapter(error) from error.__cause__


def _about_adapter(error: EmbeddingError) -> EmbeddingError:
    """The error under the names of an adapter's settings, without the ways out that are for models."""
    is_revision = isinstance(error, ConfigurationError) and error.field == "revision"
    return error.changed(field="adapter_revision") if is_revision else error.changed(hint="")
