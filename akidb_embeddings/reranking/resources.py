"""What a rerank service computes with: a configuration, what it means for its model, and the model itself, loaded."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Self

from akidb_embeddings.checkpoint.prompts import find_prompt
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint, read_reranker
from akidb_embeddings.config.rerank import DEFAULT_PAIR_TOKENS, RerankConfig
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.table import retain_engine
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.hub.download import resolve_reranker
from akidb_embeddings.service.resources import load_engine
from akidb_embeddings.tokenization.pair_tokenizer import PairTokenizer

SCORES = "scores"
"""What the engine is asked for instead of a pooling: every request to a reranker's engine is alike."""


@dataclass(frozen=True)
class RerankResources:
    """Everything that belongs to one service. Release the engine once per instance.

    Attributes:
        prompt: The text before each query, or the instruction in a frame.
    """

    config: RerankConfig
    checkpoint: RerankerCheckpoint
    prompt: str
    tokenizer: PairTokenizer
    engine: Engine

    @classmethod
    def load(cls, config: RerankConfig) -> Self:
        """Find the model, download it if necessary and allowed, and load it.

        Raises:
            ConfigurationError: The model cannot do what is configured, or is no reranker.
            ModelNotFoundError: The model is unknown, or is not on this machine and may not be downloaded.
            DownloadError: The download failed.
            CheckpointError: The model's files are missing, damaged or not supported.
            WorkerError: MLX cannot be loaded, or this process was forked from one that runs it.
        """
        files = resolve_reranker(
            config.model_name,
            revision=config.revision,
            cache_dir=config.cache_dir,
            auto_download=config.auto_download,
        )
        checkpoint = read_reranker(files.path, files.spec)
        prompt = choose_prompt(checkpoint, config.instruction, config.prompt_name)
        tokenizer = PairTokenizer(checkpoint, choose_limit(config, checkpoint))
        tokenizer.log()
        return cls(config, checkpoint, prompt, tokenizer, load_engine(checkpoint, config, SCORES))

    def with_values(self, **changes: Any) -> Self:
        """The same model with another configuration; ``changes`` are of fields that need no other tokenizer or prompt.

        Raises:
            ConfigurationError: A value is not allowed.
        """
        return replace(self, config=self.config.with_values(**changes), engine=retain_engine(self.engine))

    @property
    def max_tokens(self) -> int:
        """The largest number of tokens of a pair."""
        return self.tokenizer.max_tokens

    def fingerprint(self, prompt: str, activation: str) -> str:
        """An identifier of what scores depend on: the model's files, its limit, the prompt and the activation."""
        parts = [self.checkpoint.digest, self.checkpoint.framed, self.max_tokens, prompt, activation]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
        quantization = self.checkpoint.quantization
        bits = f"{quantization['bits']}bit-" if "bits" in quantization else ""
        return f"{self.checkpoint.config['model_type']}-{bits}{activation}-{digest}"


def choose_prompt(checkpoint: RerankerCheckpoint, instruction: str | None, prompt_name: str | None) -> str:
    """The text before each query, or the instruction in a frame; without arguments, the model's own.

    Raises:
        ConfigurationError: The model takes no instruction, has no prompt of that name, or both are given.
    """
    if instruction is not None and prompt_name is not None:
        raise ConfigurationError(hint="Give {instruction} or {prompt_name}, not both.")
    if prompt_name is not None:
        return find_prompt(checkpoint.prompts, prompt_name)
    if instruction is None:
        return checkpoint.default_prompt
    if not checkpoint.framed:
        raise ConfigurationError(
            field="instruction",
            reason=f"is {instruction!r:.80}, but this {checkpoint.config['model_type']} model takes none: it was "
            "trained on pairs alone.",
        )
    return instruction


def choose_limit(config: RerankConfig, checkpoint: RerankerCheckpoint) -> int:
    """The configured limit; without one, the model's, but at most ``DEFAULT_PAIR_TOKENS``.

    Raises:
        ConfigurationError: It is more than the model's.
    """
    if config.max_tokens is None:
        return min(DEFAULT_PAIR_TOKENS, checkpoint.max_tokens)
    if config.max_tokens > checkpoint.max_tokens:
        raise ConfigurationError(
            field="max_tokens",
            source=config.source_of("max_tokens"),
            limit=checkpoint.max_tokens,
            reason=f"is {config.max_tokens}; the limit of {config.model_name} is {checkpoint.max_tokens}.",
        )
    return config.max_tokens
