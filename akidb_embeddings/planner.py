"""Token ids to micro-batches: texts of like length together, bounded in tokens, in few distinct shapes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Fewer tokens than this are sooner done in one piece than divided.
_WORTH_DIVIDING = 64


@dataclass(frozen=True)
class MicroBatch:
    """Texts that go through the model together: ``ids`` int32 ``[B, L]`` padded on the right, ``lengths`` ``[B]``."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    pooling: str


def padded_length(length: int) -> int:
    """The length a row of ``length`` tokens is padded to.

    Steps of 8 up to 64, then of a sixteenth to an eighth of the length: at most 7 tokens or an eighth are padding, and
    few distinct shapes arise, so that MLX's buffer cache does not grow with every new one.
    """
    step = max(8, 1 << max(0, length.bit_length() - 4))
    return -(-length // step) * step


def plan(lengths: Sequence[int], max_tokens: int, max_rows: int, side_by_side: int = 1) -> list[list[int]]:
    """Divide texts of ``lengths`` tokens into micro-batches of indices, longest texts first.

    A micro-batch has at most ``max_rows`` texts, and at most ``max_tokens`` tokens counting padding; a single text may
    have more. Where all fit into fewer than ``side_by_side`` micro-batches, they are divided into that many of about
    the same size, since those run at once.
    """
    padded = [padded_length(length) for length in lengths]
    share = max(-(-sum(padded) // side_by_side), _WORTH_DIVIDING)
    batches: list[list[int]] = []
    width, filled = 0, share
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        # ``filled`` counts each row's own length, so that rounding never makes one micro-batch more than planned.
        if filled >= share or len(batches[-1]) >= max_rows or (len(batches[-1]) + 1) * width > max_tokens:
            batches.append([])
            width, filled = padded[index], 0
        batches[-1].append(index)
        filled += padded[index]
    return batches


def pad(rows: Sequence[NDArray[np.int32]], pooling: str) -> MicroBatch:
    """Rows of token ids as one micro-batch. Which id pads does not matter: masks come from the lengths."""
    lengths = np.array([row.size for row in rows], dtype=np.int32)
    ids = np.zeros((len(rows), padded_length(int(lengths.max()))), dtype=np.int32)
    for padded, row in zip(ids, rows, strict=True):
        padded[: row.size] = row
    return MicroBatch(ids, lengths, pooling)
