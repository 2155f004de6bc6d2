"""config.json: missing keys and settings that are not implemented are errors that name them."""

import pytest

from akidb_embeddings.architectures.arguments import required, rope_theta, supported
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
