"""LoRA adapters: which settings and tensors are taken, and that all others are refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings.checkpoint.adapter_config import read_adapter_config
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.kinds import read_model
from akidb_embeddings.checkpoint.reranker import read_reranker
from akidb_embeddings.errors import CheckpointError
from tests.fixtures import adapter_path, copy_model, edit_json, model_path

BASE = model_path("tiny-bert")
LAYER = "base_model.model.encoder.layer.0.attention.self.value"


@pytest.fixture(name="adapter")
def own_adapter(tmp_path: Path) -> Path:
    return copy_model(adapter_path("tiny-bert-lora"), tmp_path / "adapter")


def edit_tensors(folder: Path, **tensors: Any) -> None:
    """Replace tensors of an adapter; None removes one."""
    file = folder / "adapter_model.safetensors"
    content = load_file(file) | tensors
    save_file({key: np.ascontiguousarray(value) for key, value in content.items() if value is not None}, file)


def refusal(adapter: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(BASE, adapter=adapter)
    return str(caught.value)


# What is taken


def test_every_pair_is_matched_with_a_matrix_of_the_model(adapter: Path) -> None:
    found = read_checkpoint(BASE, adapter=adapter).adapter
    assert found is not None
    assert found.base == "tiny-bert"
    # Query, value and three dense layers of each of three blocks, and the table; not the pooler, which is in the file.
    assert len(found.changes) == 3 * 5 + 1
    assert any("pooler" in key for key in load_file(adapter / "adapter_model.safetensors"))
    by_layer = {change.layer: change for change in found.changes}
    assert by_layer["embeddings.word_embeddings"].transposed
    assert by_layer["encoder.layer.0.attention.self.value"].scaling == 1 / 4
    assert by_layer["encoder.layer.0.attention.self.query"].scaling == 6 / 4
    assert by_layer["encoder.layer.1.attention.self.query"].scaling == 6 / 3
    assert by_layer["encoder.layer.1.attention.output.dense"].scaling == 6 / 2
    assert by_layer["encoder.layer.0.intermediate.dense"].scaling == 12 / 4


def test_a_pooler_that_the_model_was_saved_without(adapter: Path, tmp_path: Path) -> None:
    base = copy_model("tiny-bert", tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    save_file({name: one for name, one in tensors.items() if "pooler" not in name}, base / "model.safetensors")
    found = read_checkpoint(base, adapter=adapter).adapter
    assert found is not None
    assert not any("pooler" in change.layer for change in found.changes)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "gaussian"},
        {"bias": None, "loftq_config": {}, "target_modules": "all-linear", "peft_version": "99"},
        {"layers_to_transform": [0], "lora_dropout": 0.3, "task_type": "FEATURE_EXTRACTION"},
    ],
)
def test_settings_that_change_no_product_are_taken(adapter: Path, settings: dict[str, Any]) -> None:
    edit_json(adapter / "adapter_config.json", **settings)
    assert read_checkpoint(BASE, adapter=adapter).adapter


@pytest.mark.parametrize(
    ("pattern", "module", "matches"),
    [
        ("value", "layer.0.value", True),
        ("value", "layer.0.values", False),
        ("alue", "layer.0.value", False),
        ("^layer.0.value", "layer.0.value", True),
        ("^layer.0.value", "encoder.layer.0.value", False),
        (r"layer\.\d\.value", "encoder.layer.0.value", True),
        ("key|value", "layer.0.value", True),
    ],
)
def test_patterns_match_as_in_peft(adapter: Path, pattern: str, module: str, matches: bool) -> None:
    """``re.match(rf"(.*\\.)?({pattern})$", module)`` of PEFT's get_pattern_key."""
    edit_json(adapter / "adapter_config.json", alpha_pattern={pattern: 20}, rank_pattern={})
    assert read_adapter_config(adapter).scaling(module) == (20 if matches else 6) / 4


# Settings that are refused


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("bias", "lora_only"),
        ("bias", "all"),
        ("lora_bias", True),
        ("peft_type", "IA3"),
        ("peft_type", "VERA"),
        ("modules_to_save", ["pooler"]),
        ("target_parameters", ["experts.weight"]),
        ("trainable_token_indices", [1, 2]),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("alora_invocation_tokens", [5]),
        ("use_qalora", True),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_16"),
        ("init_lora_weights", "olora"),
        ("megatron_config", {"a": 1}),
        ("a_setting_of_tomorrow", 0.5),
    ],
)
def test_settings_that_would_be_computed_otherwise_are_refused_by_name(adapter: Path, key: str, value: object) -> None:
    edit_json(adapter / "adapter_config.json", **{key: value})
    message = refusal(adapter)
    assert f"sets {key} to {value!r}" in message
    assert "merge_and_unload" in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"peft_type": None}, "no peft_type"),
        ({"r": None}, "does not give r"),
        ({"lora_alpha": None}, "does not give lora_alpha"),
        ({"r": "4"}, "gives r as '4'"),
        ({"lora_alpha": -1}, "gives lora_alpha as -1"),
        ({"use_rslora": "yes"}, "gives use_rslora as 'yes'"),
        ({"alpha_pattern": {"value": "2"}}, "gives '2' to 'value' in alpha_pattern"),
        ({"rank_pattern": {"value": 0}}, "gives 0 to 'value' in rank_pattern"),
        ({"alpha_pattern": {"(a|a)(a|a)": 2}}, "without repetition and parentheses"),
        ({"alpha_pattern": {".*value": 2}}, "without repetition and parentheses"),
        ({"alpha_pattern": {f"a{index}": 2 for index in range(1001)}}, "at most 1000"),
        ({"r": 5}, "gives the rank 5"),
        ({"rank_pattern": {}}, "gives the rank 4"),
    ],
)
def test_settings_that_make_no_sense(adapter: Path, settings: dict[str, Any], words: str) -> None:
    edit_json(adapter / "adapter_config.json", **settings)
    assert words in refusal(adapter)


# Tensors that are refused


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("base_model.model.encoder.layer.0.output.dense.bias", "no LoRA tensor"),
        ("base_model.model.pooler.dense.weight", "no LoRA tensor"),
        ("base_model.model.embeddings.word_embeddings.base_layer.weight", "no LoRA tensor"),
        ("base_model.model.encoder.layer.0.output.dense.lora_magnitude_vector", "no LoRA tensor"),
        ("encoder.layer.0.output.dense.lora_A.weight", "no LoRA tensor"),
        ("base_model.model.encoder.layer.0.attention.self.key.lora_A.weight", "not one A and one B"),
    ],
)
def test_a_tensor_that_is_not_of_a_pair(adapter: Path, name: str, words: str) -> None:
    edit_tensors(adapter, **{name: np.zeros((4, 32), np.float32)})
    message = refusal(adapter)
    assert words in message
    assert name.removeprefix("base_model.model.") in message


def test_a_pair_that_belongs_to_no_matrix(adapter: Path) -> None:
    name = "base_model.model.encoder.layer.9.output.dense"
    edit_json(adapter / "adapter_config.json", rank_pattern={}, r=1)
    edit_json(adapter / "adapter_config.json", alpha_pattern={})
    file = adapter / "adapter_model.safetensors"
    save_file(
        {
            f"{name}.lora_A.weight": np.zeros((1, 32), np.float32),
            f"{name}.lora_B.weight": np.zeros((32, 1), np.float32),
        },
        file,
    )
    assert "the model has no encoder.layer.9.output.dense.weight" in refusal(adapter)


@pytest.mark.parametrize("shapes", [((4, 31), (32, 4)), ((4, 32), (1, 4)), ((4, 32), (64, 4))])
def test_a_pair_of_another_shape(adapter: Path, shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    down, up = (np.zeros(shape, np.float32) for shape in shapes)
    edit_tensors(adapter, **{f"{LAYER}.lora_A.weight": down, f"{LAYER}.lora_B.weight": up})
    message = refusal(adapter)
    assert f"by a matrix of shape ({shapes[1][0]}, {shapes[0][1]}), but the model's has (32, 32)" in message


def test_a_rank_that_the_two_matrices_do_not_share(adapter: Path) -> None:
    edit_tensors(adapter, **{f"{LAYER}.lora_A.weight": np.zeros((3, 32), np.float32)})
    assert "matrices of shapes (3, 32) and (32, 4)" in refusal(adapter)


def test_a_tensor_of_integers(adapter: Path) -> None:
    edit_tensors(adapter, **{f"{LAYER}.lora_A.weight": np.zeros((4, 32), np.int32)})
    assert "as I32" in refusal(adapter)


def test_the_shape_of_a_quantized_matrix_is_that_of_its_numbers(tmp_path: Path) -> None:
    base = copy_model("tiny-qwen3", tmp_path / "base")
    from tests.random_models import quantize_folder

    quantize_folder(base, tmp_path / "packed", tmp_path / "expanded", lambda name: (4, 32, "affine"))
    adapter = copy_model(adapter_path("tiny-qwen3-lora"), tmp_path / "adapter")
    assert read_checkpoint(tmp_path / "packed", adapter=adapter).adapter
    name = "base_model.model.layers.0.mlp.down_proj.lora_A.weight"
    columns = load_file(adapter / "adapter_model.safetensors")[name].shape[1]
    edit_tensors(adapter, **{name: np.zeros((4, columns // 8), np.float32)})
    with pytest.raises(CheckpointError, match=rf"but the model's has \(32, {columns}\)"):
        read_checkpoint(tmp_path / "packed", adapter=adapter)


def test_an_adapter_of_nothing(adapter: Path) -> None:
    save_file({}, adapter / "adapter_model.safetensors")
    assert "would change nothing" in refusal(adapter)


def test_files_that_are_missing(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    assert "adapter_model.safetensors is missing" in refusal(adapter)
    (adapter / "adapter_config.json").unlink()
    assert "is no LoRA adapter: it has no adapter_config.json" in refusal(adapter)


# An adapter in the place of a model


@pytest.mark.parametrize(
    ("read", "way_out"),
    [
        (read_checkpoint, "Give that model in its place, and this as adapter; a server takes adapters from its"),
        (read_model, "Give that model in its place, and this as adapter; a server takes adapters from its"),
        (read_reranker, "Rerankers take no adapters: merge this one with PEFT's merge_and_unload"),
    ],
)
def test_an_adapter_is_no_model(read: Any, way_out: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(adapter_path("tiny-bert-lora"))
    assert "is no whole model but a LoRA adapter, which changes the weights of tiny-bert" in str(caught.value)
    assert way_out in str(caught.value)


# The digest


def test_the_digest_is_that_of_model_and_adapter(adapter: Path, tmp_path: Path) -> None:
    alone, both = read_checkpoint(BASE).digest, read_checkpoint(BASE, adapter=adapter).digest
    moved = copy_model(adapter, tmp_path / "elsewhere")
    assert read_checkpoint(BASE, adapter=moved).digest == both != alone
    edit_json(moved / "adapter_config.json", lora_alpha=7)
    scaled = read_checkpoint(BASE, adapter=moved).digest
    edit_tensors(moved, **{f"{LAYER}.lora_A.weight": np.ones((4, 32), np.float32)})
    assert len({alone, both, scaled, read_checkpoint(BASE, adapter=moved).digest}) == 4
