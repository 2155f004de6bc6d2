"""modules.json and its folders: what is understood, and what is refused instead of left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.pipeline import dense_layers, read_steps, trained_pooling
from akidb_embeddings.tensor_files import Location


def write(folder: Path, modules: list[tuple[str, str]], **configs: dict[str, Any]) -> Path:
    entries = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (kind, path) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(entries))
    for name, config in configs.items():
        (folder / name.lstrip("_")).mkdir()
        (folder / name.lstrip("_") / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 4}, "last"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({}, None),
    ],
)
def test_pooling_under_old_and_new_keys(tmp_path: Path, config: dict[str, Any], pooling: str | None) -> None:
    write(tmp_path, [("sentence_transformers.models.Pooling", "1_Pooling")], _1_Pooling=config)
    assert trained_pooling(read_steps(tmp_path)) == pooling


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, r"cls \+ mean|mean \+ cls"),
        ({"pooling_mode_max_tokens": True}, "max pooling"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": False}, "include_prompt"),
    ],
)
def test_pooling_that_is_not_supported(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    write(tmp_path, [("a.b.Pooling", "1_Pooling")], _1_Pooling=config)
    with pytest.raises(CheckpointError, match=message):
        trained_pooling(read_steps(tmp_path))


def test_steps_that_are_not_supported_are_named(tmp_path: Path) -> None:
    write(tmp_path, [("sentence_transformers.models.Transformer", ""), ("sentence_transformers.models.CNN", "1_CNN")])
    with pytest.raises(CheckpointError, match="CNN"):
        read_steps(tmp_path)


def test_steps_without_modules_json_go_by_number(tmp_path: Path) -> None:
    for name in ("10_Dense", "2_Dense", "1_Pooling"):
        (tmp_path / name).mkdir()
    assert [(step.kind, step.folder.name) for step in read_steps(tmp_path)] == [
        ("Pooling", "1_Pooling"),
        ("Dense", "2_Dense"),
        ("Dense", "10_Dense"),
    ]


DENSE = {"in_features": 4, "out_features": 8, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}


def test_dense_layers_follow_each_other(tmp_path: Path) -> None:
    second = {"in_features": 8, "out_features": 2, "activation_function": "torch.nn.modules.activation.Tanh"}
    write(tmp_path, [("x.Dense", "2_Dense"), ("x.Dense", "3_Dense")], _2_Dense=DENSE, _3_Dense=second)
    first, last = dense_layers(read_steps(tmp_path), {}, {}, width=4)
    assert (first.outputs, first.bias, first.activation) == (8, False, "Identity")
    assert (last.outputs, last.bias, last.activation) == (2, True, "Tanh")
    with pytest.raises(CheckpointError, match="takes 4 values, but 5 reach it"):
        dense_layers(read_steps(tmp_path), {}, {}, width=5)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"activation_function": "torch.nn.SiLU"}, "SiLU"),
        ({"use_residual": True}, "residual"),
        ({"in_features": None}, "in_features"),
    ],
)
def test_dense_layers_that_are_not_supported(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    write(tmp_path, [("x.Dense", "2_Dense")], _2_Dense={**DENSE, **entry})
    with pytest.raises(CheckpointError, match=message):
        dense_layers(read_steps(tmp_path), {}, {}, width=4)


def test_a_dense_layer_that_is_nowhere_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [("x.Dense", "2_Dense")])
    with pytest.raises(CheckpointError, match="dense layer 0"):
        dense_layers(read_steps(tmp_path), {}, {}, width=4)


def test_a_dense_layer_without_folder_is_measured() -> None:
    packed = {
        "dense.0.weight": Location(Path("f"), "dense.0.weight", (96, 8)),
        "dense.0.scales": Location(Path("f"), "dense.0.scales", (96, 2)),
    }
    [layer] = dense_layers(
        [], packed, {"group_size": 64, "bits": 4, "dense.0": {"group_size": 32, "bits": 4}}, width=64
    )
    assert (layer.inputs, layer.outputs, layer.bias) == (64, 96, False)
