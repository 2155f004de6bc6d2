"""Rotary position embeddings that are stretched: transformers' frequencies, or a refusal."""

from typing import Any

import numpy as np
import pytest

from akidb_embeddings.architectures.rope import read_rope
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import CheckpointError

LLAMA3: dict[str, Any] = {
    "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
YARN: dict[str, Any] = {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 16384}
MINISTRAL = YARN | {"beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0}
# From ROPE_INIT_FUNCTIONS of transformers 5.24: radians per token of each pair, and the factor.
_YARN = (
    *(1.0, 0.4216965, 0.1778279, 0.07498942, 0.03162278, 0.01333521, 0.004569023, 0.001482109, 0.0004375),
    *(0.0001054241, 1.111425e-05, 4.686839e-06, 1.976423e-06, 8.334509e-07, 3.514633e-07, 1.482109e-07),
)
EXPECTED: dict[str, tuple[dict[str, Any], float, tuple[float, ...], float]] = {
    "llama3": (
        LLAMA3,
        500_000.0,
        (
            *(1.0, 0.4403666, 0.1939228, 0.0853971, 0.03760603, 0.01656044, 0.007292665, 0.003211446, 0.0004295567),
            *(1.946164e-05, 8.570256e-06, 3.774054e-06, 1.661967e-06, 7.318749e-07, 3.222933e-07, 1.419272e-07),
        ),
        1.0,
    ),
    "yarn": (YARN, 1e6, _YARN, 1.2772588722239782),
    "yarn of Ministral": (MINISTRAL, 1e6, _YARN, 1.0),
    "yarn with all settings": (
        YARN | {"beta_fast": 8.0, "beta_slow": 2.0, "truncate": False, "mscale": 0.7, "mscale_all_dim": 1.3},
        1e6,
        (
            *(1.0, 0.4216965, 0.1778279, 0.07498942, 0.03162278, 0.01333521, 0.005623413, 0.001958357, 0.0002418998),
            *(2.635603e-05, 1.111425e-05, 4.686839e-06, 1.976423e-06, 8.334509e-07, 3.514633e-07, 1.482109e-07),
        ),
        0.8777191591153677,
    ),
    "yarn with a factor": (
        YARN | {"factor": 4.0, "original_max_position_embeddings": 256, "attention_factor": 1.5},
        1e4,
        (1.0, 0.2569351, 0.0625, 0.01383497, 0.0025, 0.0007905695, 0.00025, 7.905695e-05),
        1.5,
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_frequencies_are_those_of_transformers(name: str) -> None:
    entry, theta, frequencies, factor = EXPECTED[name]
    newer = read_rope({"rope_parameters": {**entry, "rope_theta": theta}}, 2 * len(frequencies))
    older = read_rope({"rope_scaling": entry, "rope_theta": theta}, 2 * len(frequencies))
    for rope in (newer, older):
        assert rope.periods is not None
        np.testing.assert_allclose(1 / np.array(rope.periods), frequencies, rtol=2e-6)
        assert rope.factor == pytest.approx(factor)


def test_vectors_are_rotated_by_them_and_multiplied() -> None:
    entry, theta, frequencies, factor = EXPECTED["yarn with a factor"]
    rope = read_rope({"rope_scaling": entry, "rope_theta": theta}, 16)
    x = np.random.default_rng(0).standard_normal((1, 1, 300, 16)).astype(np.float32)
    angles = np.arange(300)[:, None] * np.array(frequencies)
    first, second = x[..., :8], x[..., 8:]
    expected = np.concatenate(
        [first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles)], axis=-1
    )
    np.testing.assert_allclose(np.array(rope(mx.array(x))), factor * expected, atol=2e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type to 'dynamic'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "lacks 'factor'"),
        ({"rope_scaling": LLAMA3 | {"mrope_section": [8, 8]}}, "mrope_section, which is not implemented"),
        ({"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, "low_freq_factor as 4.0, not below"),
        ({"rope_scaling": LLAMA3 | {"factor": None}}, "lacks 'factor'"),
        ({"rope_scaling": LLAMA3 | {"factor": "8"}}, "factor as '8'"),
        ({"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 0}}, "original_max_position_embeddings as 0"),
        ({"rope_scaling": LLAMA3 | {"partial_rotary_factor": 0.5}}, "partial_rotary_factor to 0.5"),
        ({"rope_scaling": LLAMA3, "partial_rotary_factor": 0.5}, "partial_rotary_factor to 0.5"),
        ({"rope_scaling": YARN | {"truncate": "no"}}, "truncate to 'no'"),
        ({"rope_scaling": LLAMA3, "rope_parameters": YARN}, "they disagree"),
        ({"rope_scaling": YARN, "rope_parameters": YARN | {"factor": 4.0}}, "they disagree"),
        ({"rope_scaling": {"rope_type": "default"}, "rope_parameters": YARN}, "they disagree"),
        ({"rope_scaling": LLAMA3 | {"type": "yarn"}}, "rope_type as 'llama3' and type as 'yarn'; they disagree"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, "rope_theta as .*; they disagree"),
        ({"rope_scaling": LLAMA3 | {"rope_theta": 1e4}}, "rope_theta as .* and as .*; they disagree"),
        ({"rope_scaling": LLAMA3, "rope_theta": None}, "lacks 'rope_theta'"),
        ({"rope_parameters": {"full_attention": LLAMA3}}, "by layer type"),
    ],
)
def test_what_is_not_implemented_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_rope({"rope_theta": 5e5, **config} | {"model_type": "llama_bidirec"}, 64)
