"""Attention masks, made from lengths and positions, never from token ids.

They are bool arrays, True where a query sees a key; None where nothing is masked.
"""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def padding_mask(lengths: NDArray[np.int32], length: int) -> Mask | None:
    """Mask the padding: bool [B, 1, 1, L]. None if no row is padded."""
    if lengths.min() == length:
        return None
    mask: Mask = np.arange(length) < lengths[:, None]
    return mask[:, None, None, :]


def causal_mask(length: int, window: int | None = None) -> Mask | None:
    """Mask later tokens: bool [1, 1, L, L]. Padding on the right is thus masked from all real tokens.

    Args:
        length: L.
        window: How many tokens each token sees, itself included; None for all earlier ones.
    """
    if length == 1:
        return None
    queries, keys = _query_and_key_positions(length)
    mask: Mask = keys <= queries
    if window is not None:
        mask &= keys > queries - window
    return mask[None, None]


def symmetric_window_mask(lengths: NDArray[np.int32], length: int, reach: int) -> Mask | None:
    """Mask distant tokens and padding: bool [B or 1, 1, L, L], or as ``padding_mask`` for short texts.

    Padding tokens see themselves, because a fully masked row would become NaN.

    Args:
        lengths: The number of tokens of each row, int32 [B].
        length: L.
        reach: How many tokens each token sees on each side.
    """
    padding = padding_mask(lengths, length)
    if length <= reach + 1:
        return padding
    queries, keys = _query_and_key_positions(length)
    local: Mask = keys >= queries - reach
    local &= keys <= queries + reach
    if padding is None:
        return local[None, None]
    mask = local[None, None] & padding
    mask[:, :, np.arange(length), np.arange(length)] = True
    return mask


def _query_and_key_positions(length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """int32 [L, 1] and [1, L] for comparisons: int32 differences [L, L] would be larger than the bool mask."""
    positions = np.arange(length, dtype=np.int32)
    return positions[:, None], positions[None]
