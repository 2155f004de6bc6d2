"""Token ids to micro-batches: texts of similar length together, limited in tokens, in few distinct shapes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Fewer tokens than this are faster in one micro-batch than in several.
_MIN_SPLIT_TOKENS = 64
# On a GPU, about what a further micro-batch costs, in tokens: a query of Qwen3-0.6B took an H200 11 ms, in which it
# computed so many where they were many (docs/gpu.md).
_START_TOKENS = 2048
# A larger share of padding than this ends a micro-batch of a GPU, if that saves more than ``_START_TOKENS``.
_MOST_PADDING = 1 / 16


@dataclass(frozen=True)
class MicroBatch:
    """Texts that go through the model together.

    Attributes:
        ids: Token ids, int32 [B, L], padded on the right.
        lengths: The number of tokens of each text, int32 [B].
        pooling: The pooling strategy, or the output that is wanted in place of one vector.
        alone: Whether the vectors must not depend on what else runs, to the last bit.
        first_parts: The number of tokens of each pair's first part, whose type is 0, int32 [B]; those after it have
            type 1. None where every token has type 0.
        attended: The number of tokens of each text that others attend to, the first ones, int32 [B]; None for all.
        added: The number of rows at the end that are no texts.
    """

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    pooling: str
    alone: bool = False
    first_parts: NDArray[np.int32] | None = None
    attended: NDArray[np.int32] | None = None
    added: int = 0

    def take(self, places: Sequence[int]) -> "MicroBatch":
        """Some of its texts, with the same padding."""
        rows = np.array(places)
        parts = None if self.first_parts is None else self.first_parts[rows]
        attended = None if self.attended is None else self.attended[rows]
        return MicroBatch(self.ids[rows], self.lengths[rows], self.pooling, self.alone, parts, attended)


def padded_length(length: int) -> int:
    """The length to which a row of ``length`` tokens is padded.

    It is a multiple of 8 up to 64, then of a sixteenth to an eighth of the length. So at most 7 tokens or an eighth are
    padding, and there are few distinct shapes: each new shape would grow MLX's buffer cache.
    """
    step = max(8, 1 << max(0, length.bit_length() - 4))
    return -(-length // step) * step


class Packer:
    """Counts the micro-batches that texts fill, longest text first.

    Args:
        max_tokens: The largest number of tokens of a micro-batch, padding included. A single text may have more.
        max_rows: The largest number of texts of a micro-batch.
    """

    def __init__(self, max_tokens: int, max_rows: int) -> None:
        self.max_tokens, self.max_rows = max_tokens, max_rows
        self.count = self._rows = self._width = 0

    def needs_another(self, padded: int) -> bool:
        """Whether a text of ``padded`` tokens, padding included, starts a new micro-batch."""
        if not self._rows or self._rows >= self.max_rows:
            return True
        return (self._rows + 1) * max(self._width, padded) > self.max_tokens

    def add(self, padded: int) -> None:
        """Add a text of ``padded`` tokens, padding included."""
        if self.needs_another(padded):
            self.count += 1
            self._rows = self._width = 0
        self._rows += 1
        self._width = max(self._width, padded)

    def close(self) -> None:
        """End the micro-batch: the next text starts a new one."""
        self._rows = self._width = 0


def rounded_rows(rows: int, width: int, budgets: Sequence[int]) -> int:
    """The number of rows to which a micro-batch is filled up, where a new shape is slow.

    It is a power of two, or as many rows as fill one of the ``budgets``, in tokens.
    """
    counts = (1 << (rows - 1).bit_length(), *(budget // width for budget in budgets))
    return min(count for count in counts if count >= rows)


def similar(lengths: Sequence[int], begin: int, max_tokens: int, budgets: Sequence[int] = ()) -> int:
    """How many texts make a GPU's micro-batch that is not mostly padding.

    Args:
        lengths: The number of tokens of each text, longest first.
        begin: The first of them.
        max_tokens: The largest number of tokens of a micro-batch, padding included. A single text may have more.
        budgets: See ``pad``.

    Returns:
        The end of the range of texts, which begins at ``begin``.
    """
    width, tokens, end = padded_length(lengths[begin]), 0, begin
    while end < len(lengths):
        computed, needed = (end + 1 - begin) * width, tokens + padded_length(lengths[end])
        is_wasteful = computed - needed > _START_TOKENS + _MOST_PADDING * computed
        if end > begin and (computed > max_tokens or is_wasteful):
            break
        tokens, end = needed, end + 1
    rows = end - begin
    if budgets and (rounded_rows(rows, width, budgets) - rows) * width > _START_TOKENS:
        counts = (1 << rows.bit_length() - 1, *(budget // width for budget in budgets))
        end = begin + max(count for count in counts if count <= rows)
    return end


def plan(lengths: Sequence[int], max_tokens: int, max_rows: int, streams: int = 1) -> list[list[int]]:
    """Divide texts into micro-batches of similar size, longest texts first.

    Args:
        lengths: The number of tokens of each text.
        max_tokens: See ``Packer``.
        max_rows: See ``Packer``.
        streams: How many micro-batches run in parallel. Where possible, the number of micro-batches is a multiple of
            it, so that no stream is idle in the last step.

    Returns:
        The indices of each micro-batch's texts.
    """
    padded = [padded_length(length) for length in lengths]
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    minimum = Packer(max_tokens, max_rows)
    for index in order:
        minimum.add(padded[index])
    target = -(-minimum.count // streams) * streams
    batches = _pack(order, padded, Packer(max_tokens, max_rows), target)
    if len(batches) > target:  # equal sizes do not fit, so fill each micro-batch
        batches = _pack(order, padded, Packer(max_tokens, max_rows), 1)
    return batches


def _pack(order: Sequence[int], padded: Sequence[int], packer: Packer, target: int) -> list[list[int]]:
    """Texts in ``order`` as micro-batches of about equal size, ``target`` of them if all texts fit."""
    batches: list[list[int]] = []
    remaining, batch_target, batch_tokens = sum(padded), 0, 0
    for index in order:
        # ``batch_tokens`` counts each row's own length, so that rounding never adds a micro-batch.
        if batch_tokens >= batch_target or packer.needs_another(padded[index]):
            batches.append([])
            packer.close()
            batch_target, batch_tokens = max(-(-remaining // max(1, target - len(batches) + 1)), _MIN_SPLIT_TOKENS), 0
        packer.add(padded[index])
        batches[-1].append(index)
        batch_tokens += padded[index]
        remaining -= padded[index]
    return batches


def pad(
    rows: Sequence[NDArray[np.int32]],
    pooling: str,
    budgets: Sequence[int] = (),
    *,
    alone: bool = False,
    first_parts: Sequence[int] | None = None,
    attended: Sequence[int] | None = None,
) -> MicroBatch:
    """Rows of token ids as one micro-batch. The padding id is arbitrary, because masks depend on lengths only.

    Args:
        rows: The token ids of each text, int32 [L].
        pooling: The pooling strategy.
        budgets: For devices where a new shape is slow, the sizes of full micro-batches in tokens: rows of one token are
            added up to a power of two, or to as many as fill one. Their vectors come last and mean nothing.
        alone: See ``MicroBatch``.
        first_parts: See ``MicroBatch``.
        attended: See ``MicroBatch``.
    """
    lengths = [row.size for row in rows]
    longest = max(lengths)
    # A single short text needs neither padding nor a mask.
    is_exact = not budgets and len(rows) == 1 and longest <= _MIN_SPLIT_TOKENS
    width = longest if is_exact else padded_length(longest)
    count = len(rows)
    if budgets:
        count = rounded_rows(count, width, budgets)
    ids = np.zeros((count, width), dtype=np.int32)
    for padded, row in zip(ids, rows, strict=False):
        padded[: row.size] = row
    added = [1] * (count - len(rows))
    parts = None if first_parts is None else np.array([*first_parts, *added], dtype=np.int32)
    seen = None if attended is None else np.array([*attended, *added], dtype=np.int32)
    return MicroBatch(ids, np.array(lengths + added, dtype=np.int32), pooling, alone, parts, seen, len(added))
