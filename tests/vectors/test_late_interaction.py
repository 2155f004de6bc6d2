"""MaxSim, against its definition."""

from typing import Any

import numpy as np
import pytest

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors import late_interaction
from akidb_embeddings.vectors.late_interaction import maxsim


def texts(generator: np.random.Generator, *sizes: int) -> list[np.ndarray[Any, Any]]:
    return [generator.normal(size=(size, 4)).astype(np.float32) for size in sizes]


@pytest.mark.parametrize("most", [1, 20, 1 << 24])
def test_the_highest_products_of_each_token_are_added_up(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_interaction, "_MOST_PRODUCTS", most)
    generator = np.random.default_rng(1)
    queries, documents = texts(generator, 3, 1, 7), texts(generator, 5, 1, 2, 9)
    expected = [[sum(max(q @ d for d in document) for q in query) for document in documents] for query in queries]
    found = maxsim(queries, documents)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_text_without_a_token_is_like_nothing() -> None:
    queries, documents = texts(np.random.default_rng(2), 2, 0), texts(np.random.default_rng(3), 0, 3)
    assert (maxsim(queries, documents) != 0).tolist() == [[False, True], [False, False]]
    assert maxsim([], documents).shape == (0, 2)
    assert maxsim(queries, []).shape == (2, 0)


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([np.zeros((2, 4)), np.zeros(4)], r"documents\[1\] has shape \(4,\)"),
        ([np.full((2, 4), np.nan)], r"documents\[0\] has NaN"),
        ([np.zeros((2, 3))], "3 and 4 dimensions"),
        (["text"], r"documents\[0\] has the dtype"),
    ],
)
def test_other_arrays_are_refused(documents: list[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        maxsim([np.ones((1, 4))], documents)
