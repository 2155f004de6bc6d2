"""The architectures that this library implements, as data."""

from collections.abc import Mapping
from dataclasses import replace

from akidb_embeddings.registry import heads
from akidb_embeddings.registry.architecture import Architecture as Architecture
from akidb_embeddings.registry.architecture import Config as Config
from akidb_embeddings.registry.named_classes import named_classes


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
        unattended=lambda config: False,
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
    "bidirectional_lfm2": Architecture(
        "bidirectional_lfm2",
        _pooling_varies,
        float16=lambda config: False,
        ignored=("lm_head.",),
        remote_code="Lfm2BidirectionalModel",
        causal_twin="lfm2",
        unattended=lambda config: False,
        aliases={"rms_norm_eps": ("norm_eps",)},
    ),
    "gemma3_text": Architecture(
        "gemma3",
        lambda config: "mean" if config.get("use_bidirectional_attention") else "last",
        unattended=lambda config: bool(config.get("use_bidirectional_attention")),
        final_token="<eos>",
        float16=lambda config: False,
        scaled_in_float16=True,
        ignored=("lm_head.",),
    ),
    MODEL2VEC: _STATIC,
    STATIC_EMBEDDING: _STATIC,
}
