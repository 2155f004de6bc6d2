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
    queries, keys = _positions(length)
    mask: Mask = keys <= queries
    if window is not None:
        mask &= keys > queries - window
    return mask[None, None]


def symmetric_window_mask(lengths: NDArray[np.int32], length: int, reach: int) -> Mask | None:
    """``[B or 1, 1, L, L]``: each token sees the real ones at most ``reach`` away, on both sides.

    A token of the padding also sees itself: a row that sees nothing would turn to NaN.
    """
    padded = padding_mask(lengths, length)
    if length <= reach + 1:
        return padded
    queries, keys = _positions(length)
    near: Mask = keys >= queries - reach
    near &= keys <= queries + reach
    if padded is None:
        return near[None, None]
    seen = near[None, None] & padded
    seen[:, :, np.arange(length), np.arange(length)] = True
    return seen


def _positions(length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """``[L, 1]`` and ``[1, L]``, to be compared: differences ``[L, L]`` of long texts would take more than the mask."""
    positions = np.arange(length, dtype=np.int32)
    return positions[:, None], positions[None]
