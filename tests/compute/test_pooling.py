"""Pooling of right-padded rows."""

import numpy as np
import pytest

from akidb_embeddings.compute.pooling import pool
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.registry.poolings import POOLINGS

HIDDEN = np.arange(2 * 3 * 2, dtype=np.float32).reshape(2, 3, 2)
LENGTHS = np.array([3, 2], dtype=np.int32)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("cls", [[0, 1], [6, 7]]), ("last", [[4, 5], [8, 9]]), ("mean", [[2, 3], [7, 8]])],
)
def test_each_strategy(strategy: str, expected: list[list[float]]) -> None:
    pooled = pool(mx.array(HIDDEN), LENGTHS, strategy)
    assert pooled.dtype == mx.float32
    assert np.array(pooled).tolist() == expected


@pytest.mark.parametrize("strategy", POOLINGS)
def test_nan_in_the_padding_does_not_leak(strategy: str) -> None:
    spoilt = HIDDEN.copy()
    spoilt[1, 2] = np.nan
    np.testing.assert_array_equal(
        np.array(pool(mx.array(spoilt), LENGTHS, strategy)), np.array(pool(mx.array(HIDDEN), LENGTHS, strategy))
    )


def test_half_precision_is_summed_in_float32() -> None:
    hidden = mx.full((1, 3000, 4), 100.0, dtype=mx.float16)
    assert np.array(pool(hidden, np.array([3000], dtype=np.int32), "mean")).tolist() == [[100.0] * 4]


def test_an_unknown_strategy_lists_the_known() -> None:
    with pytest.raises(ValueError, match="mean, cls, last"):
        pool(mx.array(HIDDEN), LENGTHS, "max")
