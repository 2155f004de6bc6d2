"""Pooling of hidden states on the device. Truncation and normalization run on the host, in ``vectors``."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.compute.runtime import mx

POOLINGS: Final = ("mean", "cls", "last")


def pool(hidden: mx.array, lengths: NDArray[np.int32], strategy: str) -> mx.array:
    """Hidden states ``[B, L, D]`` of right-padded rows -> float32 ``[B, D]``.

    ``cls`` is the first token, ``last`` the last real one, ``mean`` the mean of all real ones. Padding is left out by
    selection: a product with a zero would let a NaN through.
    """
    hidden = hidden.astype(mx.float32)
    if strategy == "cls":
        return hidden[:, 0]
    if strategy == "last":
        return hidden[mx.arange(hidden.shape[0]), mx.array(lengths - 1)]
    if strategy == "mean":
        count = mx.array(lengths)[:, None]
        if lengths.min() < hidden.shape[1]:
            real = mx.arange(hidden.shape[1])[None, :] < count
            hidden = mx.where(real[..., None], hidden, 0.0)
        return hidden.sum(axis=1) / count
    raise ValueError(f"pooling is {strategy!r}; allowed: {', '.join(POOLINGS)}")
