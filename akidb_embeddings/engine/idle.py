"""What the MLX thread of a GPU does while no text waits: it warms up, and keeps the GPU from slowing down."""

import logging
import time
from collections import deque
from collections.abc import Iterator

import numpy as np

from akidb_embeddings.engine.pipeline import Model
from akidb_embeddings.engine.planner import MicroBatch

_log = logging.getLogger(__name__)

# An idle GPU lowers its clock within seconds.
_KEEP_WARM_INTERVAL = 1.0
# The shapes of queries, which have up to 64 tokens; up to 32 of them come together.
_LENGTHS = (8, 16, 24, 32, 40, 48, 56, 64)
_ROWS = (2, 4, 8, 16, 32)


class IdleWork:
    """Forward passes whose vectors nobody needs. Another thread may ask for them; the engine's thread does them.

    Attributes:
        is_gpu: Whether the loaded model is on a GPU; False before it is loaded. Nothing is done on a CPU.
        seconds: The time spent on warming up.
    """

    def __init__(self) -> None:
        self.is_gpu = False
        self.seconds = 0.0
        self._pooling: str | None = None
        self._batches: deque[MicroBatch] | None = None
        self._warm_until = 0.0
        self._last = 0.0
        self._smallest: MicroBatch | None = None

    @property
    def warming_up(self) -> bool:
        """Whether a GPU was asked to warm up and is not done."""
        return self.is_gpu and self._pooling is not None and (self._batches is None or bool(self._batches))

    def warm_up(self, pooling: str) -> None:
        """Ask for the shapes of queries to be computed once."""
        if self._pooling is None:
            self._pooling = pooling

    def keep_warm(self, pooling: str, seconds: float) -> None:
        """Ask for a small forward pass every second, for some seconds from now."""
        if seconds > 0:
            self._last = time.monotonic()
            self._warm_until = max(self._warm_until, self._last + seconds)
            self._smallest = self._smallest or _batch(1, _LENGTHS[0], _LENGTHS[0], pooling)

    def next_in(self) -> float | None:
        """In how many seconds there is something to do; None for never."""
        if self.warming_up:
            return 0.0
        due = self._last + _KEEP_WARM_INTERVAL
        return max(0.0, due - time.monotonic()) if self.is_gpu and due <= self._warm_until else None

    def do(self, model: Model) -> None:
        """Compute one micro-batch. A failure is logged and ends the warm-up, not the thread."""
        if self.warming_up and self._batches is None:
            assert self._pooling is not None
            self._batches = deque(_warm_up_batches(self._pooling, model.few_shapes))
        started = self._last = time.monotonic()
        batch = self._batches.popleft() if self._batches else self._smallest
        if batch is None:
            return
        is_warm_up = batch is not self._smallest
        try:
            model.start([batch])()
        except Exception:  # MLX's errors end what nobody waits for, not the thread
            _log.exception("Warming up failed; queries may take longer")
            self._batches, self._warm_until = deque(), 0.0
            return
        if is_warm_up:
            self.seconds += time.monotonic() - started
            if not self._batches:
                _log.info("Warmed up in %.1f s", self.seconds)


def _warm_up_batches(pooling: str, few_shapes: bool) -> Iterator[MicroBatch]:
    """Micro-batches of the shapes that queries have, the most frequent first.

    Args:
        pooling: The pooling strategy.
        few_shapes: Whether every new shape is slow; else two lengths compile all kernels.
    """
    if not few_shapes:
        yield from (_batch(1, length, length, pooling) for length in (_LENGTHS[1], _LENGTHS[-1]))
        return
    for length in _LENGTHS:  # with and without a mask
        yield _batch(1, length, length - 1, pooling)
        yield _batch(1, length, length, pooling)
    for rows in _ROWS:
        for length in _LENGTHS:
            yield _batch(rows, length, length - 1, pooling)


def _batch(rows: int, length: int, tokens: int, pooling: str) -> MicroBatch:
    ids, lengths = np.zeros((rows, length), dtype=np.int32), np.full(rows, tokens, dtype=np.int32)
    return MicroBatch(ids, lengths, pooling, added=rows)
