"""GTE's rotary position embeddings: the authors' scaling and transformers' are the same one, others are refused."""

from typing import Any

import numpy as np
import pytest

from akidb_embeddings.architectures.gte import read_gte_rope
from akidb_embeddings.errors import CheckpointError

NTK = {"rope_theta": 2e4, "rope_scaling": {"type": "ntk", "factor": 8.0}}


@pytest.mark.parametrize(
    "config",
    [
        NTK,
        {"rope_theta": 2e4, "rope_scaling": {"rope_type": "ntk", "factor": 8.0, "mixed_b": None}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1.6e5, "factor": 8 ** (2 / 64)}},
    ],
)
def test_an_extended_range_in_old_and_new_files(config: dict[str, Any]) -> None:
    """Radians per token, as NTKScalingRotaryEmbedding computes them in the authors' code."""
    expected = 1 / ((2e4 * 8) ** (np.arange(0, 64, 2) / 64)) / 8 ** (2 / 64)
    periods = read_gte_rope(config, 64).periods
    assert periods is not None
    np.testing.assert_allclose(1 / np.array(periods), expected, rtol=1e-6)


@pytest.mark.parametrize("scaling", [{}, {"rope_scaling": None}])
def test_without_a_scaling_there_is_the_base_alone(scaling: dict[str, Any]) -> None:
    rope = read_gte_rope({"rope_theta": 2e4} | scaling, 64)
    assert (rope.theta, rope.periods) == (2e4, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "lacks 'rope_theta'"),
        ({"rope_scaling": NTK["rope_scaling"]}, "lacks 'rope_theta'"),
        ({"rope_theta": 2e4, "rope_scaling": {"type": "ntk"}}, "lacks 'factor'"),
        ({"rope_theta": 2e4, "rope_scaling": {"type": "ntk", "factor": 0}}, "factor as 0"),
        ({"rope_theta": 2e4, "rope_scaling": {"type": "ntk", "factor": 8, "mixed_b": 1}}, "mixed_b"),
        ({"rope_theta": 2e4, "rope_scaling": {"rope_type": "dynamic", "factor": 8}}, "rope_type"),
        ({"rope_theta": 2e4, "rope_scaling": {"type": "ntk", "rope_type": "linear", "factor": 8}}, "disagree"),
        ({**NTK, "rope_parameters": {"rope_type": "linear", "factor": 8.0, "rope_theta": 7.0}}, "disagree"),
    ],
)
def test_another_extension_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_gte_rope(config, 64)
