"""config.json: missing keys and settings that are not implemented are errors that name them."""

import pytest

from akidb_embeddings.checkpoint.arguments import (
    mapping,
    number,
    read_layer_types,
    required,
    rope_theta,
    supported,
    whole,
)
from akidb_embeddings.errors import CheckpointError


def test_required_keys() -> None:
    assert required({"a": 1, "b": 2}, "b", "a") == [2, 1]
    with pytest.raises(CheckpointError, match="qwen3 model lacks 'b'"):
        required({"a": 1, "b": None, "model_type": "qwen3"}, "a", "b")


def test_supported_settings() -> None:
    assert supported({}, "act", "silu", "silu", "gelu") == "silu"
    with pytest.raises(CheckpointError, match=r"act to 'relu'.*'silu', 'gelu'"):
        supported({"act": "relu"}, "act", "silu", "silu", "gelu")


@pytest.mark.parametrize(
    ("config", "kind", "theta"),
    [
        ({"rope_theta": 5e5}, None, 5e5),
        ({"rope_parameters": {"rope_theta": 2e6, "rope_type": "default"}}, None, 2e6),
        ({"rope_parameters": {"full": {"rope_theta": 3e6}, "near": {"rope_theta": 1e3}}}, "near", 1e3),
        ({"rope_scaling": None}, "near", 1e4),
    ],
)
def test_rope_theta_in_old_and_new_files(config: dict[str, object], kind: str | None, theta: float) -> None:
    assert rope_theta(config, kind, "rope_theta", 1e4) == theta


def test_rope_theta_is_not_guessed() -> None:
    with pytest.raises(CheckpointError, match="'rope_theta'"):
        rope_theta({}, None, "rope_theta")


@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_scaled_rope_is_refused(key: str) -> None:
    with pytest.raises(CheckpointError, match="'yarn'"):
        rope_theta({"rope_scaling": {key: "yarn"}}, None, "rope_theta", 1e4)


def test_whole_numbers() -> None:
    assert whole({"n": 3}, "n", 1) == 3
    assert whole({}, "n", 7) == 7
    for value in (0, -1, 1.5, "3", True, None):
        with pytest.raises(CheckpointError, match=r"gives n as .*; it must be an integer from 1"):
            whole({"n": value}, "n", 1)


def test_positive_numbers() -> None:
    assert number({"eps": 1e-5}, "eps", 1.0) == 1e-5
    assert number({}, "eps", 1e-12) == 1e-12
    for value in (0, -1e-5, "1e-5", True, None, float("nan")):
        with pytest.raises(CheckpointError, match=r"gives eps as .*; it must be a positive, finite number"):
            number({"eps": value}, "eps", 1.0)


def test_kinds_of_layers_are_as_many_as_layers() -> None:
    kinds = ["full_attention", "sliding_attention"]
    assert read_layer_types({"layer_types": kinds}, 2) == kinds
    assert read_layer_types({}, 2) == []
    for given in (kinds[:1], [*kinds, "full_attention"], 5, "full_attention"):
        with pytest.raises(CheckpointError, match=r"layer_types as .*; it must list the types of 2 layers"):
            read_layer_types({"layer_types": given}, 2)


def test_rope_for_all_layers_alike_is_not_passed_over_where_kinds_differ() -> None:
    for rope in ({"rope_theta": 8e4}, {"rope_type": "yarn", "factor": 4}):
        with pytest.raises(CheckpointError, match="the same rope_parameters for all layers"):
            rope_theta({"rope_parameters": rope}, "full_attention", "global_rope_theta", 1e4)


def test_what_must_be_an_object() -> None:
    assert mapping({}, "auto_map") == {}
    with pytest.raises(CheckpointError, match="auto_map as 'x'; it must be an object"):
        mapping({"auto_map": "x"}, "auto_map")
