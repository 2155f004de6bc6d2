"""Settings of config.json that are not what they should be: refused by name, never computed with."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import CheckpointError, EmbeddingService
from tests.fixtures import copy_model, edit_json

ODD: list[tuple[str, str, Any]] = [
    ("tiny-modernbert", "local_attention", 0),
    ("tiny-modernbert", "local_attention", True),
    ("tiny-modernbert", "layer_types", ["full_attention"]),
    ("tiny-modernbert", "layer_types", 5),
    ("tiny-modernbert", "norm_eps", "1e-5"),
    ("tiny-modernbert", "num_attention_heads", 0),
    ("tiny-modernbert", "num_attention_heads", "2"),
    ("tiny-modernbert", "rope_parameters", {"rope_type": "yarn", "factor": 4}),
    ("tiny-xlm-roberta", "pad_token_id", "1"),
    ("tiny-xlm-roberta", "layer_norm_eps", 0),
    ("tiny-mpnet", "relative_attention_num_buckets", 16),
    ("tiny-nomic-bert", "rotary_emb_base", "x"),
    ("tiny-nomic-bert", "rotary_scaling_factor", 2),
    ("tiny-nomic-bert", "activation_function", "relu"),
    ("tiny-nomic-bert", "mlp_fc1_bias", True),
    ("tiny-nomic-bert", "num_experts", 8),
    ("tiny-nomic-moe", "activation_function", "swiglu"),
    ("tiny-nomic-moe", "moe_normalize_expert_weights", True),
    ("tiny-nomic-moe", "expert_choice_router", True),
    ("tiny-nomic-moe", "num_shared_experts", 1),
    ("tiny-nomic-moe", "ffn_div", 2),
    ("tiny-nomic-moe", "moe_top_k", 5),
    ("tiny-nomic-moe", "moe_top_k", "2"),
    ("tiny-nomic-moe", "moe_every_n_layers", 0),
    ("tiny-nomic-moe", "moe_every_n_layers", None),
    ("tiny-nomic-moe", "num_experts", 2.5),
    ("tiny-gte", "rope_scaling", {"type": "ntk"}),
    ("tiny-gte", "rope_scaling", {"type": "ntk", "factor": 8, "mixed_b": 0.5}),
    ("tiny-gte", "rope_scaling", {"type": "dynamic", "factor": 8}),
    ("tiny-gte", "rope_parameters", {"rope_type": "default", "rope_theta": 20000}),
    ("tiny-gte", "logn_attention_scale", True),
    ("tiny-gte", "layer_norm_type", "rms_norm"),
    ("tiny-gte", "position_embedding_type", "absolute"),
    ("tiny-gte", "auto_map", {"AutoModel": "modeling.GteModel"}),
    ("tiny-gte", "architectures", ["NewForSequenceClassification"]),
    ("tiny-jina", "position_embedding_type", "absolute"),
    ("tiny-jina", "feed_forward_type", "reglu"),
    ("tiny-jina", "auto_map", {"AutoModel": "modeling_bert.NewModel"}),
    ("tiny-pplx", "use_bidirectional_attention", False),
    ("tiny-pplx", "rope_parameters", {"full_attention": {"rope_theta": 1e4}}),
    ("tiny-eurobert", "hidden_act", "gelu"),
    ("tiny-eurobert", "mlp_bias", True),
    ("tiny-eurobert", "is_causal", True),
    ("tiny-eurobert", "is_decoder", True),
    ("tiny-eurobert", "clip_qkv", 8),
    ("tiny-eurobert", "rope_scaling", {"rope_type": "dynamic", "factor": 2}),
    ("tiny-eurobert", "auto_map", {"AutoModel": "modeling.OtherModel"}),
    ("tiny-llama-bidirec", "auto_map", {"AutoModel": "modeling.LlamaModel"}),
    ("tiny-voyage", "num_labels", 47),
    ("tiny-voyage", "num_labels", "48"),
    ("tiny-voyage", "num_labels", None),
    ("tiny-voyage", "is_causal", True),
    ("tiny-qwen2-bidirec", "layer_types", ["sliding_attention", "full_attention"]),
    ("tiny-qwen2-bidirec", "use_sliding_window", True),
    ("tiny-qwen2-bidirec", "auto_map", {"AutoModel": "modeling.Qwen2Model"}),
    ("tiny-lfm2", "conv_bias", True),
    ("tiny-lfm2", "conv_L_cache", 5),
    ("tiny-lfm2", "layer_types", ["conv"]),
    ("tiny-lfm2", "layer_types", ["conv", "full_attention", "conv", "sliding_attention"]),
    ("tiny-lfm2", "block_auto_adjust_ff_dim", False),
    ("tiny-lfm2", "block_ff_dim", 176),
    ("tiny-lfm2", "is_causal", True),
    ("tiny-lfm2", "auto_map", {"AutoModel": "modeling.OtherModel"}),
    ("tiny-ministral3", "sliding_window", 64),
    ("tiny-ministral3", "rope_parameters", {"rope_theta": 1e6, "rope_type": "default"}),
    ("tiny-ministral3", "rope_parameters", {"rope_theta": 1e6, "rope_type": "dynamic", "factor": 2}),
    ("tiny-bert", "auto_map", "x"),
    ("tiny-bert", "auto_map", {"AutoModel": "modeling.OtherModel"}),
]


@pytest.mark.parametrize(("name", "key", "value"), ODD)
def test_odd_settings_are_refused(tmp_path: Path, name: str, key: str, value: Any) -> None:
    folder = copy_model(name, tmp_path / "model", **{key: value})
    with pytest.raises(CheckpointError, match="config"):
        EmbeddingService(str(folder))


@pytest.mark.parametrize("value", [0, "3", 1.5])
def test_every_how_many_layers_is_global(tmp_path: Path, value: Any) -> None:
    folder = copy_model("tiny-modernbert", tmp_path / "model", layer_types=[], global_attn_every_n_layers=value)
    with pytest.raises(CheckpointError, match="global_attn_every_n_layers as"):
        EmbeddingService(str(folder))


@pytest.mark.parametrize("value", ["16", True, -4, 0, 999])
def test_a_truncate_dim_that_is_no_length(tmp_path: Path, value: Any) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", truncate_dim=value)
    with pytest.raises(CheckpointError, match=r"truncate_dim as .*; it must be from 1 to 32"):
        EmbeddingService(str(folder))


def test_another_padding_token_moves_the_limit(tmp_path: Path) -> None:
    folder = copy_model("tiny-xlm-roberta", tmp_path / "model", pad_token_id=400)
    with EmbeddingService(str(folder)) as service:
        assert service.checkpoint.max_tokens == 514 - 401


def test_labels_may_be_named_instead_of_counted(tmp_path: Path) -> None:
    names = {str(index): f"LABEL_{index}" for index in range(48)}
    folder = copy_model("tiny-voyage", tmp_path / "model", num_labels=None, id2label=names)
    with EmbeddingService(str(folder)) as service:
        assert service.dimension == 48


def test_a_qwen3_that_attends_both_ways_may_have_no_linear_layer(tmp_path: Path) -> None:
    folder = copy_model("tiny-voyage", tmp_path / "model")
    (folder / "config.native.json").replace(folder / "config.json")
    with pytest.raises(CheckpointError, match=r"does not use: linear\.weight"):
        EmbeddingService(str(folder))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: x for name, x in tensors.items() if name != "linear.weight"}, folder / "model.safetensors")
    with EmbeddingService(str(folder)) as service:
        assert service.dimension == 32
