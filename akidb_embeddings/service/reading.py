"""The checkpoint of a configuration: the model's files and its adapter's, found or downloaded."""

from pathlib import Path

from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.hub.adapters import resolve_adapter
from akidb_embeddings.hub.download import resolve_model


def read_configured(config: EmbeddingConfig) -> Checkpoint:
    """Find the configured model and its adapter, download them if necessary and allowed, and read what they say.

    Raises:
        ModelNotFoundError: One is unknown, or is not on this machine and may not be downloaded.
        DownloadError: A download failed.
        CheckpointError: Files are missing, damaged or not supported, or the adapter belongs to another model.
        ConfigurationError: The model is a reranker, or a revision is given for a folder.
    """
    files = resolve_model(
        config.model_name,
        revision=config.revision,
        cache_dir=config.cache_dir,
        auto_download=config.auto_download,
    )
    return read_checkpoint(files.path, files.spec, adapter_of(config))


def adapter_of(config: EmbeddingConfig) -> Path | None:
    """The folder of the configured adapter, downloaded if necessary and allowed; None if there is none."""
    if config.adapter is None:
        return None
    return resolve_adapter(
        config.adapter,
        revision=config.adapter_revision,
        cache_dir=config.cache_dir,
        auto_download=config.auto_download,
    )
