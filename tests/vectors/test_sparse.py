"""Dot products of sparse vectors, and pairs of weights."""

from typing import Any

import numpy as np
import pytest

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors.ragged import PAIR, highest_pairs, nonzero_pairs, unusable_rows
from akidb_embeddings.vectors.sparse import SparseVector, sparse_similarity


def random_vector(generator: np.random.Generator, most: int = 40) -> SparseVector:
    indices = np.sort(generator.choice(50, size=generator.integers(0, most), replace=False)).astype(np.int32)
    return SparseVector(indices, generator.random(len(indices), dtype=np.float32))


def dense(vector: SparseVector) -> np.ndarray[Any, Any]:
    whole = np.zeros(50)
    whole[vector.indices] = vector.values
    return whole


@pytest.mark.parametrize("seed", range(5))
def test_similarities_are_dot_products(seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = ([random_vector(generator) for _ in range(count)] for count in (4, 7))
    found = sparse_similarity(a, b)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[dense(one) @ dense(other) for other in b] for one in a], rtol=1e-6)


def test_there_may_be_no_vectors_and_no_weights() -> None:
    empty = SparseVector(np.zeros(0, np.int32), np.zeros(0, np.float32))
    full = SparseVector(np.array([3], np.int32), np.array([2], np.float32))
    assert sparse_similarity([], [full]).shape == (0, 1)
    assert sparse_similarity([full], []).shape == (1, 0)
    assert sparse_similarity([full, empty], [empty, full]).tolist() == [[0, 4], [0, 0]]
    assert (len(full), repr(empty)) == (1, "SparseVector(0 weights)")


def test_other_vectors_are_refused() -> None:
    full = SparseVector(np.array([3], np.int32), np.array([2], np.float32))
    wrong: Any = [full, np.zeros(3)]
    with pytest.raises(InputError, match=r"b\[1\] is of type ndarray; a SparseVector is expected"):
        sparse_similarity([full], wrong)


def test_the_highest_weight_of_a_token_counts() -> None:
    ids = np.array([7, 3, 7, 5, 3], np.int32)
    pairs = highest_pairs(ids, np.array([1, 2, 4, 0, 1], np.float32))
    assert pairs.dtype == PAIR
    assert pairs.tolist() == [(3, 2), (7, 4)]


def test_what_is_not_a_number_is_neither_dropped_nor_hidden_by_a_higher_weight() -> None:
    nan = np.float32("nan")
    rows = [
        highest_pairs(np.array([3, 3], np.int32), np.array([nan, 9], np.float32)),
        nonzero_pairs(np.array([0, nan, 0], np.float32)),
        nonzero_pairs(np.array([0, 2, 0], np.float32)),
        np.zeros((0, 4), np.float32),
        np.full((2, 4), np.float32("inf")),
    ]
    assert unusable_rows(rows) == [0, 1, 4]
    assert unusable_rows(np.array([[1, nan], [1, 2]], np.float32)) == [0]
