"""Pairs of tokens and weights."""

import numpy as np
import pytest

from akidb_embeddings.vectors.ragged import nonzero_pairs

WEIGHTS = np.array([0, 2, 0, 3, 1, 2, 2, 0], dtype=np.float32)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(None, [1, 3, 4, 5, 6]), (9, [1, 3, 4, 5, 6]), (5, [1, 3, 4, 5, 6]), (3, [1, 3, 5]), (1, [3])],
)
def test_the_highest_weights_are_kept_by_ascending_id(most: int | None, expected: list[int]) -> None:
    pairs = nonzero_pairs(WEIGHTS, most)
    assert pairs["index"].tolist() == expected
    assert pairs["value"].tolist() == WEIGHTS[expected].tolist()


def test_nan_is_kept_before_all_others() -> None:
    pairs = nonzero_pairs(np.array([1, np.nan, 3], dtype=np.float32), 1)
    assert pairs["index"].tolist() == [1]
