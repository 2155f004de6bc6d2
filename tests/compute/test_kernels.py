"""The polynomial kernels: exact to float32 rounding, and attention equal to a float64 reference."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from akidb_embeddings.architectures.masks import Mask, causal_mask, padding_mask, symmetric_window_mask
from akidb_embeddings.compute import kernels
from akidb_embeddings.compute.kernels import FUSED, POLYNOMIAL, Kernels
from akidb_embeddings.compute.runtime import mx

EXACT = {
    "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2)),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + math.exp(-x)),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("which", [POLYNOMIAL, FUSED], ids=["polynomial", "fused"])
def test_activations_are_exact_to_float32_rounding(name: str, which: Kernels) -> None:
    x = np.concatenate([np.linspace(-30, 30, 20_001), [0.0, 1e-30, -1e-30, 1e4, -1e4 / 16]]).astype(np.float32)
    exact = np.array([EXACT[name](value) for value in x.tolist()])
    computed = np.array(getattr(which, name)(mx.array(x)), dtype=np.float64)
    assert (np.abs(computed - exact) / np.maximum(1, np.abs(x))).max() < 3e-7


def test_exp2_is_exact_and_ends_softly() -> None:
    x = np.linspace(-126, 0, 100_001).astype(np.float32)
    computed = np.array(kernels._exp2(mx.array(x)), dtype=np.float64)
    assert np.abs(computed / 2.0 ** x.astype(np.float64) - 1).max() < 3e-7
    assert 0 < np.array(kernels._exp2(mx.array([-1e30])))[0] < 1.2e-38


def test_nan_stays_nan() -> None:
    """An overflow must reach the check for NaN, not be smoothed into a number."""
    for activation in (POLYNOMIAL.gelu, POLYNOMIAL.gelu_tanh, POLYNOMIAL.silu):
        assert np.isnan(np.array(activation(mx.array([math.nan])))).all()


def reference(
    q: NDArray[np.float64],
    k: NDArray[np.float64],
    v: NDArray[np.float64],
    scale: float,
    mask: Mask | None,
    bias: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    heads = q.shape[1] // k.shape[1]
    k, v = (np.repeat(array, heads, axis=1) for array in (k, v))
    scores = q @ k.swapaxes(-1, -2) * scale
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    result: NDArray[np.float64] = weights / weights.sum(-1, keepdims=True) @ v
    return result


LENGTHS = np.array([40, 7, 150], dtype=np.int32)


@pytest.mark.parametrize("many", [1 << 19, 4096], ids=["one block", "blocks"])
@pytest.mark.parametrize("few", [0, 1 << 40], ids=["vectorized", "small"])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize(
    "mask",
    [None, padding_mask(LENGTHS, 152), causal_mask(152), causal_mask(152, 9), symmetric_window_mask(LENGTHS, 152, 16)],
    ids=["none", "padding", "causal", "causal window", "symmetric window"],
)
def test_attention_equals_float64(
    monkeypatch: pytest.MonkeyPatch, mask: Mask | None, heads: tuple[int, int], few: int, many: int
) -> None:
    monkeypatch.setattr(kernels, "_MAX_FUSED_SCORES", few)
    monkeypatch.setattr(kernels, "_MAX_BLOCK_SCORES", many)
    generator = np.random.default_rng(3)
    q, k, v = (generator.standard_normal((3, n, 152, 16), np.float32) for n in (heads[0], heads[1], heads[1]))
    expected = reference(q.astype(np.float64), k.astype(np.float64), v.astype(np.float64), 0.3, mask)
    for which in (POLYNOMIAL, FUSED):
        given = None if mask is None else which.mask(mask)
        computed = np.array(which.attention(mx.array(q), mx.array(k), mx.array(v), 0.3, given))
        np.testing.assert_allclose(computed, expected, atol=2e-6)


@pytest.mark.parametrize("many", [1 << 19, 4096], ids=["one block", "blocks"])
@pytest.mark.parametrize("few", [0, 1 << 40], ids=["vectorized", "small"])
@pytest.mark.parametrize("mask", [None, padding_mask(LENGTHS, 152)], ids=["none", "padding"])
def test_attention_with_a_bias_equals_float64(
    monkeypatch: pytest.MonkeyPatch, mask: Mask | None, few: int, many: int
) -> None:
    monkeypatch.setattr(kernels, "_MAX_FUSED_SCORES", few)
    monkeypatch.setattr(kernels, "_MAX_BLOCK_SCORES", many)
    generator = np.random.default_rng(4)
    q, k, v = (generator.standard_normal((3, 4, 152, 16), np.float32) for _ in range(3))
    bias = generator.standard_normal((1, 4, 152, 152), np.float32)
    wide = [x.astype(np.float64) for x in (q, k, v, bias)]
    expected = reference(wide[0], wide[1], wide[2], 0.3, mask, wide[3])
    for which in (POLYNOMIAL, FUSED):
        given = which.bias(mx.array(bias), mask)
        computed = np.array(which.attention(mx.array(q), mx.array(k), mx.array(v), 0.3, given))
        np.testing.assert_allclose(computed, expected, atol=3e-6)


def test_a_bias_in_float16_hides_too() -> None:
    q = mx.ones((1, 2, 6, 8), dtype=mx.float16)
    v = mx.broadcast_to(mx.arange(6, dtype=mx.float16)[None, None, :, None], (1, 2, 6, 8))
    given = FUSED.bias(mx.zeros((1, 2, 6, 6), dtype=mx.float16), padding_mask(np.array([2], np.int32), 6))
    np.testing.assert_allclose(np.array(FUSED.attention(q, q, v, 1.0, given)), 0.5, atol=1e-3)


def test_large_scores_do_not_overflow() -> None:
    q = mx.full((1, 1, 200, 8), 30.0)
    out = POLYNOMIAL.attention(q, q, q, 10.0, None)
    np.testing.assert_allclose(np.array(out), 30.0, rtol=1e-6)
