"""Dot products of sparse vectors, and pairs of weights."""

from typing import Any

import numpy as np
import pytest

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors.ragged import PAIR, highest_pairs, nonzero_pairs, unusable_rows
from akidb_embeddings.vectors.sparse import SparseVector, sparse_similarity

LISTED: Any = [1]


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


def vector(indices: Any, values: Any) -> SparseVector:
    return SparseVector(np.asarray(indices), np.asarray(values))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (vector([3], [np.inf]), "has NaN or infinity, or a value beyond float32"),
        (vector([3, 5], [1, np.nan]), "has NaN or infinity"),
        (vector([3], [1e300]), "has .* a value beyond float32"),
        (vector([-1, 3], [1.0, 1.0]), "has the index -1; 0 to 2147483647 are allowed"),
        (vector([2**40], [1.0]), "has the index 1099511627776; 0 to 2147483647 are allowed"),
        (vector([2, 3, 3], [1.0, 1.0, 1.0]), "has the index 3 after 3; indices ascend, and each is given once"),
        (vector([7, 3], [1.0, 1.0]), "has the index 3 after 7; indices ascend"),
        (vector([1, 2, 3], [1.0, 1.0]), "has 3 indices and 2 values"),
        (vector([1, 2, 3], [1.0]), "has 3 indices and 1 values"),
        (vector([1], 2.0), r"has values of shape \(\); an array \[n\] is expected"),
        (vector([[1, 2]], [1.0]), r"has indices of shape \(1, 2\); an array \[n\] is expected"),
        (vector([1.0], [1.0]), "has indices of the dtype float64; integers are expected"),
        (vector([True], [1.0]), "has indices of the dtype bool; integers are expected"),
        (vector([1], ["a"]), "has values of the dtype <U1; numbers are expected"),
        (SparseVector(LISTED, LISTED), "has indices of type list; a NumPy array is expected"),
        (vector([1], [1j]), "has values of the dtype complex128; numbers are expected"),
    ],
)
def test_a_vector_that_is_none_is_named(wrong: SparseVector, words: str) -> None:
    full, empty = vector([3, 7], [2.0, 1.0]), vector(np.zeros(0, np.int32), [])
    with pytest.raises(InputError, match=r"^a\[2\] " + words) as caught:
        sparse_similarity([full, empty, wrong, full], [full])
    assert (caught.value.field, caught.value.index) == ("a", 2)
    with pytest.raises(InputError, match=r"^b\[0\] " + words):
        sparse_similarity([full], [wrong, full])


def test_a_single_vector_is_refused() -> None:
    full: Any = vector([3], [2.0])
    with pytest.raises(InputError, match=r"^a is of type SparseVector; .* For a single one, give \[a\]\.$"):
        sparse_similarity(full, [full])
    wrong: Any = None
    with pytest.raises(InputError, match=r"^b is of type NoneType; a sequence of SparseVector is expected\.$"):
        sparse_similarity([full], wrong)


def test_a_similarity_does_not_depend_on_the_vectors_before_it() -> None:
    high, low = vector([3], [1e18]), vector([3], [1e-18])
    assert sparse_similarity([low], [high, low])[0, 1] == sparse_similarity([low], [low])[0, 0] > 0
    assert sparse_similarity(iter([low]), iter([low])).shape == (1, 1)


def test_integers_may_be_of_any_size() -> None:
    kinds = [vector(np.array([3, 7], dtype), np.array([1, 2], dtype)) for dtype in (np.uint64, np.int8, np.int64)]
    assert sparse_similarity(kinds, kinds).tolist() == [[5] * 3] * 3


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
