"""Which key each query may see, from lengths and positions, never from token ids.

Boolean NumPy arrays, True where a key may be seen; None where nothing is hidden from anyone.
"""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def padding_mask(lengths: NDArray[np.int32], length: int) -> Mask | None:
    """``[B, 1, 1, L]``: the real tokens of each row, the padding hidden. None if no row is padded."""
    if lengths.min() == length:
        return None
    mask: Mask = np.arange(length) < lengths[:, None]
    return mask[:, None, None, :]


def causal_mask(length: int, window: int | None = None) -> Mask | None:
    """``[1, 1, L, L]``: each token sees itself and what stands before it, ``window`` tokens in all where given.

    Padding stands on the right, behind every real token, so this hides it from them too.
    """
    if length == 1:
        return None
    distance = _distance(length)
    mask = distance >= 0
    return (mask if window is None else mask & (distance < window))[None, None]


def symmetric_window_mask(lengths: NDArray[np.int32], length: int, reach: int) -> Mask | None:
    """``[B or 1, 1, L, L]``: each token sees the real ones at most ``reach`` away, on both sides.

    A token of the padding also sees itself: a row that sees nothing would turn to NaN.
    """
    padded = padding_mask(lengths, length)
    if length <= reach + 1:
        return padded
    distance = _distance(length)
    near: Mask = (np.abs(distance) <= reach)[None, None]
    if padded is not None:
        near = near & padded | (distance == 0)[None, None]
    return near


def _distance(length: int) -> NDArray[np.int32]:
    """``[L, L]``: how far each key (column) stands before each query (row)."""
    positions = np.arange(length, dtype=np.int32)
    return positions[:, None] - positions
