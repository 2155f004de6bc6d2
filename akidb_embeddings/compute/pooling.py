"""Pooling of hidden states on the device. Truncation and normalization run on the host, in ``vectors``."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.registry.poolings import POOLINGS

Lengths = NDArray[np.int32]


class _Mode(NamedTuple):
    """How vectors are pooled, and the token that a text's vector is made of; None if it is made of all."""

    pool: Callable[[mx.array, Lengths], mx.array]
    token: Callable[[Lengths], Lengths] | None = None


def pooled_tokens(lengths: Lengths, pooling: str) -> mx.array | None:
    """The position of the one token that a text's vector is made of.

    Args:
        lengths: int32 ``[B]``, how many tokens of each row are real.
        pooling: One of ``POOLINGS``.

    Returns:
        int32 ``[B]``; None if the vector is made of all tokens.

    Raises:
        ValueError: There is no such pooling.
    """
    token = _mode(pooling).token
    return None if token is None else mx.array(token(lengths))


def select_tokens(hidden: mx.array, tokens: mx.array | None) -> mx.array:
    """The token ``tokens`` [B] of each text, ``[B, 1, D]`` of ``[B, L, D]``; all if None."""
    return hidden if tokens is None else hidden[mx.arange(hidden.shape[0]), tokens][:, None]


def pool(hidden: mx.array, lengths: Lengths, pooling: str) -> mx.array:
    """Make one vector of each text's hidden states.

    Args:
        hidden: ``[B, L, D]``, rows padded on the right; or ``[B, 1, D]``, the ``pooled_tokens`` alone.
        lengths: int32 ``[B]``, how many tokens of each row are real.
        pooling: One of ``POOLINGS``.

    Returns:
        float32 ``[B, D]``.

    Raises:
        ValueError: There is no such pooling.
    """
    return _mode(pooling).pool(hidden, lengths).astype(mx.float32)


def _mode(pooling: str) -> _Mode:
    if pooling not in _MODES:
        raise ValueError(f"pooling is {pooling!r}; allowed: {', '.join(POOLINGS)}")
    return _MODES[pooling]


def _first(hidden: mx.array, lengths: Lengths) -> mx.array:
    return hidden[:, 0]


def _last(hidden: mx.array, lengths: Lengths) -> mx.array:
    return hidden[mx.arange(hidden.shape[0]), mx.array(np.minimum(lengths, hidden.shape[1]) - 1)]


def _mean(hidden: mx.array, lengths: Lengths) -> mx.array:
    hidden, count = hidden.astype(mx.float32), mx.array(lengths)[:, None]
    if lengths.min() < hidden.shape[1]:
        # Padding is left out by selection: a product with zero would let a NaN through.
        real = mx.arange(hidden.shape[1])[None, :] < count
        hidden = mx.where(real[..., None], hidden, 0.0)
    return hidden.sum(axis=1) / count


_MODES: Mapping[str, _Mode] = {
    "mean": _Mode(_mean),
    "cls": _Mode(_first, np.zeros_like),
    "last": _Mode(_last, lambda lengths: lengths - np.int32(1)),
}
