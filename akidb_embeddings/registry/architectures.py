"""The architectures this library computes itself, one line each in ``ARCHITECTURES``: data only.

``module`` names the file in ``architectures/`` that computes it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from akidb_embeddings.registry.poolings import POOLINGS

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """What is true of every checkpoint of an architecture.

    ``pooling``: how it is pooled as trained where the model's files do not say, or None where that differs from model
    to model. ``final_token``: the token that must end every text pooled from its last. ``special_tokens``: how many its
    tokenizer adds to every text, at least. ``limit``: beyond how many tokens nothing is computed, None where only the
    number of positions says. ``float16``: whether its activations stay within float16. ``prefix``: what some exporters
    put before every name. ``ignored``: tensors of heads that embeddings do not pass through. ``poolings``: those that
    make sense. ``aliases``: other names of config.json's keys. ``code``: the class of the code that its models bring
    along (auto_map) and that is computed here instead. ``words``: the last part of the name of its table of token
    embeddings. ``through``: the library that computes it, "" for this one.
    """

    module: str
    pooling: Callable[[Config], str | None]
    final_token: str | None = None
    special_tokens: int = 0
    limit: Callable[[Config], int | None] = lambda config: None
    float16: bool = True
    prefix: str = "model."
    ignored: tuple[str, ...] = ()
    code: str | None = None
    words: tuple[str, ...] = ("word_embeddings", "tok_embeddings", "embed_tokens")
    poolings: tuple[str, ...] = POOLINGS
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    through: str = ""

    def canonical(self, config: Config) -> Config:
        """``config`` with the keys this library reads, taken from their aliases where they lack."""
        added = {
            key: config[alias]
            for key, aliases in self.aliases.items()
            if config.get(key) is None
            for alias in reversed(aliases)
            if config.get(alias) is not None
        }
        return {**config, **added}


def _unknown(config: Config) -> None:
    """Pooling that differs from model to model."""


def _behind_padding(config: Config) -> int | None:
    """Positions count from behind the padding token's id, mostly 1."""
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id", 1)
    return positions - padding - 1 if isinstance(positions, int) and isinstance(padding, int) else None


def _behind_one(config: Config) -> int | None:
    """The same where the padding's id is 1 whatever config.json says."""
    return _behind_padding({**config, "pad_token_id": 1})


_BERT_HEADS = ("pooler.", "embeddings.position_ids", "cls.")

ARCHITECTURES: Mapping[str, Architecture] = {  # by config.json's model_type
    "bert": Architecture("bert", _unknown, special_tokens=2, prefix="bert.", ignored=_BERT_HEADS),
    "xlm-roberta": Architecture(
        "xlm_roberta",
        _unknown,
        special_tokens=2,
        limit=_behind_padding,
        prefix="roberta.",
        ignored=(*_BERT_HEADS, "lm_head."),
    ),
    "mpnet": Architecture(
        "mpnet",
        _unknown,
        special_tokens=2,
        limit=_behind_one,
        prefix="mpnet.",
        ignored=(*_BERT_HEADS, "lm_head."),
    ),
    "modernbert": Architecture("modernbert", _unknown, special_tokens=2, ignored=("head.", "decoder.")),
    "nomic_bert": Architecture(
        "nomic_bert",
        _unknown,
        special_tokens=2,
        prefix="bert.",
        ignored=_BERT_HEADS,
        aliases={
            "hidden_size": ("n_embd",),
            "num_hidden_layers": ("n_layer",),
            "num_attention_heads": ("n_head",),
            "intermediate_size": ("n_inner",),
            "max_position_embeddings": ("n_positions",),
            "layer_norm_eps": ("layer_norm_epsilon",),
        },
        code="NomicBertModel",
    ),
    "qwen3": Architecture("qwen3", lambda config: "last", final_token="<|endoftext|>", ignored=("lm_head.",)),
    "bidirectional_pplx_qwen3": Architecture(
        "pplx_qwen3", lambda config: "mean", ignored=("lm_head.",), code="PPLXQwen3Model"
    ),
    "gemma3_text": Architecture(
        "gemma3",
        lambda config: "mean" if config.get("use_bidirectional_attention") else "last",
        final_token="<eos>",
        float16=False,
        ignored=("lm_head.",),
    ),
}
