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


class Packer:
    """Counts the micro-batches that texts fill, one text after the other, longest first.

    A micro-batch has at most ``max_rows`` texts, and at most ``max_tokens`` tokens counting padding; a single text may
    have more.
    """

    def __init__(self, max_tokens: int, max_rows: int) -> None:
        self.max_tokens, self.max_rows = max_tokens, max_rows
        self.count = self._rows = self._width = 0

    def needs_another(self, padded: int) -> bool:
        """Whether a text of so many tokens, padding included, begins a new micro-batch."""
        if not self._rows or self._rows >= self.max_rows:
            return True
        return (self._rows + 1) * max(self._width, padded) > self.max_tokens

    def add(self, padded: int) -> None:
        """Take such a text."""
        if self.needs_another(padded):
            self.count += 1
            self._rows = self._width = 0
        self._rows += 1
        self._width = max(self._width, padded)

    def close(self) -> None:
        """Let the next text begin a new micro-batch."""
        self._rows = self._width = 0


def plan(lengths: Sequence[int], max_tokens: int, max_rows: int, side_by_side: int = 1) -> list[list[int]]:
    """Divide texts of ``lengths`` tokens into micro-batches of indices, longest texts first.

    ``Packer`` says what a micro-batch holds. Their number is a multiple of ``side_by_side``, and they are of about the
    same size, since so many run at once: what is left over would run alone.
    """
    padded = [padded_length(length) for length in lengths]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    fewest = Packer(max_tokens, max_rows)
    for index in order:
        fewest.add(padded[index])
    wanted = -(-fewest.count // side_by_side) * side_by_side
    batches = _divide(order, padded, Packer(max_tokens, max_rows), wanted)
    if len(batches) > wanted:  # where equal shares do not come out, full micro-batches do
        batches = _divide(order, padded, Packer(max_tokens, max_rows), 1)
    return batches


def _divide(order: Sequence[int], padded: Sequence[int], packer: Packer, wanted: int) -> list[list[int]]:
    """Texts in ``order`` as micro-batches of equal shares, ``wanted`` of them if they can hold all."""
    batches: list[list[int]] = []
    left, share, filled = sum(padded), 0, 0
    for index in order:
        # ``filled`` counts each row's own length, so that rounding never makes one micro-batch more than planned.
        if filled >= share or packer.needs_another(padded[index]):
            batches.append([])
            packer.close()
            share, filled = max(-(-left // max(1, wanted - len(batches) + 1)), _WORTH_DIVIDING), 0
        packer.add(padded[index])
        batches[-1].append(index)
        filled += padded[index]
        left -= padded[index]
    return batches


def pad(rows: Sequence[NDArray[np.int32]], pooling: str) -> MicroBatch:
    """Rows of token ids as one micro-batch. Which id pads does not matter: masks come from the lengths."""
    lengths = np.array([row.size for row in rows], dtype=np.int32)
    longest = int(lengths.max())
    # A short text alone goes as it is: no padding to compute, and no mask.
    width = longest if len(rows) == 1 and longest <= _WORTH_DIVIDING else padded_length(longest)
    ids = np.zeros((len(rows), width), dtype=np.int32)
    for padded, row in zip(ids, rows, strict=True):
        padded[: row.size] = row
    return MicroBatch(ids, lengths, pooling)
