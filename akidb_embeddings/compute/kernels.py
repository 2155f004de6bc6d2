"""The functions whose best form depends on the machine: activations, and attention with its mask.

``FUSED`` uses MLX's own kernels. ``POLYNOMIAL`` is for CPUs, where MLX calls erf, tanh and exp element by element:
the same functions from multiply, add and one divide, their error at most 3e-7 of |x|. The coefficients and errors come
from ``scripts/fit_kernels.py``; ``tests/test_kernels.py`` holds them to it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.compute.runtime import mx

Activation = Callable[[mx.array], mx.array]
Allowed = NDArray[np.bool_]
# What ``mask`` and ``bias`` make for ``attention`` of the same set, and nobody else looks into.
AttentionMask = Any


class Kernels(NamedTuple):
    """One machine's set.

    ``mask``: bool ``[B or 1, 1, L or 1, L]``, True where a key may be seen -> what ``attention`` takes as its mask.
    ``bias(bias, allowed)``: ``[1, heads, L, L]``, to be added to scores that are scaled already -> the same, with what
    ``allowed`` hides, if it is not None.
    ``attention(q, k, v, scale, mask)``: ``[B, heads, L, D]``, keys and values ``[B, kv_heads, L, D]`` -> like q.
    """

    gelu: Activation
    gelu_tanh: Activation
    silu: Activation
    mask: Callable[[Allowed], AttentionMask]
    bias: Callable[[mx.array, Allowed | None], AttentionMask]
    attention: Callable[[mx.array, mx.array, mx.array, float, AttentionMask | None], mx.array]


def _fused_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: mx.array | None) -> mx.array:
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)


def _hide(bias: mx.array, allowed: Allowed | None) -> mx.array:
    """The bias, and next to nothing where a key is hidden: finite, for a row that sees nothing must not become NaN."""
    return bias if allowed is None else mx.where(mx.array(allowed), bias, mx.finfo(bias.dtype).min / 2)


FUSED = Kernels(
    gelu=lambda x: 0.5 * x * (1.0 + mx.erf(x * math.sqrt(0.5))),
    gelu_tanh=lambda x: 0.5 * x * (1.0 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))),
    silu=lambda x: x * mx.sigmoid(x),
    mask=mx.array,  # boolean: valid for every dtype, and a masked row stays finite
    bias=_hide,
    attention=_fused_attention,
)


def _gated(clip: float, above: tuple[float, ...], below: tuple[float, ...]) -> Activation:
    """``x * S(x)`` with ``S(x) = 1/2 + y P(y^2)/Q(y^2)``, ``y = clip(x, -clip, clip)``."""

    def activation(x: mx.array) -> mx.array:
        y = mx.clip(x, -clip, clip)
        t = y * y
        return x * (y * (_horner(t, above) / _horner(t, below)) + 0.5)

    return activation


def _horner(t: mx.array, coefficients: tuple[float, ...]) -> mx.array:
    """The polynomial in ``t`` whose coefficients stand lowest degree first."""
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
# Below this many scores, one call into MLX's scalar softmax costs less than twenty vectorized ones.
_FEW_SCORES = 16_384
# Above this many, queries go in blocks: the scores of a long text would leave the cache, and fill the memory.
_MANY_SCORES = 1 << 19
_HIDDEN = -1e30


def _exp2(x: mx.array) -> mx.array:
    """2 to the power of ``x <= 0``; what is below -126 counts as -126, the smallest normal float32."""
    x = mx.maximum(x, -126.0)
    rounded = x + _ROUND
    fraction = x - (rounded - _ROUND)
    power = mx.view(mx.left_shift(mx.view(rounded, mx.int32), 23) + _EXPONENT_BIAS, mx.float32)
    return _horner(fraction, _EXP2) * power


class _Added(NamedTuple):
    """What is added to scores: to those for powers of e, and to those for powers of 2."""

    natural: mx.array
    binary: mx.array


def _additive_mask(allowed: Allowed) -> _Added:
    mask = mx.array(np.where(allowed, np.float32(0), np.float32(_HIDDEN)))
    return _Added(mask, mask)


def _additive_bias(bias: mx.array, allowed: Allowed | None) -> _Added:
    natural = _hide(bias, allowed)
    return _Added(natural, natural * _LOG2_E)


def _polynomial_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: _Added | None) -> mx.array:
    batch, heads, length, _ = q.shape
    scores = batch * heads * length * length
    if scores <= _FEW_SCORES:
        natural = None if mask is None else mask.natural
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=natural)
    added = None if mask is None else mask.binary
    # Contiguous, for a product would copy keys and values again in every block.
    q, k, v = q * (scale * _LOG2_E), mx.contiguous(k).swapaxes(-1, -2), mx.contiguous(v)
    if scores <= _MANY_SCORES:
        return _attend(q, k, v, added)
    step = -(-length // min(-(-scores // _MANY_SCORES), -(-length // 16)))
    blocks: list[mx.array] = []
    for begin in range(0, length, step):
        rows = slice(begin, begin + step)
        seen = added if added is None or added.shape[2] == 1 else added[:, :, rows]
        queries = q[:, :, rows]
        if blocks:
            # One block after the other. Left to itself MLX takes all of them in step, so that none stays in the cache;
            # and a graph so wide it evaluates stream by stream, not side by side.
            queries = mx.depends(queries, blocks[-1])
        blocks.append(_attend(queries, k, v, seen))
    return mx.concatenate(blocks, axis=2)


def _attend(q: mx.array, k: mx.array, v: mx.array, mask: mx.array | None) -> mx.array:
    """Attention of some queries, scaled for powers of 2, to all keys, transposed."""
    batch, heads, rows, dim = q.shape
    groups, length = k.shape[1], k.shape[3]
    # Query heads that share a key head stand under each other: one larger product, and no copy of the keys.
    scores = (q.reshape(batch, groups, heads // groups * rows, dim) @ k).reshape(batch, heads, rows, length)
    if mask is not None:
        scores = scores + mask
    weights = _exp2(scores - scores.max(axis=-1, keepdims=True))
    total = weights @ mx.ones((length, 1))  # a product, which BLAS does; MLX sums rows slowly
    mixed = weights.reshape(batch, groups, heads // groups * rows, length) @ v
    return mixed.reshape(batch, heads, rows, dim) / total


POLYNOMIAL = Kernels(
    gelu=_gated(
        5.5,
        (0.39894193341062756, 0.03842594623866985, 0.004675800664576393, 0.00019755912417074794, 3.5883624641296266e-06,
         -2.286882443268634e-08, 1.1078363334112117e-10),
        (1.0, 0.2629812281656135, 0.03055902817592543, 0.001983532119787807, 7.187438884443831e-05),
    ),
    gelu_tanh=_gated(
        5.0,
        (0.3989412458720596, 0.04330075337734985, 0.003909133873415352, 0.00021070096693790217, 3.5905295707626067e-06,
         -1.2659409109606807e-08),
        (1.0, 0.27601660169799813, 0.03047913267589012, 0.0016752682679973346, 8.148998017955736e-05),
    ),
    silu=_gated(
        18.0,
        (0.24999984339275214, 0.008334444542933472, 5.379490341197294e-05, 7.737693326371648e-08,
         1.2074516503872276e-11),
        (1.0, 0.1166707336781194, 0.0016044904369201408, 5.003696732660317e-06, 2.869671137938046e-09),
    ),
    mask=_additive_mask,
    bias=_additive_bias,
    attention=_polynomial_attention,
)  # fmt: skip
