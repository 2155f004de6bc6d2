"""Model folders that are damaged, contradict themselves, or want what no forward pass here computes."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import MODELS
from tests.fixtures import copy_model, edit_json, model_path


def test_architectures_that_are_not_supported(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model", model_type="t5")
    with pytest.raises(CheckpointError, match=r"'t5'; supported: bert, .*, xlm-roberta, .*, gemma3_text"):
        read_checkpoint(folder)


def test_another_dimension_than_the_registry_names_both(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"32 dimensions, but minilm-l6-v2 has 384"):
        read_checkpoint(model_path("tiny-bert"), MODELS["minilm-l6-v2"])
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rope_parameters", {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}, "lacks 'original_max_pos"),
        ("rope_parameters", {"type": "dynamic", "factor": 8.0}, "rope_type to 'dynamic'"),
        ("rope_scaling", {"type": "linear", "factor": 8.0}, "they disagree"),
        ("use_sliding_window", True, "use_sliding_window to True"),
        ("hidden_act", "gelu", "hidden_act to 'gelu'"),
        ("head_dim", None, "lacks 'head_dim'"),
        (
            "layer_types",
            ["full_attention", "sliding_attention", "full_attention"],
            "layer_types to 'sliding_attention'",
        ),
        ("rope_parameters", None, "lacks 'rope_theta'"),
        ("rope_parameters", [1], "rope_parameters as"),
        ("vocab_size", None, "vocab_size as None"),
        ("auto_map", {"AutoModel": "modeling.Custom"}, "auto_map"),
        ("quantization", 4, "quantization as 4"),
    ],
)
def test_settings_the_forward_pass_does_not_implement(tmp_path: Path, key: str, value: object, message: str) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    edit_json(folder / "config.json", **{key: value})
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))


@pytest.mark.parametrize("file", ["config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json"])
def test_damaged_json_is_named(tmp_path: Path, file: str) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / file).write_text("{")
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        EmbeddingService(str(folder))


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("tiny-bert", "is_decoder", True, "is_decoder to True"),
        ("tiny-bert", "num_attention_heads", 5, "not divisible by 5"),
        ("tiny-bert", "position_embedding_type", "relative_key", "relative_key"),
        ("tiny-gemma3-causal", "is_causal", False, "is_causal to False"),
        ("tiny-gemma3", "layer_types", ["chunked_attention"] * 6, "'chunked_attention'"),
    ],
)
def test_settings_of_other_architectures(tmp_path: Path, name: str, key: str, value: object, message: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    edit_json(folder / "config.json", **{key: value})
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))


@pytest.mark.parametrize("value", [8, "8", [8, 0], [8.0], [True], {"8": 1}])
def test_lengths_that_are_none(tmp_path: Path, value: object) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model", matryoshka_dimensions=value)
    with pytest.raises(
        CheckpointError,
        match=r"matryoshka_dimensions as .*; it must be a list of at most 65536 items, each an integer from 1",
    ):
        read_checkpoint(folder)


def test_a_default_prompt_that_does_not_exist(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", prompts={"a": "b"}, default_prompt_name="c")
    with pytest.raises(CheckpointError, match="default_prompt_name is 'c', but the prompts are a"):
        read_checkpoint(folder)


def test_an_adapter_is_not_taken_for_its_model(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="adapter"):
        read_checkpoint(folder)


def test_a_tensor_that_is_there_twice(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    name = "embeddings.LayerNorm.weight"
    save_file({**tensors, f"bert.{name}": tensors[name]}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"embeddings\.LayerNorm\.weight twice"):
        read_checkpoint(folder)
