"""Which keys each query of an attention layer sees, from lengths and positions, never from token ids.

``Visibility`` is the description; each set of ``kernels`` makes of it what its attention takes. The functions make bool
arrays, True where a query sees a key; None where nothing is masked.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


class Visibility(NamedTuple):
    """The keys that queries see in texts padded on the right.

    Attributes:
        lengths: The number of tokens of each row, int32 [B].
        length: L, the number of tokens of each row with its padding.
        causal: Whether a token sees only itself and earlier ones.
        reach: How many tokens a token sees on each side, or before it if ``causal``; None for all.
    """

    lengths: NDArray[np.int32]
    length: int
    causal: bool = False
    reach: int | None = None

    @property
    def window(self) -> int | None:
        """``reach``, if it hides something; else None."""
        return None if self.reach is None or self.length <= self.reach + 1 else self.reach

    @property
    def padded(self) -> bool:
        """Whether a row has padding."""
        return bool(self.lengths.min() < self.length)

    @property
    def is_local(self) -> bool:
        """Whether some queries see only some of the real tokens, so that long texts are computed in blocks."""
        return self.causal or self.window is not None

    def keys(self, start: int, end: int) -> tuple[int, int]:
        """The first key that one of the queries from ``start`` to ``end`` sees, and the key after the last one."""
        window = self.window
        first = 0 if window is None else max(0, start - window)
        if self.causal:
            return first, end
        return first, self.length if window is None else min(self.length, end + window)

    def block(self, start: int, end: int) -> Mask | None:
        """``allowed`` for the queries from ``start`` to ``end`` and their ``keys``, bool [B or 1, 1, rows, keys]."""
        first, last = self.keys(start, end)
        queries, keys = np.arange(start, end)[:, None], np.arange(first, last)
        mask: Mask = np.ones((1, 1, end - start, last - first), dtype=np.bool_)
        if self.causal:
            mask &= keys <= queries
        elif self.padded:
            mask = mask & (keys < self.lengths[:, None])[:, None, None, :]
        if self.window is not None:
            mask &= (keys >= queries - self.window) & (keys <= queries + self.window)
        return None if mask.all() else mask

    def allowed(self) -> Mask | None:
        """A bool array [B or 1, 1, L or 1, L]; None where nothing is masked."""
        if self.causal:
            return causal_mask(self.length, None if self.reach is None else self.reach + 1)
        if self.reach is None:
            return padding_mask(self.lengths, self.length)
        return symmetric_window_mask(self.lengths, self.length, self.reach)


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

    Padding tokens that are near no real one see themselves, because a fully masked row would become NaN.

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
    texts, alone = np.nonzero(np.arange(length) - reach >= lengths[:, None])
    mask[texts, :, alone, alone] = True
    return mask


def _query_and_key_positions(length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """int32 [L, 1] and [1, L] for comparisons: int32 differences [L, L] would be larger than the bool mask."""
    positions = np.arange(length, dtype=np.int32)
    return positions[:, None], positions[None]
