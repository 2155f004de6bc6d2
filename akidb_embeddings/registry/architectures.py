"""The architectures that this library implements, as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from akidb_embeddings.registry import heads
from akidb_embeddings.registry.named_classes import named_classes
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
        float16: Whether a model's activations fit float16, from config.json.
        prefix: The prefix that some exporters add to all tensors' names.
        ignored: The prefixes of the names of tensors that embeddings do not use, such as heads.
        remote_code: The class of the code in its models' repositories (auto_map) that this library reimplements.
        dimension: The length of its hidden states, from config.json.
        twin: The model_type of another architecture that config.json gives; the class of the code tells them apart.
        causal_twin: The same of causal models; what says that attention goes both ways is ``is_causal``, or the class.
        embed_tokens: The possible last parts of the name of its table of token embeddings.
        poolings: The supported pooling strategies.
        aliases: Other names of config.json's keys.
        is_causal: Whether tokens attend to earlier ones alone, from config.json.
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
    prefix: str = "model."
    ignored: tuple[str, ...] = ()
    remote_code: str | None = None
    dimension: Callable[[Config], int] = lambda config: int(config["hidden_size"])
    twin: str = ""
    causal_twin: str = ""
    embed_tokens: tuple[str, ...] = ("word_embeddings", "tok_embeddings", "embed_tokens")
    poolings: tuple[str, ...] = POOLINGS
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_causal: Callable[[Config], bool] = lambda config: False
    computed_by: str = ""
    head: heads.HeadSpec | None = None
    masked_lm: heads.MaskedLMSpec | None = None
    answers: bool = False
    has_token_types: bool = False
    is_static: bool = False
    tensor_names: Mapping[str, str] = field(default_factory=dict)
    integers: tuple[str, ...] = ()

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


def _pooling_varies(config: Config) -> None:
    """The ``pooling`` of architectures whose models differ."""


def _positions_after_padding(config: Config) -> int | None:
    """The number of positions where position ids start after the padding token's id."""
    positions, padding = config.get("max_position_embeddings"), config.get("pad_token_id", 1)
    return positions - padding - 1 if isinstance(positions, int) and isinstance(padding, int) else None


def _positions_after_padding_id_1(config: Config) -> int | None:
    """The same where the padding token's id is 1, independent of config.json."""
    return _positions_after_padding({**config, "pad_token_id": 1})


def _llama_pooling(config: Config) -> str | None:
    """What the configuration of NVIDIA's own class says."""
    return {"avg": "mean", "cls": "cls", "last": "last"}.get(str(config.get("pooling")))


def projected(config: Config) -> int | None:
    """The outputs of the linear layer after voyage's Qwen3, which its class counts as labels; None without it."""
    if "Qwen3BidirectionalModel" not in named_classes(config):
        return None
    labels = config.get("id2label")
    return int(config.get("num_labels") or (len(labels) if isinstance(labels, Mapping) else 2))


def _is_small_qwen3(config: Config) -> bool:
    """Whether it is as small as Qwen3-Embedding-0.6B; Qwen3-Embedding-8B overflows float16 (its repository's #164)."""
    hidden_size = config.get("hidden_size")
    return isinstance(hidden_size, int) and hidden_size <= 1024


MOST_STATIC_TOKENS = 2**16
"""The limit of static models, whose authors have none: so many vectors of 1024 numbers take 256 MB."""


def _static_limit(config: Config) -> int:
    return min(config.get("max_length") or MOST_STATIC_TOKENS, MOST_STATIC_TOKENS)


_STATIC = Architecture(
    "static",
    lambda config: "mean",
    max_tokens=_static_limit,
    float16=lambda config: False,  # sums of float16 numbers would round, and a table is not slower in float32
    prefix="",
    poolings=("mean",),
    is_static=True,
    tensor_names={"embeddings": "embedding.weight"},
    integers=("mapping",),
)
MODEL2VEC, STATIC_EMBEDDING = "model2vec", "static_embedding"
"""The names of the architectures of model2vec's models and of sentence-transformers' StaticEmbedding."""

_BERT_HEADS = ("pooler.", "embeddings.position_ids", "cls.")

_XLM_ROBERTA = Architecture(
    "xlm_roberta",
    _pooling_varies,
    special_tokens=2,
    max_tokens=_positions_after_padding,
    prefix="roberta.",
    ignored=(*_BERT_HEADS, "lm_head."),
    head=heads.ROBERTA,
)

_GTE = Architecture(
    "gte",
    _pooling_varies,
    special_tokens=2,
    prefix="new.",
    ignored=("pooler.", "classifier.", "lm_head."),
    remote_code="NewModel",
)

ARCHITECTURES: Mapping[str, Architecture] = {  # by config.json's model_type, but for twins
    "bert": Architecture(
        "bert",
        _pooling_varies,
        special_tokens=2,
        prefix="bert.",
        ignored=_BERT_HEADS,
        head=heads.BERT,
        masked_lm=heads.BERT_LM,
        has_token_types=True,
    ),
    "jina_bert": Architecture(
        "jina_bert",
        lambda config: "mean" if config.get("emb_pooler") == "mean" else None,
        special_tokens=2,
        prefix="bert.",
        ignored=_BERT_HEADS,
        remote_code="JinaBertModel",
        twin="bert",
    ),
    "xlm-roberta": _XLM_ROBERTA,
    "roberta": _XLM_ROBERTA,
    "distilbert": Architecture(
        "distilbert",
        _pooling_varies,
        special_tokens=2,
        prefix="distilbert.",
        ignored=("vocab_transform.", "vocab_layer_norm.", "vocab_projector."),
        aliases={
            "hidden_size": ("dim",),
            "num_hidden_layers": ("n_layers",),
            "num_attention_heads": ("n_heads",),
            "intermediate_size": ("hidden_dim",),
            "hidden_act": ("activation",),
        },
        head=heads.DISTILBERT,
        masked_lm=heads.DISTILBERT_LM,
    ),
    "mpnet": Architecture(
        "mpnet",
        _pooling_varies,
        special_tokens=2,
        max_tokens=_positions_after_padding_id_1,
        prefix="mpnet.",
        ignored=(*_BERT_HEADS, "lm_head."),
    ),
    "modernbert": Architecture(
        "modernbert", _pooling_varies, special_tokens=2, ignored=("head.", "decoder."), head=heads.MODERNBERT
    ),
    "nomic_bert": Architecture(
        "nomic_bert",
        _pooling_varies,
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
        remote_code="NomicBertModel",
    ),
    "new": _GTE,
    "gte": replace(_GTE, remote_code="GteModel"),
    "qwen3": Architecture(
        "qwen3",
        lambda config: "last",
        is_causal=lambda config: True,
        final_token="<|endoftext|>",
        float16=_is_small_qwen3,
        ignored=("lm_head.",),
        head=heads.DECODER,
        answers=True,
    ),
    "bidirectional_pplx_qwen3": Architecture(
        "pplx_qwen3",
        lambda config: "mean",
        float16=_is_small_qwen3,
        ignored=("lm_head.",),
        remote_code="PPLXQwen3Model",
    ),
    "bidirectional_qwen3": Architecture(
        "bidirectional_qwen3",
        _pooling_varies,
        float16=lambda config: False,  # it is unknown which activations fit
        ignored=("lm_head.",),
        remote_code="Qwen3BidirectionalModel",
        dimension=lambda config: projected(config) or int(config["hidden_size"]),
        causal_twin="qwen3",
    ),
    "bidirectional_qwen2": Architecture(
        "bidirectional_qwen2",
        _pooling_varies,
        float16=lambda config: False,
        ignored=("lm_head.",),
        causal_twin="qwen2",
    ),
    "bidirectional_ministral3": Architecture(
        "bidirectional_ministral3",
        _pooling_varies,
        float16=lambda config: False,
        ignored=("lm_head.",),
        causal_twin="ministral3",
    ),
    "llama_bidirec": Architecture(
        "llama",
        _llama_pooling,
        float16=lambda config: False,  # it is unknown which activations fit
        ignored=("lm_head.",),
        remote_code="LlamaBidirectionalModel",
        causal_twin="llama",
    ),
    "eurobert": Architecture(
        "llama",
        _pooling_varies,
        float16=lambda config: False,
        ignored=("lm_head.",),
        remote_code="EuroBertModel",
    ),
    "gemma3_text": Architecture(
        "gemma3",
        lambda config: "mean" if config.get("use_bidirectional_attention") else "last",
        is_causal=lambda config: not config.get("use_bidirectional_attention"),
        final_token="<eos>",
        float16=lambda config: False,
        ignored=("lm_head.",),
    ),
    MODEL2VEC: _STATIC,
    STATIC_EMBEDDING: _STATIC,
}
