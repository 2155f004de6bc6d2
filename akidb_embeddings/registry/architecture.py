"""What an architecture is, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from akidb_embeddings.registry import heads
from akidb_embeddings.registry.poolings import POOLINGS

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """The properties that all checkpoints of an architecture share.

    Attributes:
        module: The file in ``architectures/`` that computes it.
        pooling: The trained pooling, from config.json, for models whose files do not give it; None if models differ.
        final_token: The token that ends every text for last-token pooling, where a model's files do not say so.
        special_tokens: The smallest number of special tokens that its tokenizer adds to a text.
        max_tokens: The largest number of tokens, from config.json; None if only the number of positions limits it.
        float16: Whether a model's activations fit float16, from config.json, as its authors compute them.
        scaled_in_float16: Whether they are scaled here in float16, so that they fit in any case.
        prefix: The prefix that some exporters add to all tensors' names.
        ignored: The prefixes of the names of tensors that embeddings do not use, such as heads.
        remote_code: The class of the code in its models' repositories (auto_map) that this library reimplements.
        dimension: The length of its hidden states, from config.json.
        twin: The model_type of another architecture that config.json gives; the class of the code tells them apart.
        causal_twin: The same of causal models; what says that attention goes both ways is ``is_causal``, or the class.
        embed_tokens: The possible last parts of the name of its table of token embeddings.
        poolings: The supported pooling strategies.
        aliases: Other names of config.json's keys.
        unattended: Whether tokens that no other attends to are implemented, as in expanded queries, from config.json:
            not where tokens attend to earlier ones alone, or are mixed with their neighbours.
        computed_by: The library that computes it; "" for this one.
        head: The head of its classifiers; None if it is not implemented.
        masked_lm: Its masked language model's layers; None if SPLADE is not implemented for it.
        answers: Whether its language models can be rerankers that answer yes or no.
        has_token_types: Whether the second part of a pair has tokens of type 1.
        is_static: Whether it is a table of vectors of tokens, without special tokens and without an encoder.
        tensor_names: This library's names of tensors that have others.
        integers: The names of tensors that hold integers.
    """

    module: str
    pooling: Callable[[Config], str | None]
    final_token: str | None = None
    special_tokens: int = 0
    max_tokens: Callable[[Config], int | None] = lambda config: None
    float16: Callable[[Config], bool] = lambda config: True
    scaled_in_float16: bool = False
    prefix: str = "model."
    ignored: tuple[str, ...] = ()
    remote_code: str | None = None
    dimension: Callable[[Config], int] = lambda config: int(config["hidden_size"])
    twin: str = ""
    causal_twin: str = ""
    embed_tokens: tuple[str, ...] = ("word_embeddings", "tok_embeddings", "embed_tokens")
    poolings: tuple[str, ...] = POOLINGS
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unattended: Callable[[Config], bool] = lambda config: True
    computed_by: str = ""
    head: heads.HeadSpec | None = None
    masked_lm: heads.MaskedLMSpec | None = None
    answers: bool = False
    has_token_types: bool = False
    is_static: bool = False
    tensor_names: Mapping[str, str] = field(default_factory=dict)
    integers: tuple[str, ...] = ()

    def computes_in_float16(self, config: Config) -> bool:
        """Whether a model is computed in float16 where that is fast."""
        return self.scaled_in_float16 or self.float16(config)

    def described(self, config: Config) -> str:
        """A model of it, in words for messages."""
        return f"this {config['model_type']} model" + (f", computed by {self.computed_by}," if self.computed_by else "")

    def canonical(self, config: Config) -> Config:
        """``config`` with the keys that this library reads, missing ones taken from their aliases."""
        added = {
            key: config[alias]
            for key, aliases in self.aliases.items()
            if config.get(key) is None
            for alias in reversed(aliases)
            if config.get(alias) is not None
        }
        return {**config, **added}
