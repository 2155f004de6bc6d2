"""The tiny models of GTE's encoder, in the layouts of gte-multilingual-base, arctic-embed-m-v2.0 and stella_en_400M_v5.

The oracle is transformers' own GTE, which has no scaling "ntk": its authors' models have "linear" there, with another
base. ``check_frequencies`` holds this to what the published code does (Alibaba-NLP/new-impl, modeling.py).
"""

from pathlib import Path
from typing import Any

import torch
from encoder_tokenizers import write_xlm_roberta_tokenizer
from jsonfile import read_json, write_json
from tiny_parts import Pipeline, randomize, save, write_model
from tiny_tokenizers import write_bert_tokenizer
from transformers import GteConfig, GteModel

GTE_TOKENS, STELLA_TOKENS = 1024, 512
# As in ``tiny_encoders.NOMIC_STDS``, with less sharp attention: the vectors shall bear float16.
GTE_STDS = {
    "word_embeddings": 1.0,
    "token_type_embeddings": 0.3,
    "q_proj": 0.3,
    "k_proj": 0.3,
    "o_proj": 0.12,
    "down_proj": 0.12,
}
NEW_CODE = {
    "AutoConfig": "Alibaba-NLP/new-impl--configuration.NewConfig",
    "AutoModel": "Alibaba-NLP/new-impl--modeling.NewModel",
    "AutoModelForMaskedLM": "Alibaba-NLP/new-impl--modeling.NewForMaskedLM",
    "AutoModelForSequenceClassification": "Alibaba-NLP/new-impl--modeling.NewForSequenceClassification",
    "AutoModelForTokenClassification": "Alibaba-NLP/new-impl--modeling.NewForTokenClassification",
}
ARCTIC_CODE = {
    "AutoConfig": "configuration_hf_alibaba_nlp_gte.GteConfig",
    "AutoModel": "modeling_hf_alibaba_nlp_gte.GteModel",
}
STELLA_PROMPTS = {
    "s2p_query": "Instruct: Given a web search query, retrieve relevant passages that answer the query.\nQuery: ",
    "s2s_query": "Instruct: Retrieve semantically similar text.\nQuery: ",
}


def gte_config(vocab_size: int, theta: float, factor: float | None = None, **more: Any) -> GteConfig:
    """Two heads of 16; ``factor`` is that of the scaling "ntk"."""
    rope = {"rope_type": "default", "rope_theta": theta}
    if factor is not None:
        rope = {"rope_type": "linear", "rope_theta": theta * factor, "factor": factor ** (2 / 16)}
    return GteConfig(
        vocab_size=-(-vocab_size // 64) * 64,
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=GTE_TOKENS,
        rope_parameters=rope,
        **more,
    )


def check_frequencies(model: GteModel, theta: float, factor: float) -> None:
    """The frequencies are those of the authors' ``NTKScalingRotaryEmbedding``, whose scaling holds for every length."""
    dim = 16
    published = 1.0 / ((theta * factor) ** (torch.arange(0, dim, 2).float() / dim)) / factor ** (2 / dim)
    torch.testing.assert_close(model.rotary_emb.inv_freq, published)


def original_gte_names(weights: dict[str, torch.Tensor], prefix: str = "") -> dict[str, torch.Tensor]:
    """The names of the authors' code; q, k and v in one matrix, and the MLP's up before its gate in another."""
    renamings = {
        "layers.": "encoder.layer.",
        "self_attn.o_proj": "attention.o_proj",
        "post_attention_layernorm": "attn_ln",
        "post_mlp_layernorm": "mlp_ln",
    }
    fused = {
        "self_attn.q_proj": ("attention.qkv_proj", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
        "mlp.up_proj": ("mlp.up_gate_proj", ("mlp.up_proj", "mlp.gate_proj")),
    }
    original: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if any(part in name for part in ("k_proj", "v_proj", "gate_proj")):
            continue
        renamed, value = name, tensor
        for first, (whole, parts) in fused.items():
            if first in name:
                renamed = name.replace(first, whole)
                value = torch.cat([weights[name.replace(first, part)] for part in parts])
        for new, old in renamings.items():
            renamed = renamed.replace(new, old)
        original[prefix + renamed] = value
    return original


def original_gte_config(config: GteConfig, theta: float, factor: float | None, **more: Any) -> dict[str, Any]:
    values = {key: value for key, value in config.to_dict().items() if key in PUBLISHED_KEYS}
    settings = {
        "layer_norm_type": "layer_norm",
        "logn_attention_clip1": False,
        "logn_attention_scale": False,
        "pack_qkv": True,
        "position_embedding_type": "rope",
        "rope_scaling": None if factor is None else {"factor": factor, "type": "ntk"},
        "rope_theta": theta,
        "torch_dtype": "float32",
        "transformers_version": "4.39.1",
        "unpad_inputs": False,
        "use_memory_efficient_attention": False,
    }
    return dict(sorted((values | settings | more).items()))


PUBLISHED_KEYS = (
    *("attention_probs_dropout_prob", "classifier_dropout", "hidden_act", "hidden_dropout_prob", "hidden_size"),
    *("initializer_range", "intermediate_size", "layer_norm_eps", "max_position_embeddings", "num_attention_heads"),
    *("num_hidden_layers", "pad_token_id", "type_vocab_size", "vocab_size"),
)


def write_published(folder: Path, model: GteModel, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """The authors' config.json and names; ``config.native.json`` is what transformers 5 writes."""
    save(weights, folder)
    (folder / "config.json").rename(folder / "config.native.json")
    write_json(folder / "config.json", config)


def write_tiny_gte(folder: Path) -> None:
    """gte-multilingual-base, with the prefix and the head for sparse vectors that its file has."""
    tokenizer = write_xlm_roberta_tokenizer(folder, GTE_TOKENS)
    theta, factor = 20_000.0, 8.0
    model = GteModel(gte_config(tokenizer.get_vocab_size(), theta, factor, num_hidden_layers=2, type_vocab_size=1))
    check_frequencies(model, theta, factor)
    randomize(model, seed=41, norm_center=1.0, linear_std=0.25, other_stds=GTE_STDS)
    write_model(folder, model, "GteModel", Pipeline("cls_token", max_seq_length=GTE_TOKENS))
    names = {"architectures": ["NewModel", "NewForTokenClassification"], "auto_map": NEW_CODE, "model_type": "new"}
    config = original_gte_config(model.config, theta, factor, **names)
    head = {"classifier.weight": torch.ones(1, 32), "classifier.bias": torch.zeros(1)}
    write_published(folder, model, config, original_gte_names(model.state_dict(), "new.") | head)


def write_tiny_arctic(folder: Path) -> None:
    """arctic-embed-m-v2.0: another name for the same architecture, and no scaling."""
    tokenizer = write_xlm_roberta_tokenizer(folder, GTE_TOKENS)
    theta = 160_000.0
    model = GteModel(gte_config(tokenizer.get_vocab_size(), theta, num_hidden_layers=2, type_vocab_size=1))
    randomize(model, seed=42, norm_center=1.0, linear_std=0.25, other_stds=GTE_STDS)
    write_model(folder, model, "GteModel", Pipeline("cls_token", {"query": "query: "}, max_seq_length=GTE_TOKENS))
    names = {"architectures": ["GteModel"], "auto_map": ARCTIC_CODE, "model_type": "gte"}
    flags = {"unpad_inputs": "true", "use_memory_efficient_attention": "true", "matryoshka_dimensions": [16]}
    config = original_gte_config(model.config, theta, None, **names, **flags)
    write_published(folder, model, config, original_gte_names(model.state_dict()))


def write_tiny_stella(folder: Path) -> None:
    """stella_en_400M_v5: mean pooling, then a dense layer with a bias, and no normalization."""
    tokenizer = write_bert_tokenizer(folder, GTE_TOKENS, traps=False)
    theta, factor = 160_000.0, 2.0
    config = gte_config(
        tokenizer.get_vocab_size(), theta, factor, num_hidden_layers=2, type_vocab_size=2, pad_token_id=0
    )
    model = GteModel(config)
    check_frequencies(model, theta, factor)
    randomize(model, seed=43, norm_center=1.0, linear_std=0.25, other_stds=GTE_STDS)
    write_model(folder, model, "GteModel", Pipeline("mean_tokens", STELLA_PROMPTS, max_seq_length=STELLA_TOKENS))
    code = {key: name.partition("--")[2] for key, name in NEW_CODE.items()}
    names = {"architectures": ["NewModel"], "auto_map": code, "model_type": "new"}
    write_published(
        folder,
        model,
        original_gte_config(model.config, theta, factor, **names),
        original_gte_names(model.state_dict()),
    )
    dense = folder / "2_Dense_48"
    dense.mkdir()
    identity = {"bias": True, "activation_function": "torch.nn.modules.linear.Identity"}
    write_json(dense / "config.json", {"in_features": 32, "out_features": 48} | identity)
    linear = torch.nn.Linear(32, 48)
    randomize(linear, seed=44, norm_center=1.0, linear_std=0.15)
    save(linear.state_dict(prefix="linear."), dense)
    modules = read_json(folder / "modules.json")
    modules[-1] |= {"path": dense.name, "type": "sentence_transformers.models.Dense"}
    write_json(folder / "modules.json", modules)
