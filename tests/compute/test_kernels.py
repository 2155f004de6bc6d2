"""Both sets of kernels: exact to float32 rounding, and attention equal to a float64 reference."""

import math
import shutil
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from akidb_embeddings.compute import fused, polynomial
from akidb_embeddings.compute.fused import FUSED, fused_kernels
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.masks import Mask, Visibility
from akidb_embeddings.compute.polynomial import POLYNOMIAL
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
    computed = np.array(polynomial._exp2(mx.array(x)), dtype=np.float64)
    assert np.abs(computed / 2.0 ** x.astype(np.float64) - 1).max() < 3e-7
    assert 0 < np.array(polynomial._exp2(mx.array([-1e30])))[0] < 1.2e-38


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


def limit_blocks(monkeypatch: pytest.MonkeyPatch, few: int, many: int) -> None:
    monkeypatch.setattr(polynomial, "_MAX_FUSED_SCORES", few)
    for module in (polynomial, fused):
        monkeypatch.setattr(module, "_MAX_BLOCK_SCORES", many)


@pytest.fixture(params=["one mask", "blocks with their own masks"], name="masks")
def masks_of_both_kinds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "one mask":
        monkeypatch.setattr(polynomial, "_MAX_MASK_LENGTH", 10)
        monkeypatch.setattr(polynomial, "_MAX_LOCAL_ROWS", 20)
        monkeypatch.setattr(fused, "_MAX_WINDOW_LENGTH", 10)
        monkeypatch.setattr(fused, "_MIN_WINDOW_ROWS", 20)


@pytest.mark.parametrize("many", [1 << 19, 4096], ids=["one block", "blocks"])
@pytest.mark.parametrize("few", [0, 1 << 40], ids=["vectorized", "small"])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize(
    "visibility",
    [
        Visibility(np.full(3, 152, np.int32), 152),
        Visibility(LENGTHS, 152),
        Visibility(LENGTHS, 152, causal=True),
        Visibility(LENGTHS, 152, causal=True, reach=8),
        Visibility(LENGTHS, 152, reach=16),
        Visibility(np.full(3, 152, np.int32), 152, reach=16),
    ],
    ids=["none", "padding", "causal", "causal window", "symmetric window", "window without padding"],
)
@pytest.mark.usefixtures("masks")
def test_attention_equals_float64(
    monkeypatch: pytest.MonkeyPatch, visibility: Visibility, heads: tuple[int, int], few: int, many: int
) -> None:
    limit_blocks(monkeypatch, few, many)
    generator = np.random.default_rng(3)
    q, k, v = (generator.standard_normal((3, n, 152, 16), np.float32) for n in (heads[0], heads[1], heads[1]))
    allowed = visibility.allowed()
    expected = reference(q.astype(np.float64), k.astype(np.float64), v.astype(np.float64), 0.3, allowed)
    # What padding tokens see does not matter: without a mask for padding, a causal model's see more than others'.
    real = np.arange(152) < visibility.lengths[:, None]
    for which in (POLYNOMIAL, FUSED):
        mask = which.mask(visibility, mx.float32)
        computed = np.array(which.attention(mx.array(q), mx.array(k), mx.array(v), 0.3, mask))
        assert np.isfinite(computed).all()
        shown = real[:, None, :, None]
        np.testing.assert_allclose(np.where(shown, computed, 0), np.where(shown, expected, 0), atol=2e-6)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_masks_on_gpus_are_small_finite_and_of_the_compute_dtype(dtype: mx.Dtype) -> None:
    padding: Any = FUSED.mask(Visibility(LENGTHS, 152), dtype)
    assert (padding.shape, padding.dtype) == ((3, 1, 1, 152), dtype)
    assert np.isfinite(np.array(padding.astype(mx.float32))).all()
    assert FUSED.mask(Visibility(LENGTHS, 152, causal=True), dtype) == "causal"
    assert FUSED.mask(Visibility(LENGTHS, 152, causal=True, reach=151), dtype) == "causal"
    window: Any = FUSED.mask(Visibility(LENGTHS, 152, causal=True, reach=8), dtype)
    assert (window.shape, window.dtype) == ((1, 1, 152, 152), dtype)


@pytest.mark.parametrize("length", [1, 152])
def test_nothing_masked_is_no_mask(length: int) -> None:
    full = np.full(2, length, np.int32)
    assert FUSED.mask(Visibility(full, length), mx.float16) is None
    assert FUSED.mask(Visibility(full, length, reach=length), mx.float16) is None
    assert (FUSED.mask(Visibility(full, length, causal=True), mx.float16) is None) == (length == 1)


@pytest.mark.parametrize("which", [POLYNOMIAL, FUSED], ids=["polynomial", "fused"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_long_texts_scores_are_never_held_at_once(
    monkeypatch: pytest.MonkeyPatch, causal: bool, which: Kernels
) -> None:
    """4,096 tokens and 4 heads: 256 MiB of scores, but no more than 2 MiB of them at a time."""
    monkeypatch.setattr(fused, "_MAX_BLOCK_SCORES", 1 << 19)
    q = mx.random.normal((1, 4, 4096, 8))
    visibility = Visibility(np.array([4096], np.int32), 4096, causal=causal)
    mx.eval(q)
    mx.synchronize()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(which.attention(q, q, q, 0.3, which.mask(visibility, mx.float32)))
    assert mx.get_peak_memory() - before < 32 << 20


@pytest.mark.skipif(shutil.which("g++") is None, reason="on a CPU, MLX compiles with the machine's compiler")
@pytest.mark.parametrize("name", EXACT)
def test_one_kernel_computes_the_same(name: str) -> None:
    """In float32 inside, so that 16-bit arrays are rounded once."""
    x = mx.array(np.linspace(-12, 12, 4001).astype(np.float16))
    exact = np.array([EXACT[name](value) for value in np.array(x, dtype=np.float64).tolist()])
    plain, compiled = (getattr(which, name) for which in (FUSED, fused_kernels(compiled=True)))
    for shape in ((4001,), (1, 4001)):
        for computed in (plain(x.reshape(shape)), compiled(x.reshape(shape))):
            assert computed.dtype == mx.float16
            np.testing.assert_allclose(np.array(computed, dtype=np.float64).reshape(-1), exact, rtol=6e-4, atol=4e-6)
        gated = compiled.gated(x.reshape(shape), x.reshape(shape))
        expected = np.array(exact * np.array(x, dtype=np.float64))
        np.testing.assert_allclose(np.array(gated, dtype=np.float64).reshape(-1), expected, rtol=6e-4, atol=4e-5)


@pytest.mark.parametrize("many", [1 << 19, 4096], ids=["one block", "blocks"])
@pytest.mark.parametrize("few", [0, 1 << 40], ids=["vectorized", "small"])
@pytest.mark.parametrize("lengths", [np.full(3, 152, np.int32), LENGTHS], ids=["none", "padding"])
def test_attention_with_a_bias_equals_float64(
    monkeypatch: pytest.MonkeyPatch, lengths: NDArray[np.int32], few: int, many: int
) -> None:
    limit_blocks(monkeypatch, few, many)
    visibility = Visibility(lengths, 152)
    generator = np.random.default_rng(4)
    q, k, v = (generator.standard_normal((3, 4, 152, 16), np.float32) for _ in range(3))
    bias = generator.standard_normal((1, 4, 152, 152), np.float32)
    wide = [x.astype(np.float64) for x in (q, k, v, bias)]
    expected = reference(wide[0], wide[1], wide[2], 0.3, visibility.allowed(), wide[3])
    for which in (POLYNOMIAL, FUSED):
        given = which.bias(mx.array(bias), visibility)
        computed = np.array(which.attention(mx.array(q), mx.array(k), mx.array(v), 0.3, given))
        np.testing.assert_allclose(computed, expected, atol=3e-6)


@pytest.mark.parametrize("limit", [512, 64], ids=["at once", "for each block"])
@pytest.mark.parametrize("many", [1 << 19, 4096], ids=["one block", "blocks"])
@pytest.mark.parametrize("lengths", [np.full(3, 152, np.int32), LENGTHS], ids=["none", "padding"])
def test_attention_with_alibi_equals_float64(
    monkeypatch: pytest.MonkeyPatch, lengths: NDArray[np.int32], limit: int, many: int
) -> None:
    limit_blocks(monkeypatch, 0, many)
    monkeypatch.setattr(polynomial, "_MAX_MASK_LENGTH", limit)
    monkeypatch.setattr(fused, "_MAX_WHOLE_BIAS", limit * 3 * 152)
    visibility = Visibility(lengths, 152)
    generator = np.random.default_rng(4)
    q, k, v = (generator.standard_normal((3, 3, 152, 16), np.float32) for _ in range(3))
    slopes, positions = np.array([0.5, 0.03, 0.7], np.float32), np.arange(152.0)
    bias = -slopes[None, :, None, None].astype(np.float64) * np.abs(positions[:, None] - positions)
    wide = [x.astype(np.float64) for x in (q, k, v)]
    expected = reference(wide[0], wide[1], wide[2], 0.3, visibility.allowed(), bias)
    for which in (POLYNOMIAL, FUSED):
        given = which.alibi(mx.array(slopes), visibility, mx.float32)
        computed = np.array(which.attention(mx.array(q), mx.array(k), mx.array(v), 0.3, given))
        for row, length in enumerate(lengths):  # padding is so far from the keys that its scores are large
            np.testing.assert_allclose(computed[row, :, :length], expected[row, :, :length], atol=3e-6)


@pytest.mark.parametrize("which", [POLYNOMIAL, FUSED], ids=["polynomial", "fused"])
@pytest.mark.parametrize("texts", [1, 2])
def test_alibi_of_a_long_text_does_not_hold_all_biases(
    which: Kernels, texts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would take 128 MiB for one text, and as much for each where texts differ in length."""
    monkeypatch.setattr(fused, "_MAX_WHOLE_BIAS", 1 << 21)
    q = mx.ones((texts, 8, 2048, 8))
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    lengths = np.array([2048, 2000][:texts], np.int32)
    given = which.alibi(mx.full((8,), 0.5), Visibility(lengths, 2048), mx.float32)
    mx.eval(which.attention(q, q, q, 0.3, given))
    assert mx.get_peak_memory() - before < 80 << 20


def test_a_bias_in_float16_hides_too() -> None:
    q = mx.ones((1, 2, 6, 8), dtype=mx.float16)
    v = mx.broadcast_to(mx.arange(6, dtype=mx.float16)[None, None, :, None], (1, 2, 6, 8))
    given = FUSED.bias(mx.zeros((1, 2, 6, 6), dtype=mx.float16), Visibility(np.array([2], np.int32), 6))
    np.testing.assert_allclose(np.array(FUSED.attention(q, q, v, 1.0, given)), 0.5, atol=1e-3)


def test_large_scores_do_not_overflow() -> None:
    q = mx.full((1, 1, 200, 8), 30.0)
    out = POLYNOMIAL.attention(q, q, q, 10.0, None)
    np.testing.assert_allclose(np.array(out), 30.0, rtol=1e-6)
