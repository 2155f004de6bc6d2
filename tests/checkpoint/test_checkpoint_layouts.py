"""Other layouts of the same model give the same vectors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.errors import CheckpointError
from tests.fixtures import Array, copy_model, cosines, edit_json, golden, model_path
from tests.golden.texts import TEXTS

SHORT = [index for index, text in enumerate(TEXTS) if len(text) < 1500]


def vectors(folder: Path) -> Array:
    with EmbeddingService(str(folder)) as service:
        return service.embed([TEXTS[index] for index in SHORT])


def assert_golden(folder: Path, name: str) -> None:
    assert cosines(vectors(folder), golden(name)["texts"][SHORT]).min() >= 0.99999


@pytest.mark.parametrize("name", ["tiny-qwen3", "tiny-gemma3"])
def test_config_of_transformers_4_means_the_same(tmp_path: Path, name: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    shutil.move(folder / "config.legacy.json", folder / "config.json")
    assert_golden(folder, name)


def test_window_that_was_halved_already(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    shutil.copyfile(model_path("tiny-gemma3-odd") / "config.json", folder / "config.json")
    assert read_checkpoint(folder).config["sliding_window"] == 33
    assert_golden(folder, "tiny-gemma3")


@pytest.mark.parametrize("newer", [False, True])
def test_global_layers_whose_positions_are_divided(tmp_path: Path, newer: bool) -> None:
    folder = copy_model("tiny-gemma3-causal", tmp_path / "model")
    if newer:
        full = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
        local = {"rope_type": "default", "rope_theta": 1e4}
        edit_json(folder / "config.json", rope_parameters={"full_attention": full, "sliding_attention": local})
    else:
        shutil.copyfile(model_path("tiny-gemma3-linear") / "config.json", folder / "config.json")
    assert_golden(folder, "tiny-gemma3-linear")


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-qwen3", "tiny-gemma3"])
def test_names_with_a_prefix(tmp_path: Path, name: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    prefix = "bert." if name == "tiny-bert" else "model."
    tensors = load_file(folder / "model.safetensors")
    save_file({f"{prefix}{key}": values for key, values in tensors.items()}, folder / "model.safetensors")
    assert_golden(folder, name)


def test_the_first_checkpoints_names_of_layer_norms(tmp_path: Path) -> None:
    """bert-base-uncased has these names; transformers renames them (``conversion_mapping``: legacy)."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    tensors, renamed = load_file(folder / "model.safetensors"), {}
    for key, values in tensors.items():
        old = key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        renamed[f"bert.{old}"] = values
    assert sum("gamma" in key or "beta" in key for key in renamed) == 14
    save_file(renamed, folder / "model.safetensors")
    assert_golden(folder, "tiny-bert")
    np.testing.assert_array_equal(vectors(folder), vectors(model_path("tiny-bert")))


@pytest.mark.parametrize("name", ["tiny-qwen3", "tiny-gemma3"])
def test_sharded_weights(tmp_path: Path, name: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards: dict[str, dict[str, Array]] = {
        "model-00001-of-00002.safetensors": {},
        "model-00002-of-00002.safetensors": {},
    }
    for index, (key, values) in enumerate(sorted(tensors.items())):
        shards[list(shards)[index % 2]][key] = values
    for file, part in shards.items():
        save_file(part, folder / file)
    weight_map = {key: file for file, part in shards.items() for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_golden(folder, name)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    "dropped", [["eos", "1_Pooling"], ["eos", "modules.json"], ["1_Pooling"], ["eos", "1_Pooling", "modules.json"]]
)
def test_qwen3_without_its_end_token_or_pooling_file(tmp_path: Path, dropped: list[str]) -> None:
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    if "eos" in dropped:
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        assert "TemplateProcessing" in json.dumps(tokenizer["post_processor"])
        edit_json(folder / "tokenizer.json", post_processor={"type": "ByteLevel", "add_prefix_space": False,
                                                             "trim_offsets": False, "use_regex": False})  # fmt: skip
    if "1_Pooling" in dropped:
        shutil.rmtree(folder / "1_Pooling")
    if "modules.json" in dropped:
        (folder / "modules.json").unlink()
    assert_golden(folder, "tiny-qwen3")


def test_dense_layers_from_folders_without_modules_json(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    (folder / "modules.json").unlink()
    assert_golden(folder, "tiny-gemma3")


def test_dense_layers_among_the_weights_with_modules_json_but_no_folders(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    for index, name in enumerate(["2_Dense", "3_Dense"]):
        tensors[f"dense.{index}.weight"] = load_file(folder / name / "model.safetensors")["linear.weight"]
        shutil.rmtree(folder / name)
    save_file(tensors, folder / "model.safetensors")
    assert_golden(folder, "tiny-gemma3")


def test_half_precision_weights_are_computed_in_float32(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    save_file({key: values.astype(np.float16) for key, values in tensors.items()}, folder / "model.safetensors")
    assert cosines(vectors(folder), golden("tiny-bert")["texts"][SHORT]).min() >= 0.9999


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = (
        r"no model\.safetensors.*There is pytorch_model\.bin, which is not read, because PyTorch's format may run "
    )
    message += r"code.*SentenceTransformer\('.*/model'\)\.save_pretrained"
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))


def test_a_pickled_dense_layer_is_not_read(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(
        CheckpointError, match=r"2_Dense has no model\.safetensors.*pytorch_model\.bin, which is not read"
    ):
        EmbeddingService(str(folder))
    (folder / "2_Dense" / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"2_Dense has no model\.safetensors.*not downloaded"):
        EmbeddingService(str(folder))


@pytest.mark.parametrize("shape", [(64,), (2, 16, 32), (63, 32)])
def test_dense_weights_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    file = folder / "2_Dense" / "model.safetensors"
    save_file({key: np.zeros(shape, np.float32) for key in load_file(file)}, file)
    with pytest.raises(CheckpointError, match=r"shape|has weights for 32 inputs and 63 outputs"):
        EmbeddingService(str(folder))
