"""What a service computes with: a configuration, what it means for its model, and the model itself, loaded."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.settings import Settings, apply_config, warn_about_base, warn_about_normalization
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.table import acquire_engine, release_engine, retain_engine
from akidb_embeddings.service.prompter import Prompter
from akidb_embeddings.service.reading import read_configured
from akidb_embeddings.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Resources:
    """Everything that belongs to one service. Release the engine once per instance."""

    config: EmbeddingConfig
    settings: Settings
    checkpoint: Checkpoint
    prompter: Prompter
    tokenizer: Tokenizer
    engine: Engine
    query_tokenizer: Tokenizer | None = None  # where queries have another limit

    @classmethod
    def load(cls, config: EmbeddingConfig) -> Self:
        """Find the model, download it if necessary and allowed, and load it.

        Raises:
            ConfigurationError: The model cannot do what is configured.
            ModelNotFoundError: The model is unknown, or is not on this machine and may not be downloaded.
            DownloadError: The download failed.
            CheckpointError: The model's files are missing, damaged or not supported.
            WorkerError: MLX cannot be loaded, or this process was forked from one that runs it.
        """
        checkpoint = read_configured(config)
        settings = apply_config(config, checkpoint)
        warn_about_normalization(config, checkpoint)
        warn_about_base(config, checkpoint)
        prompter = Prompter(config, checkpoint, settings)
        tokenizer = Tokenizer(checkpoint, settings.max_tokens)
        tokenizer.log()
        engine = load_engine(checkpoint, config, settings.pooling)
        others = None if settings.query_tokens is None else Tokenizer(checkpoint, settings.query_tokens)
        return cls(config, settings, checkpoint, prompter, tokenizer, engine, others)

    def with_values(self, **changes: Any) -> Self:
        """The same model with another configuration; ``changes`` are of fields that need no other tokenizer or prompt.

        Raises:
            ConfigurationError: A value is not allowed, or the model cannot do it.
        """
        config = self.config.with_values(**changes)
        settings = apply_config(config, self.checkpoint)
        return replace(self, config=config, settings=settings, engine=retain_engine(self.engine))


def load_engine(checkpoint: BaseCheckpoint, config: EmbeddingConfig | RerankConfig, pooling: str) -> Engine:
    """The engine of a checkpoint, loaded, while the checkpoint's digest is computed. Release it once.

    Raises:
        CheckpointError: The weights do not fit the architecture, or a file cannot be read.
        WorkerError: MLX cannot be loaded, or this process was forked from one that runs it.
    """
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(lambda: checkpoint.digest)  # reads all files: here, not in the first call
        engine = acquire_engine(checkpoint, config.memory, config.compute)
        try:
            digest.result()
            if config.warm_up:
                engine.warm_up(pooling)
        except BaseException:
            release_engine(engine)
            raise
    return engine
