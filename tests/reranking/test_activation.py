"""Activations on the host: torch's values, without overflow."""

import numpy as np
import pytest

from akidb_embeddings.reranking.activation import activate, sigmoid


def test_sigmoid_over_all_of_float32() -> None:
    largest = float(np.finfo(np.float32).max)
    logits = np.array([-largest, -1e4, -100, -20, -1, -1e-8, 0, 1e-8, 1, 20, 100, 1e4, largest], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        scores = sigmoid(logits)
    exact = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, exact, rtol=1e-6, atol=1e-38)
    assert (np.diff(scores) >= 0).all()
    assert (scores[0], scores[-1]) == (0, 1)


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3)])
def test_shapes_are_kept(shape: tuple[int, ...]) -> None:
    logits = np.ones(shape, np.float32)
    assert activate(logits, "sigmoid").shape == activate(logits, "identity").shape == shape
    assert activate(logits, "identity") is logits
