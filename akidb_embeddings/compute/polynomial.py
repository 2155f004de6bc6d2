"""Kernels for CPUs, where MLX calls erf, tanh and exp per element.

They compute the same functions from multiplications, additions and one division, with an error of at most 3e-7 |x|. The
coefficients come from ``scripts/fit_kernels.py``; ``tests/compute/test_kernels.py`` checks the errors.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from akidb_embeddings.compute.kernels import Kernels, activation, alibi_bias
from akidb_embeddings.compute.masks import Mask, Visibility
from akidb_embeddings.compute.runtime import mx


def _rational_gate(
    clip: float, numerator: tuple[float, ...], denominator: tuple[float, ...]
) -> Callable[[mx.array], mx.array]:
    """``x * S(x)`` with ``S(x) = 1/2 + y P(y^2)/Q(y^2)``, ``y = clip(x, -clip, clip)``."""

    def function(x: mx.array) -> mx.array:
        y = mx.clip(x, -clip, clip)
        t = y * y
        return x * (y * (_horner(t, numerator) / _horner(t, denominator)) + 0.5)

    return function


def _horner(t: mx.array, coefficients: tuple[float, ...]) -> mx.array:
    """The polynomial in ``t`` with ``coefficients``, lowest degree first."""
    value = t * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        value = value * t + coefficient
    return value


_EXP2 = (1.0000000754548972, 0.6931471880262273, 0.2402210748530968, 0.05550357114222094, 0.009676031918255982,
         0.001339086336353527)  # fmt: skip
_LOG2_E = math.log2(math.e)
# Adding 1.5 * 2^23 to a small float rounds it to an integer and leaves that integer in the low bits.
_ROUND = 12582912.0
_EXPONENT_BIAS = 127 << 23
# Up to this many scores, one call of MLX's scalar softmax is faster than twenty vectorized operations.
_MAX_FUSED_SCORES = 16_384
# Above this many scores, queries are computed in blocks: a long text's scores would exceed the cache, and the memory.
_MAX_BLOCK_SCORES = 1 << 19
_MASKED_SCORE = -1e30
# For longer texts, of which queries see only a part, each block of queries gets its own keys and mask.
_MAX_MASK_LENGTH = 512
_MAX_LOCAL_ROWS = 128


def _exp2(x: mx.array) -> mx.array:
    """2 to the power of ``x <= 0``. Values below -126, where float32 becomes subnormal, count as -126."""
    x = mx.maximum(x, -126.0)
    shifted = x + _ROUND
    fraction = x - (shifted - _ROUND)
    power = mx.view(mx.left_shift(mx.view(shifted, mx.int32), 23) + _EXPONENT_BIAS, mx.float32)
    return _horner(fraction, _EXP2) * power


class _AdditiveMask(NamedTuple):
    """Terms added to the scores of a softmax in base e, and to those of one in base 2."""

    base_e: mx.array
    base_2: mx.array


def _additive_mask(visibility: Visibility, dtype: mx.Dtype) -> _AdditiveMask | Visibility | None:
    """The mask; for a long text of which queries see a part, the description, from which blocks make their masks."""
    if visibility.is_local and visibility.length > _MAX_MASK_LENGTH:
        return visibility
    allowed: Mask | None = visibility.allowed()
    if allowed is None:
        return None
    mask = _additive(allowed)
    return _AdditiveMask(mask, mask)


def _additive(allowed: Mask) -> mx.array:
    return mx.array(np.where(allowed, np.float32(0), np.float32(_MASKED_SCORE)))


def _additive_bias(bias: mx.array, visibility: Visibility) -> _AdditiveMask:
    """The bias, with a large negative value at hidden keys: finite, so that a fully masked row does not become NaN."""
    allowed = visibility.allowed()
    base_e = bias if allowed is None else mx.where(mx.array(allowed), bias, mx.finfo(bias.dtype).min / 2)
    return _AdditiveMask(base_e, base_e * _LOG2_E)


class _Alibi(NamedTuple):
    """ALiBi of a long text, from which blocks of queries make their biases: all together would take gigabytes."""

    slopes: mx.array
    visibility: Visibility


def _alibi(slopes: mx.array, visibility: Visibility, dtype: mx.Dtype) -> _AdditiveMask | _Alibi:
    length = visibility.length
    if length > _MAX_MASK_LENGTH:
        return _Alibi(slopes, visibility)
    return _additive_bias(alibi_bias(slopes, mx.arange(length), length), visibility)


def _polynomial_attention(
    q: mx.array, k: mx.array, v: mx.array, scale: float, mask: _AdditiveMask | _Alibi | Visibility | None
) -> mx.array:
    if isinstance(mask, Visibility):
        return _local_attention(q, k, v, scale, mask)
    batch, heads, length, _ = q.shape
    scores = batch * heads * length * length
    if scores <= _MAX_FUSED_SCORES and not isinstance(mask, _Alibi):
        base_e = None if mask is None else mask.base_e
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=base_e)
    # Contiguous, because each block's product would otherwise copy keys and values again.
    q, k, v = q * (scale * _LOG2_E), mx.contiguous(k).swapaxes(-1, -2), mx.contiguous(v)
    if scores <= _MAX_BLOCK_SCORES:
        return _attend(q, k, v, _mask_of(mask, 0, length, q))
    block_rows = -(-length // min(-(-scores // _MAX_BLOCK_SCORES), -(-length // 16)))
    blocks: list[mx.array] = []
    for start in range(0, length, block_rows):
        end = min(start + block_rows, length)
        queries = q[:, :, start:end]
        if blocks:
            # One block after another. Otherwise MLX interleaves the blocks, so that none stays in the cache, and
            # evaluates such a wide graph one stream after another instead of in parallel.
            queries = mx.depends(queries, blocks[-1])
        blocks.append(_attend(queries, k, v, _mask_of(mask, start, end, queries)))
    return mx.concatenate(blocks, axis=2)


def _mask_of(mask: _AdditiveMask | _Alibi | None, start: int, end: int, queries: mx.array) -> mx.array | None:
    """The terms, in base 2, of the scores of the ``queries`` from ``start`` to ``end`` with all keys."""
    if mask is None:
        return None
    if not isinstance(mask, _Alibi):
        return mask.base_2 if mask.base_2.shape[2] == 1 else mask.base_2[:, :, start:end]
    visibility = mask.visibility
    rows = mx.depends(mx.arange(start, end), queries)
    bias = alibi_bias(mask.slopes * _LOG2_E, rows, visibility.length)
    if not visibility.padded:
        return bias
    real = mx.arange(visibility.length) < mx.array(visibility.lengths)[:, None, None, None]
    return mx.where(real, bias, _MASKED_SCORE)


def _local_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, visibility: Visibility) -> mx.array:
    """Attention in blocks of queries, each with the keys that it sees."""
    batch, heads, length, _ = q.shape
    window = visibility.window
    span = length if window is None else min(length, 3 * window)
    block_rows = max(16, min(_MAX_LOCAL_ROWS, _MAX_BLOCK_SCORES // (batch * heads * span)))
    q, k, v = q * (scale * _LOG2_E), mx.contiguous(k), mx.contiguous(v)
    blocks: list[mx.array] = []
    for start in range(0, length, block_rows):
        end = min(start + block_rows, length)
        first, last = visibility.keys(start, end)
        queries = mx.depends(q[:, :, start:end], blocks[-1]) if blocks else q[:, :, start:end]
        keys, values = k[:, :, first:last].swapaxes(-1, -2), v[:, :, first:last]
        blocks.append(_attend(queries, keys, values, _block_mask(visibility, start, end, queries)))
    return mx.concatenate(blocks, axis=2)


def _block_mask(visibility: Visibility, start: int, end: int, queries: mx.array) -> mx.array:
    """The mask of the ``queries`` from ``start`` to ``end`` and their keys, [B or 1, 1, rows, keys].

    MLX makes it once the queries are there: the masks of all blocks and layers together would take gigabytes.
    """
    first, last = visibility.keys(start, end)
    rows, keys = mx.depends(mx.arange(start, end), queries)[:, None], mx.arange(first, last)
    allowed = keys <= rows if visibility.causal else keys <= rows + (visibility.window or visibility.length)
    if visibility.window is not None:
        allowed = allowed & (keys >= rows - visibility.window)
    if visibility.padded and not visibility.causal:
        allowed = allowed & (keys < mx.array(visibility.lengths)[:, None, None, None])
    return mx.where(allowed, 0.0, _MASKED_SCORE)


def _attend(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
    """Attention of some queries, scaled for a softmax in base 2, to all keys, which are transposed."""
    batch, heads, rows, dim = q.shape
    groups, length = k.shape[1], k.shape[3]
    # Query heads that share a key head are stacked: one larger product, and no copy of the keys.
    scores = (q.reshape(batch, groups, heads // groups * rows, dim) @ k).reshape(batch, heads, rows, length)
    if mask is not None:
        scores = scores + mask
    weights = _exp2(scores - scores.max(axis=-1, keepdims=True))
    denominator_sum = weights @ mx.ones((length, 1))  # a product, computed by BLAS, because MLX sums rows slowly
    context = weights.reshape(batch, groups, heads // groups * rows, length) @ v
    return context.reshape(batch, heads, rows, dim) / denominator_sum


POLYNOMIAL = Kernels(
    gelu=activation(_rational_gate(
        5.5,
        (0.39894193341062756, 0.03842594623866985, 0.004675800664576393, 0.00019755912417074794, 3.5883624641296266e-06,
         -2.286882443268634e-08, 1.1078363334112117e-10),
        (1.0, 0.2629812281656135, 0.03055902817592543, 0.001983532119787807, 7.187438884443831e-05),
    )),
    gelu_tanh=activation(_rational_gate(
        5.0,
        (0.3989412458720596, 0.04330075337734985, 0.003909133873415352, 0.00021070096693790217, 3.5905295707626067e-06,
         -1.2659409109606807e-08),
        (1.0, 0.27601660169799813, 0.03047913267589012, 0.0016752682679973346, 8.148998017955736e-05),
    )),
    silu=activation(_rational_gate(
        18.0,
        (0.24999984339275214, 0.008334444542933472, 5.379490341197294e-05, 7.737693326371648e-08,
         1.2074516503872276e-11),
        (1.0, 0.1166707336781194, 0.0016044904369201408, 5.003696732660317e-06, 2.869671137938046e-09),
    )),
    mask=_additive_mask,
    bias=_additive_bias,
    alibi=_alibi,
    attention=_polynomial_attention,
)  # fmt: skip
