"""A model's files, whether it makes vectors or scores."""

from pathlib import Path

from akidb_embeddings.hub.download import resolve_model, resolve_reranker
from akidb_embeddings.hub.names import find_spec
from akidb_embeddings.hub.resolve import ModelFiles
from akidb_embeddings.registry import ModelSpec, RerankerSpec


def resolve_either(
    name: str, *, revision: str | None = None, cache_dir: str | Path | None = None, auto_download: bool = True
) -> ModelFiles[ModelSpec] | ModelFiles[RerankerSpec]:
    """The files of a model of either kind, downloaded if they are not on this machine.

    Args:
        name: A registry name, a folder or a repository.
        revision: A branch, tag or commit hash; None for the registry's or the main branch.
        cache_dir: The cache folder; None for the default one.
        auto_download: Whether to download missing models.

    Raises:
        EmbeddingError: As in ``resolve_model``, except that no kind is refused.
    """
    resolve = resolve_reranker if is_known_reranker(name) else resolve_model
    return resolve(name, revision=revision, cache_dir=cache_dir, auto_download=auto_download)


def is_known_reranker(name: str) -> bool:
    """Whether the registry says that a name, which is no folder's, is a reranker's."""
    return isinstance(find_spec(name), RerankerSpec)
