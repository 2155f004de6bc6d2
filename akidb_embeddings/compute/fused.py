"""Kernels for GPUs: MLX's attention, masks made on the device, and activations in one kernel each.

What is said of MLX's kernels is from its sources (0.32.4, ``scaled_dot_product_attention.cpp`` for CUDA and Metal).
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from akidb_embeddings.compute.kernels import Activation, AttentionMask, Kernels, alibi_bias
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.runtime import mx

Function = Callable[[mx.array], mx.array]
# The scores [B, heads, rows, L] of one block of queries, at most: 1 GiB in float32, and as much again for the softmax.
_MAX_BLOCK_SCORES = 1 << 28
# A bias [B or 1, heads, L, L] with more values is made for one block of queries after another.
_MAX_WHOLE_BIAS = 1 << 25
# Of longer texts, layers with a window compute blocks of queries with the keys that those see.
_MAX_WINDOW_LENGTH = 1024
_MIN_WINDOW_ROWS = 512
_CAUSAL = "causal"


class _Block(NamedTuple):
    """Queries, the keys that they see, and the mask between them, or what makes it of the queries when they are."""

    start: int
    end: int
    first_key: int
    last_key: int
    mask: AttentionMask | Callable[[mx.array], AttentionMask] | None


def fused_kernels(
    *, compiled: bool = False, holds_scores: Callable[[int, mx.Dtype], bool] = lambda head_dim, dtype: True
) -> Kernels:
    """The kernels for a GPU.

    Args:
        compiled: Whether each activation becomes one kernel. On a CPU, MLX would call the machine's compiler.
        holds_scores: ``holds_scores(head_dim, dtype)`` tells whether attention of many tokens is computed in blocks of
            queries, because MLX would hold all scores or take long for one kernel.
    """

    def attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: AttentionMask | None) -> mx.array:
        batch, heads, length, head_dim = q.shape
        if isinstance(mask, tuple):
            return _attention_in_blocks(q, k, v, scale, mask)
        rows = max(1, _MAX_BLOCK_SCORES // (batch * heads * length))
        if rows >= length or not holds_scores(head_dim, q.dtype):
            return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
        return _attention_in_blocks(q, k, v, scale, _blocks(length, rows, mask))

    return Kernels(
        gelu=_activation(lambda x: 0.5 * x * (1.0 + mx.erf(x * math.sqrt(0.5))), compiled),
        gelu_tanh=_activation(
            lambda x: 0.5 * x * (1.0 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))), compiled
        ),
        silu=_activation(lambda x: x * mx.sigmoid(x), compiled),
        mask=_mask,
        bias=_bias,
        alibi=_alibi,
        attention=attention,
    )


def _activation(function: Function, compiled: bool) -> Activation:
    """``function`` computed in float32, as PyTorch's kernels do with 16-bit arrays."""

    def alone(x: mx.array) -> mx.array:
        return function(x.astype(mx.float32)).astype(x.dtype)

    def gated(x: mx.array, y: mx.array) -> mx.array:
        return (function(x.astype(mx.float32)) * y.astype(mx.float32)).astype(x.dtype)

    if not compiled:
        return Activation(alone, gated)
    # For every shape alike: a trace for each would stay in memory for good.
    return Activation(mx.compile(alone, shapeless=True), mx.compile(gated, shapeless=True))


def _mask(visibility: Visibility, dtype: mx.Dtype) -> AttentionMask | None:
    """None, "causal", a term of ``dtype`` [B or 1, 1, L or 1, L], or the blocks of a long text with a window.

    A bool mask would be expanded to [B, heads, L, L] in every layer by the CUDA backend, and a float32 one is an error
    with 16-bit queries. The padding of a causal model needs no mask, because it is on the right.
    """
    window = visibility.window
    if visibility.causal and window is None:
        return _CAUSAL if visibility.length > 1 else None
    if window is not None and visibility.length > _MAX_WINDOW_LENGTH:
        rows = max(_MIN_WINDOW_ROWS, window)
        return tuple(_window_block(visibility, start, rows, dtype) for start in range(0, visibility.length, rows))
    allowed = _allowed(visibility)
    return None if allowed is None else _additive(allowed, dtype)


def _additive(allowed: mx.array, dtype: mx.Dtype) -> mx.array:
    """0 where a key is visible, else a negative term: finite, so that a fully masked row does not become NaN."""
    return mx.where(allowed, mx.array(0, dtype), mx.array(_hidden(dtype), dtype))


def _bias(bias: mx.array, visibility: Visibility) -> AttentionMask:
    allowed = _allowed(visibility)
    return bias if allowed is None else mx.where(allowed, bias, mx.array(_hidden(bias.dtype), bias.dtype))


def _alibi(slopes: mx.array, visibility: Visibility, dtype: mx.Dtype) -> AttentionMask:
    texts, heads, length = visibility.lengths.size if visibility.padded else 1, slopes.size, visibility.length

    def rows(start: int, end: int, queries: mx.array | None = None) -> AttentionMask:
        given = slopes if queries is None else mx.depends(slopes, queries)
        return _bias(alibi_bias(given, mx.arange(start, end), length).astype(dtype), visibility)

    most = max(1, _MAX_WHOLE_BIAS // (texts * heads * length))
    if most >= length:
        return rows(0, length)
    starts = range(0, length, most)
    return tuple(_Block(start, end, 0, length, partial(rows, start, end)) for start, end in pairwise([*starts, length]))


def _hidden(dtype: mx.Dtype) -> float:
    return float(mx.finfo(dtype).min / 2)


def _allowed(visibility: Visibility) -> mx.array | None:
    """``Visibility.allowed``, made on the device from the lengths."""
    keys = mx.arange(visibility.length)
    real = None
    if visibility.padded and not visibility.causal:
        real = (keys < mx.array(visibility.lengths)[:, None])[:, None, None, :]
    window = visibility.window
    if window is None:
        return real
    queries = keys[:, None]
    near = (keys >= queries - window) & (keys <= (queries if visibility.causal else queries + window))
    return near[None, None] if real is None else near[None, None] & real


def _blocks(length: int, rows: int, mask: AttentionMask | None) -> tuple[_Block, ...]:
    """Blocks of queries whose scores are not held at once."""
    blocks = []
    for start in range(0, length, rows):
        end = min(start + rows, length)
        if isinstance(mask, str):  # MLX aligns the last query with the last key
            blocks.append(_Block(start, end, 0, end, mask))
        elif mask is None or mask.shape[2] == 1:
            blocks.append(_Block(start, end, 0, length, mask))
        else:
            blocks.append(_Block(start, end, 0, length, mask[:, :, start:end]))
    return tuple(blocks)


def _window_block(visibility: Visibility, start: int, rows: int, dtype: mx.Dtype) -> _Block:
    end = min(start + rows, visibility.length)
    first, last = visibility.keys(start, end)
    allowed = visibility.block(start, end)
    return _Block(start, end, first, last, None if allowed is None else _additive(mx.array(allowed), dtype))


def _attention_in_blocks(q: mx.array, k: mx.array, v: mx.array, scale: float, blocks: tuple[_Block, ...]) -> mx.array:
    """Attention of one block of queries after another, so that no two blocks' scores exist at once."""
    outputs: list[mx.array] = []
    for start, end, first, last, given in blocks:
        queries = mx.depends(q[:, :, start:end], outputs[-1]) if outputs else q[:, :, start:end]
        keys, values = k[:, :, first:last], v[:, :, first:last]
        mask = given(queries) if callable(given) else given
        outputs.append(mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask))
    return mx.concatenate(outputs, axis=2)


FUSED = fused_kernels()
