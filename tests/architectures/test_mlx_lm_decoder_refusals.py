"""Decoders that mlx-lm would compute wrongly or not at all, and what is not done with those it computes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.architectures.mlx_lm_decoder import Decoder, _check_causality
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from tests.architectures.tools import LLAMA, MIXED, vectors
from tests.fixtures import copy_model, edit_json


def test_a_tensor_nobody_uses_and_one_that_lacks_are_named(tmp_path: Path) -> None:
    folder = copy_model(LLAMA, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.layers.0.gate.weight": np.ones((2, 2), np.float32)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"does not use: model\.layers\.0\.gate\.weight"):
        EmbeddingService(str(folder))
    for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight"):
        save_file({key: values for key, values in tensors.items() if key != name}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"lacks the tensor {name}"):
            EmbeddingService(str(folder))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"model_type": "mistral", "is_causal": False}, "is_causal to False.*only causal attention"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention to True"),
        (
            {"model_type": "mistral", "architectures": ["MistralBidirectionalModel"]},
            "names MistralBidirectionalModel",
        ),
        ({"auto_map": {"AutoModel": "modeling.Custom"}}, "auto_map"),
        ({"text_config": {}}, "multimodal llama model"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "quantized by 'awq'"),
        ({"num_attention_heads": None}, "llama cannot be built from config.json.*num_attention_heads"),
        ({"hidden_size": None}, "hidden_size as None"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "'longrope'"),
        ({"rope_scaling": {"rope_type": "unheard of", "factor": 2.0}}, "unheard of"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}, "sliding_attention": {}}}, "by layer type"),
        ({"hidden_act": "relu2"}, "hidden_act to 'relu2'.*'silu', 'swish'"),
        (
            {
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
                "rope_scaling": {"rope_type": "linear", "factor": 4},
            },
            "rope_parameters as .* and rope_scaling as .*; they disagree",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor to 0.5, which mlx-lm's llama does not read"),
        ({"model_type": "jamba", "num_experts": 4}, "jamba gives other vectors.*num_experts is 4"),
        ({"model_type": "gpt_oss", "layer_types": 3}, "gpt_oss cannot be built"),
    ],
)
def test_what_mlx_lm_would_compute_wrongly_is_refused(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    folder = copy_model(LLAMA, tmp_path / "model", **entries)
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))


def test_cls_pooling_is_refused_and_an_unknown_one_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"pooling is 'cls'; this llama model.*allows mean or last"):
        EmbeddingService(str(LLAMA), pooling="cls")
    folder = copy_model(LLAMA, tmp_path / "model")
    edit_json(folder / "1_Pooling" / "config.json", pooling_mode_lasttoken=False, pooling_mode_cls_token=True)
    with pytest.raises(CheckpointError, match=r"asks for cls pooling.*mean or last"):
        read_checkpoint(folder)
    shutil.rmtree(folder / "1_Pooling")
    (folder / "modules.json").unlink()
    with pytest.raises(ConfigurationError, match="Set pooling to mean or last, as"):
        EmbeddingService(str(folder))
    np.testing.assert_array_equal(vectors(folder, MIXED, pooling="last"), vectors(LLAMA, MIXED))


def states(peek: bool) -> Any:
    """A decoder of which each token sees those before it, and all of them if it may ``peek``."""

    def module(ids: mx.array, cache: None) -> mx.array:
        x = ids[..., None] * mx.array([0.5, 1.0, 2.0])
        return mx.cumsum(x, axis=1) + (x.sum(axis=1, keepdims=True) if peek else 0)

    return module


def test_a_decoder_whose_tokens_see_what_follows_is_refused() -> None:
    config = {"hidden_size": 3, "vocab_size": 100}
    _check_causality(Decoder(states(peek=False)), config, "it")
    with pytest.raises(CheckpointError, match="tokens attend to later ones"):
        _check_causality(Decoder(states(peek=True)), config, "it")
    with pytest.raises(CheckpointError, match=r"\(2, 16, 3\).*of size 4"):
        _check_causality(Decoder(states(peek=False)), config | {"hidden_size": 4}, "it")


def test_convert_leaves_them_to_mlx_lm(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"by mlx-lm .*mlx_lm\.convert"):
        convert(LLAMA, tmp_path / "out", bits=4)
    assert not (tmp_path / "out").exists()
