"""The tiny encoders after BERT: XLM-RoBERTa, ModernBERT, NomicBERT and MPNet."""

from pathlib import Path
from typing import Any

import torch
from encoder_tokenizers import write_modernbert_tokenizer, write_mpnet_tokenizer, write_xlm_roberta_tokenizer
from jsonfile import read_json, write_json
from tiny_parts import Pipeline, randomize, save, write_model
from tiny_tokenizers import write_bert_tokenizer
from transformers import (
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    NomicBertConfig,
    NomicBertModel,
    PreTrainedConfig,
    XLMRobertaConfig,
    XLMRobertaModel,
)

ROBERTA_TOKENS = 512
"""Two fewer than the positions: those of ids 0 and 1 belong to padding."""
ROTARY_TOKENS = 1024
LOCAL_ATTENTION = 64

# As in ``tiny_models.BERT_STDS``: the norms come after the residual sums.
XLM_ROBERTA_STDS = {
    "word_embeddings": 1.0,
    "position_embeddings": 0.7,
    "token_type_embeddings": 0.3,
    "query": 0.4,
    "key": 0.4,
    "output.dense": 0.12,
}
MPNET_STDS = {
    "word_embeddings": 1.0,
    "position_embeddings": 0.7,
    "relative_attention_bias": 1.0,
    "attn.q": 0.4,
    "attn.k": 0.4,
    "attn.o": 0.12,
    "output.dense": 0.12,
}
NOMIC_STDS = {
    "word_embeddings": 1.0,
    "token_type_embeddings": 0.3,
    "q_proj": 0.4,
    "k_proj": 0.4,
    "o_proj": 0.12,
    "down_proj": 0.12,
}

NOMIC_PROMPTS = {
    "query": "search_query: ",
    "document": "search_document: ",
    "clustering": "clustering: ",
    "classification": "classification: ",
}
SEARCH_PROMPTS = {name: NOMIC_PROMPTS[name] for name in ("query", "document")}


def write_tiny_xlm_roberta(folder: Path) -> None:
    """bge-m3's pipeline; 514 positions and the ``position_ids`` of old files, as in multilingual-e5."""
    tokenizer = write_xlm_roberta_tokenizer(folder, ROBERTA_TOKENS)
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=ROBERTA_TOKENS + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    model = XLMRobertaModel(config)
    randomize(model, seed=6, norm_center=1.0, linear_std=0.25, other_stds=XLM_ROBERTA_STDS)
    write_model(folder, model, "XLMRobertaModel", Pipeline("cls_token", max_seq_length=ROBERTA_TOKENS))
    positions = {"embeddings.position_ids": torch.arange(config.max_position_embeddings)[None]}
    save(model.state_dict() | positions, folder)


def write_tiny_modernbert(folder: Path) -> None:
    """Layers 0 and 3 attend fully, the others to 32 tokens on either side. Keys without ``model.``, as published."""
    tokenizer = write_modernbert_tokenizer(folder, ROTARY_TOKENS)
    ids = {name: tokenizer.token_to_id(f"[{name.upper()}]") for name in ("cls", "sep", "pad")}
    config = ModernBertConfig(
        vocab_size=-(-tokenizer.get_vocab_size() // 64) * 64,
        hidden_size=32,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=ROTARY_TOKENS,
        local_attention=LOCAL_ATTENTION,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 160_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        classifier_pooling="mean",
        pad_token_id=ids["pad"],
        bos_token_id=ids["cls"],
        cls_token_id=ids["cls"],
        eos_token_id=ids["sep"],
        sep_token_id=ids["sep"],
    )
    model = ModernBertModel(config)
    randomize(model, seed=7, norm_center=1.0, linear_std=0.25)
    write_model(folder, model, "ModernBertModel", Pipeline("mean_tokens", SEARCH_PROMPTS, max_seq_length=ROTARY_TOKENS))
    write_json(folder / "config.legacy.json", legacy_modernbert_config(model.config))


def legacy_modernbert_config(config: PreTrainedConfig) -> dict[str, Any]:
    """The same model in the keys of transformers 4, which the published checkpoints have."""
    values: dict[str, Any] = {**config.to_diff_dict(), "transformers_version": "4.48.0"}
    rope = values.pop("rope_parameters")
    del values["layer_types"]
    values |= {f"{new}_rope_theta": rope[f"{old}_attention"]["rope_theta"] for new, old in RANGES.items()}
    values |= {"global_attn_every_n_layers": 3, "position_embedding_type": "absolute", "layer_norm_eps": 1e-5}
    values["torch_dtype"] = values.pop("dtype")
    return dict(sorted(values.items()))


RANGES = {"global": "full", "local": "sliding"}


def write_tiny_nomic_bert(folder: Path) -> None:
    """nomic-embed-text-v1.5 as first published: the names of its own code in config.json and in the weights.

    ``config.native.json`` says the same in the keys of transformers 5, which maps the names of the weights itself;
    ``config.both.json`` has both, as the published file has by now.
    """
    tokenizer = write_bert_tokenizer(folder, ROTARY_TOKENS, traps=False)
    config = NomicBertConfig(
        vocab_size=-(-tokenizer.get_vocab_size() // 64) * 64,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=ROTARY_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
    )
    model = NomicBertModel(config)
    randomize(model, seed=8, norm_center=1.0, linear_std=0.25, other_stds=NOMIC_STDS)
    write_model(folder, model, "NomicBertModel", Pipeline("mean_tokens", NOMIC_PROMPTS, max_seq_length=ROTARY_TOKENS))
    save(original_nomic_names(model.state_dict()), folder)
    native, original = read_json(folder / "config.json"), original_nomic_config(config)
    write_json(folder / "config.native.json", native)
    write_json(folder / "config.both.json", dict(sorted((native | original).items())))
    write_json(folder / "config.json", original)


def original_nomic_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of the authors' code; q, k and v in one matrix, in this order."""
    renamings = {
        "layers.": "encoder.layers.",
        "embeddings.LayerNorm": "emb_ln",
        "self_attn.o_proj": "attn.out_proj",
        "up_proj": "fc11",
        "gate_proj": "fc12",
        "down_proj": "fc2",
        "post_attention_layernorm": "norm1",
        "post_mlp_layernorm": "norm2",
    }
    original: dict[str, torch.Tensor] = {}
    for name, tensor in weights.items():
        if "k_proj" in name or "v_proj" in name:
            continue
        if "q_proj" in name:
            parts = [weights[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            original[f"encoder.{name.replace('self_attn.q_proj', 'attn.Wqkv')}"] = torch.cat(parts)
            continue
        renamed = name
        for new, old in renamings.items():
            renamed = renamed.replace(new, old)
        original[renamed] = tensor
    return original


def original_nomic_config(config: NomicBertConfig) -> dict[str, Any]:
    code = "nomic-ai/nomic-bert-2048--"
    return {
        "activation_function": "swiglu",
        "architectures": ["NomicBertModel"],
        "attn_pdrop": 0.0,
        "auto_map": {
            "AutoConfig": f"{code}configuration_hf_nomic_bert.NomicBertConfig",
            "AutoModel": f"{code}modeling_hf_nomic_bert.NomicBertModel",
            "AutoModelForMaskedLM": f"{code}modeling_hf_nomic_bert.NomicBertForPreTraining",
        },
        "bos_token_id": None,
        "causal": False,
        "dense_seq_output": True,
        "embd_pdrop": 0.0,
        "eos_token_id": None,
        "fused_bias_fc": True,
        "fused_dropout_add_ln": True,
        "initializer_range": 0.02,
        "layer_norm_epsilon": config.layer_norm_eps,
        "max_trained_positions": 512,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "model_type": "nomic_bert",
        "n_embd": config.hidden_size,
        "n_head": config.num_attention_heads,
        "n_inner": config.intermediate_size,
        "n_layer": config.num_hidden_layers,
        "n_positions": config.max_position_embeddings,
        "pad_vocab_size_multiple": 64,
        "parallel_block": False,
        "parallel_block_tied_norm": False,
        "prenorm": False,
        "qkv_proj_bias": False,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": 0.0,
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "summary_activation": None,
        "summary_first_dropout": 0.0,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "torch_dtype": "float32",
        "transformers_version": "4.37.2",
        "type_vocab_size": config.type_vocab_size,
        "use_cache": True,
        "use_flash_attn": True,
        "use_rms_norm": False,
        "use_xentropy": True,
        "vocab_size": config.vocab_size,
    }


def write_tiny_mpnet(folder: Path) -> None:
    """all-mpnet-base-v2's pipeline, with its 514 positions and its ``position_ids``, but all 512 tokens allowed."""
    tokenizer = write_mpnet_tokenizer(folder, ROBERTA_TOKENS)
    config = MPNetConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=ROBERTA_TOKENS + 2,
        layer_norm_eps=1e-5,
        relative_attention_num_buckets=32,
    )
    model = MPNetModel(config)
    randomize(model, seed=9, norm_center=1.0, linear_std=0.25, other_stds=MPNET_STDS)
    write_model(folder, model, "MPNetForMaskedLM", Pipeline("mean_tokens", max_seq_length=ROBERTA_TOKENS))
    positions = {"embeddings.position_ids": torch.arange(config.max_position_embeddings)[None]}
    save(model.state_dict() | positions, folder)
