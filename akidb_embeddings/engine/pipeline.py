"""Micro-batches on the device: started before earlier ones are read, delivered in order, failing alone."""

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from akidb_embeddings.engine.planner import MicroBatch, pad, plan
from akidb_embeddings.engine.request import Item, deliver
from akidb_embeddings.engine.scheduler import BUSY_TOKENS
from akidb_embeddings.engine.statistics import Counts
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.vectors.ragged import Rows

_log = logging.getLogger(__name__)


class Model(Protocol):
    """What the engine runs on its thread: ``model.MLXModel``, or a fake in tests.

    Attributes:
        streams: The number of micro-batches that run in parallel.
        tokens_per_batch: The largest micro-batch, in tokens including padding.
        obeys_batch_size: Whether ``batch_size`` limits a micro-batch's texts.
        window_scale: By which factor the windows of a long list are larger than a CPU's.
        ahead: How many times micro-batches are started before the oldest ones are read.
        few_shapes: Whether a new shape is slow, so that the number of texts is rounded up.
        is_gpu: Whether the device is a GPU.
        weight_bytes: The memory that the weights take. It grows if float16 turns out to be too small for a model.
    """

    streams: int
    tokens_per_batch: int
    obeys_batch_size: bool
    window_scale: int
    ahead: int
    few_shapes: bool
    is_gpu: bool
    weight_bytes: int

    @property
    def lone_threads(self) -> int:
        """The CPU threads that a lone micro-batch gets now; 0 on a GPU."""
        ...

    @property
    def thread_drops(self) -> int:
        """How often that was set to one, since other programs kept the cores busy."""
        ...

    def start(self, batches: Sequence[MicroBatch]) -> Callable[[], Sequence[Rows]]:
        """Start at most ``streams`` micro-batches.

        Returns:
            A function that waits for their rows: float32 [B, dimension] each, or a list of B rows.
        """
        ...

    def close(self) -> None:
        """Free the model's memory."""
        ...


def budgets_of(model: Model) -> tuple[int, ...]:
    """The sizes in tokens of a model's full micro-batches, if their number of texts is to be one of a few."""
    return (BUSY_TOKENS, model.tokens_per_batch) if model.few_shapes else ()


def _pad(items: list[Item], budgets: Sequence[int]) -> MicroBatch:
    first = items[0].request
    # All requests to one model have token types, or none.
    parts = [request.first_parts[at] for request, at in items if request.first_parts is not None] or None
    attended = [item.attended for item in items] if any(item.request.attended for item in items) else None
    rows = [item.row for item in items]
    return pad(rows, first.pooling, budgets, alone=first.alone, first_parts=parts, attended=attended)


@dataclass(frozen=True)
class _Step:
    """Micro-batches that were started together, and the function that waits for their vectors."""

    groups: list[list[Item]]
    started_at: float
    finish: Callable[[], Sequence[Rows]]


class Pipeline:
    """The micro-batches of one model that are on the device.

    Args:
        model: The model.
        counts: The engine's counters.
    """

    def __init__(self, model: Model, counts: Counts) -> None:
        self._model, self._counts = model, counts
        self._steps: deque[_Step] = deque()

    @property
    def items(self) -> list[Item]:
        """The texts that are on the device."""
        return [item for step in self._steps for group in step.groups for item in group]

    @property
    def busy(self) -> bool:
        """Whether texts are on the device."""
        return bool(self._steps)

    def run(self, items: list[Item]) -> None:
        """Start one round's texts, in as many micro-batches at a time as the model has streams.

        Vectors of earlier rounds are delivered as soon as more than ``ahead`` later ones are on the device.
        """
        self._counts.rounds += 1
        model = self._model
        max_rows = min(item.request.max_rows for item in items) if model.obeys_batch_size else sys.maxsize
        batches = plan([item.row.size for item in items], model.tokens_per_batch, max_rows, model.streams)
        for first in range(0, len(batches), model.streams):
            self._start([[items[i] for i in batch] for batch in batches[first : first + model.streams]])
            while len(self._steps) > model.ahead:
                self.finish_oldest()

    def finish_oldest(self) -> None:
        """Wait for the oldest micro-batches and deliver their vectors."""
        step = self._steps.popleft()
        try:
            outputs = step.finish()
        except Exception as error:  # MLX's errors fail these requests, not the thread
            self._fail(step.groups, error)
            return
        self._count(step)
        for group, rows in zip(step.groups, outputs, strict=True):
            deliver(group, rows)

    def _start(self, groups: list[list[Item]]) -> None:
        batches = [_pad(group, budgets_of(self._model)) for group in groups]
        started_at = time.monotonic()
        try:
            finish = self._model.start(batches)
        except Exception as error:  # MLX's errors fail these requests, not the thread
            self._fail(groups, error)
            return
        self._steps.append(_Step(groups, started_at, finish))

    def _fail(self, groups: list[list[Item]], error: Exception) -> None:
        """Run failed micro-batches again one by one, so that each fails only its requests; a single one fails them."""
        self._counts.failures += 1
        _log.error("A forward pass failed", exc_info=error)
        if len(groups) == 1:
            for item in groups[0]:
                item.request.fail(WorkerError(f"The forward pass failed: {error}"))
            return
        for group in groups:
            self._start([group])
            while self._steps:
                self.finish_oldest()

    def _count(self, step: _Step) -> None:
        counts, now = self._counts, time.monotonic()
        counts.lone_threads, counts.thread_drops = self._model.lone_threads, self._model.thread_drops
        counts.weight_bytes = self._model.weight_bytes
        # The device has computed this since the previous one ended, or since it was started.
        seconds = now - max(step.started_at, counts.last_success)
        counts.compute_seconds += seconds
        counts.last_success = now
        tokens = sum(item.row.size for group in step.groups for item in group)
        counts.texts += sum(map(len, step.groups))
        counts.tokens += tokens
        # While queries come, a GPU's micro-batches of other texts are smaller.
        if tokens >= min(self._model.tokens_per_batch * self._model.streams, BUSY_TOKENS) // 2:
            counts.speed.add(tokens, seconds, now)
