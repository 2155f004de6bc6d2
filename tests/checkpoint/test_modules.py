"""modules.json and its folders: what is understood, and what is refused instead of left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.checkpoint.dense import dense_layers
from akidb_embeddings.checkpoint.modules import (
    TransformerSettings,
    normalizes,
    read_steps,
    trained_pooling,
    transformer_settings,
)
from akidb_embeddings.checkpoint.safetensors import Location
from akidb_embeddings.errors import CheckpointError


def write(folder: Path, modules: list[tuple[str, str]], **configs: dict[str, Any]) -> Path:
    steps = [("Transformer", ""), *modules]
    prefix = "sentence_transformers.models."
    entries = [{"idx": i, "name": str(i), "path": path, "type": prefix + kind} for i, (kind, path) in enumerate(steps)]
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
        ({}, "mean"),
    ],
)
def test_pooling_under_old_and_new_keys(tmp_path: Path, config: dict[str, Any], pooling: str | None) -> None:
    write(tmp_path, [("Pooling", "1_Pooling")], _1_Pooling=config)
    assert trained_pooling(read_steps(tmp_path)) == pooling


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, r"cls \+ mean|mean \+ cls"),
        ({"pooling_mode_max_tokens": True}, "max pooling"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode": 5}, "pooling_mode as 5; it must be a text"),
        ({"pooling_mode": [5]}, r"pooling_mode as \[5\]"),
        ({"pooling_mode": ["mean"] * 100}, "pooling_mode as "),
        ({"pooling_mode_mean_tokens": "false"}, "pooling_mode_mean_tokens as 'false'; it must be true or false"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": False}, "include_prompt"),
    ],
)
def test_pooling_that_is_not_supported(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    write(tmp_path, [("Pooling", "1_Pooling")], _1_Pooling=config)
    with pytest.raises(CheckpointError, match=message):
        trained_pooling(read_steps(tmp_path))


@pytest.mark.parametrize(
    "kinds",
    [
        ["CNN"],
        ["Pooling", "Normalize", "Dense"],
        ["Dense", "Pooling"],
        ["Pooling", "Pooling"],
        ["Pooling", "Normalize", "Normalize"],
        ["Transformer", "Pooling"],
    ],
)
def test_steps_in_another_order_are_refused(tmp_path: Path, kinds: list[str]) -> None:
    write(tmp_path, [(kind, f"{number}_{kind}") for number, kind in enumerate(kinds, 1)])
    with pytest.raises(CheckpointError, match=kinds[-1]):
        read_steps(tmp_path)


def test_code_of_somebody_elses_is_not_taken_for_a_known_step(tmp_path: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "", "type": "custom_st.Transformer"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match=r"custom_st\.Transformer"):
        read_steps(tmp_path)


def test_an_encoder_in_a_folder_of_its_own_is_refused(tmp_path: Path) -> None:
    modules = [{"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match="0_Transformer"):
        read_steps(tmp_path)


def test_a_pooling_folder_without_its_file_says_nothing(tmp_path: Path) -> None:
    write(tmp_path, [("Pooling", "1_Pooling")])
    assert trained_pooling(read_steps(tmp_path)) is None


@pytest.mark.parametrize("file", ["sentence_bert_config.json", "sentence_xlm-roberta_config.json"])
def test_settings_of_the_encoder_under_every_name(tmp_path: Path, file: str) -> None:
    assert transformer_settings(tmp_path) == TransformerSettings(None, False)
    (tmp_path / file).write_text('{"max_seq_length": 64, "do_lower_case": true}')
    assert transformer_settings(tmp_path) == TransformerSettings(64, True)


def test_settings_as_sentence_transformers_6_writes_them(tmp_path: Path) -> None:
    modality = {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}
    written = {
        "transformer_task": "feature-extraction",
        "modality_config": modality,
        "module_output_name": "token_embeddings",
        "unpad_inputs": None,
        "query_length": None,
    }
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(written))
    assert transformer_settings(tmp_path) == TransformerSettings(None, False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config_args", {"num_hidden_layers": 1}),
        ("tokenizer_args", {"do_lower_case": False}),
        ("tokenizer_name_or_path", "other"),
        ("query_length", 32),
        ("module_output_name", "sentence_embedding"),
        ("transformer_task", "fill-mask"),
        ("max_seq_length", "64"),
        ("max_seq_length", 0),
    ],
)
def test_settings_that_are_not_honoured_are_refused(tmp_path: Path, key: str, value: object) -> None:
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({key: value}))
    with pytest.raises(CheckpointError, match=key):
        transformer_settings(tmp_path)


@pytest.mark.parametrize(
    "module",
    [5, [], {}, {"type": 5, "path": ""}, {"type": "Pooling"}, {"type": "Pooling", "path": 5}]
    + [{"type": "Pooling", "path": path} for path in ("..", "a/../..", "/etc", "a" * 300, "a\0b", "a//b")],
)
def test_a_module_that_is_none_or_is_elsewhere(tmp_path: Path, module: object) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([module]))
    with pytest.raises(CheckpointError, match=r"modules\.json (is not a list of modules|gives the path)"):
        read_steps(tmp_path)


def test_more_modules_than_any_model_has(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "Dense", "path": "d"}] * 1000))
    with pytest.raises(CheckpointError, match="lists 1000 modules; at most 32"):
        read_steps(tmp_path)


def test_steps_without_modules_json_go_by_number(tmp_path: Path) -> None:
    for name in ("10_Dense", "2_Dense", "1_Pooling"):
        (tmp_path / name).mkdir()
    assert [(step.kind, step.folder.name) for step in read_steps(tmp_path)][1:] == [
        ("Pooling", "1_Pooling"),
        ("Dense", "2_Dense"),
        ("Dense", "10_Dense"),
    ]


SENTENCE, TOKENS = "sentence_embedding", "token_embeddings"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, True),  # sentence-transformers 5.1 writes no config.json
        ({}, True),
        ({"module_input_name": SENTENCE, "module_output_name": SENTENCE}, True),
        ({"module_input_name": TOKENS, "module_output_name": TOKENS}, False),
        ({"module_input_name": TOKENS}, False),
    ],
)
def test_only_a_normalize_step_on_the_sentence_is_trained_normalization(
    tmp_path: Path, config: dict[str, Any] | None, expected: bool
) -> None:
    configs = {} if config is None else {"_2_Normalize": config}
    write(tmp_path, [("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")], **configs)
    assert normalizes(read_steps(tmp_path)) is expected


@pytest.mark.parametrize(
    "config",
    [
        {"module_input_name": TOKENS, "module_output_name": SENTENCE},
        {"module_input_name": SENTENCE, "module_output_name": "other"},
        {"module_output_name": TOKENS},
        {"module_input_name": "other"},
        {"module_input_name": None},
        {"module_input_name": [SENTENCE]},
    ],
)
def test_a_normalize_step_on_anything_else_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    write(tmp_path, [("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")], _2_Normalize=config)
    with pytest.raises(
        CheckpointError, match=r"2_Normalize/config.json normalizes .*; supported: 'sentence_embedding'"
    ):
        normalizes(read_steps(tmp_path))


DENSE = {"in_features": 4, "out_features": 8, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}


def test_dense_layers_follow_each_other(tmp_path: Path) -> None:
    second = {"in_features": 8, "out_features": 2, "activation_function": "torch.nn.modules.activation.Tanh"}
    write(tmp_path, [("Dense", "2_Dense"), ("Dense", "3_Dense")], _2_Dense=DENSE, _3_Dense=second)
    first, last = dense_layers(read_steps(tmp_path), {}, {}, width=4)
    assert (first.outputs, first.bias, first.activation) == (8, False, "Identity")
    assert (last.outputs, last.bias, last.activation) == (2, True, "Tanh")
    with pytest.raises(CheckpointError, match="takes 4 inputs, but gets 5"):
        dense_layers(read_steps(tmp_path), {}, {}, width=5)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"activation_function": "torch.nn.SiLU"}, "SiLU"),
        ({"use_residual": True}, r"config\.json sets use_residual: this dense layer adds its input"),
        ({"use_residual": "yes"}, "use_residual as 'yes'; it must be true or false"),
        ({"in_features": 4.5}, r"in_features as 4\.5; it must be an integer from 1"),
        ({"out_features": float("inf")}, "out_features as inf"),
        ({"out_features": 10**400}, "out_features as 1000"),
        ({"activation_function": 3}, "activation_function as 3"),
        ({"in_features": None}, "in_features"),
        ({"module_output_name": "other"}, "module_output_name"),
    ],
)
def test_dense_layers_that_are_not_supported(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    write(tmp_path, [("Dense", "2_Dense")], _2_Dense={**DENSE, **entry})
    with pytest.raises(CheckpointError, match=message):
        dense_layers(read_steps(tmp_path), {}, {}, width=4)


def test_a_dense_layer_that_is_nowhere_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [("Dense", "2_Dense")])
    with pytest.raises(CheckpointError, match="dense layer 0"):
        dense_layers(read_steps(tmp_path), {}, {}, width=4)


def test_a_dense_layer_without_folder_is_measured() -> None:
    packed = {
        "dense.0.weight": Location(Path("f"), "dense.0.weight", (96, 8), "F32"),
        "dense.0.scales": Location(Path("f"), "dense.0.scales", (96, 2), "F32"),
    }
    [layer] = dense_layers(
        [], packed, {"group_size": 64, "bits": 4, "dense.0": {"group_size": 32, "bits": 4}}, width=64
    )
    assert (layer.inputs, layer.outputs, layer.bias) == (64, 96, False)


def test_a_path_with_half_a_character(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "Pooling", "path": "\ud800"}]))
    with pytest.raises(CheckpointError, match=r"modules\.json is not valid JSON: it has a lone surrogate"):
        read_steps(tmp_path)
