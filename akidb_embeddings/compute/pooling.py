"""Pooling on the device: one vector from the hidden states of each text."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.registry.poolings import POOLINGS

Lengths = NDArray[np.int32]


def pool(hidden: mx.array, lengths: Lengths, pooling: str) -> mx.array:
    """Make one vector of each text's hidden states.

    Args:
        hidden: ``[B, L, D]``, rows padded on the right.
        lengths: int32 ``[B]``, how many tokens of each row are real.
        pooling: One of ``POOLINGS``.

    Returns:
        float32 ``[B, D]``.

    Raises:
        ValueError: There is no such pooling.
    """
    if pooling not in _FUNCTIONS:
        raise ValueError(f"pooling is {pooling!r}; allowed: {', '.join(POOLINGS)}")
    return _FUNCTIONS[pooling](hidden.astype(mx.float32), lengths)


def _first(hidden: mx.array, lengths: Lengths) -> mx.array:
    return hidden[:, 0]


def _last(hidden: mx.array, lengths: Lengths) -> mx.array:
    return hidden[mx.arange(hidden.shape[0]), mx.array(lengths - 1)]


def _mean(hidden: mx.array, lengths: Lengths) -> mx.array:
    count = mx.array(lengths)[:, None]
    if lengths.min() < hidden.shape[1]:
        # Padding is left out by selection: a product with zero would let a NaN through.
        real = mx.arange(hidden.shape[1])[None, :] < count
        hidden = mx.where(real[..., None], hidden, 0.0)
    return hidden.sum(axis=1) / count


_FUNCTIONS: Mapping[str, Callable[[mx.array, Lengths], mx.array]] = {"mean": _mean, "cls": _first, "last": _last}
