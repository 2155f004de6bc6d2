"""Finished vectors: truncated, then normalized; NaN found, named and never handed out."""

import numpy as np
import pytest

from akidb_embeddings.errors import NonFiniteVectorError
from akidb_embeddings.vectors.finish import finish, non_finite_rows, row_cosines
from tests.conftest import LONG, FakeModel, Start, check, submit

VECTORS = np.array([[3, 4, 12], [0.5, -0.5, 0], [0, 0, 2]], dtype=np.float32)


def test_vectors_are_truncated_before_they_are_normalized() -> None:
    vectors = finish(VECTORS, 2, True)
    np.testing.assert_allclose(vectors[:2], [[0.6, 0.8], [0.5**0.5, -(0.5**0.5)]], rtol=1e-6)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous


@pytest.mark.parametrize("dimensions", [None, 3])
def test_all_dimensions_are_kept_where_none_are_asked_for(dimensions: int | None) -> None:
    np.testing.assert_array_equal(finish(VECTORS, dimensions, False), VECTORS)
    np.testing.assert_allclose(np.linalg.norm(finish(VECTORS, dimensions, True), axis=1), 1, rtol=1e-6)


def test_a_zero_vector_stays_zero() -> None:
    assert finish(VECTORS, 2, True)[2].tolist() == [0, 0]


def test_no_vectors_stay_none() -> None:
    assert finish(np.empty((0, 3), dtype=np.float32), 2, True).shape == (0, 2)


def test_the_given_array_is_left_as_it_is() -> None:
    vectors = VECTORS.copy()
    finish(vectors, None, True)
    np.testing.assert_array_equal(vectors, VECTORS)


def test_rows_with_nan_or_infinity_are_found() -> None:
    vectors = np.ones((5, 3), dtype=np.float32)
    assert non_finite_rows(vectors) == []
    vectors[1, 2], vectors[3, 0], vectors[4, 1] = np.nan, np.inf, -np.inf
    assert non_finite_rows(vectors) == [1, 3, 4]
    assert non_finite_rows(vectors[:0]) == []


def test_row_cosines_compare_each_row_with_its_partner() -> None:
    a = np.array([[3, 4], [0, 0], [1, 0], [1, 0], [1, 1]], dtype=np.float32)
    b = np.array([[6, 8], [1, 0], [0, 2], [-5, 0], [1, 0]], dtype=np.float32)
    found = row_cosines(a, b)
    assert found.dtype == np.float64
    assert found[:4].tolist() == [1, 0, 0, -1]
    assert found[4] == pytest.approx(0.5**0.5, abs=1e-15)
    assert row_cosines(a[:0], b[:0]).shape == (0,)


def test_row_cosines_are_computed_in_float64() -> None:
    """In float32, the squares of the first row would overflow, and those of the second one would vanish."""
    vectors = np.array([[1e30, 1e30], [1e-30, 1e-30]], dtype=np.float32)
    np.testing.assert_allclose(row_cosines(vectors, vectors), 1, rtol=1e-15)
    half = np.array([[300, 300]], dtype=np.float16)  # the same in float16
    np.testing.assert_allclose(row_cosines(half, half), 1, rtol=1e-15)


def test_row_cosines_never_leave_their_range() -> None:
    vectors = np.random.default_rng(0).standard_normal((2000, 7)).astype(np.float32)
    assert row_cosines(vectors, vectors * np.float32(3)).max() <= 1
    assert row_cosines(vectors, -vectors).min() >= -1


def test_a_row_with_nan_fails_only_its_own_request(start: Start) -> None:
    engine = start(model := FakeModel())
    model.spoilt.add(13)
    model.hold()
    submit(engine, [1])
    model.entered()
    good, bad = submit(engine, [2], [3, 3]), submit(engine, [4], [5], [13, 13, 13])
    model.release()
    check(good, [2], [3, 3])
    with pytest.raises(NonFiniteVectorError) as caught:
        bad.result(LONG)
    assert (caught.value.index, caught.value.tokens) == (2, 3)
    assert len(model.forwards) == 2  # they were neighbours in one micro-batch


def test_a_layer_norm_comes_before_the_cut() -> None:
    vectors = np.array([[1.0, 2.0, 3.0, 10.0], [5.0, 5.0, 5.0, 5.0]], dtype=np.float32)
    cut = finish(vectors, 2, normalize=False, layer_norm=True)
    deviation = np.sqrt(vectors[0].var() + 1e-5)
    np.testing.assert_allclose(cut, [[-3 / deviation, -2 / deviation], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(finish(vectors, 2, True, True)[0], [-3 / 13**0.5, -2 / 13**0.5], rtol=1e-6)
