"""The MLX thread: token ids in, futures of vectors out, batched across callers.

MLX's streams belong to the thread that created them, so one thread loads the model, runs it and reads the results.
Callers on any thread or event loop pass NumPy arrays and get a future. The engine does not wait for a batch to fill:
the texts that are queued when the device becomes free form the next round.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.engine.planner import MicroBatch, pad, plan
from akidb_embeddings.engine.scheduler import Item, Request, Scheduler, VectorsFuture, deliver
from akidb_embeddings.engine.statistics import Counts, Statistics
from akidb_embeddings.errors import OverloadError, WorkerError
from akidb_embeddings.vectors.finish import Vectors

_log = logging.getLogger(__name__)

# A thread that dies this many times without a result in between is not restarted.
_MAX_CONSECUTIVE_DEATHS = 3
# Requests of at most this many tokens, a query or a page, go before larger ones.
_SMALL_REQUEST_TOKENS = 512
_THREAD = "akidb-mlx"


class Model(Protocol):
    """What the engine runs on its thread: ``model.MLXEmbeddingModel``, or a fake in tests.

    Attributes:
        streams: The number of micro-batches that run in parallel.
        tokens_per_batch: The largest micro-batch, in tokens including padding.
    """

    streams: int
    tokens_per_batch: int

    def forward(self, batches: Sequence[MicroBatch]) -> list[Vectors]:
        """Vectors, float32 [B, dimension], for each of at most ``streams`` micro-batches."""
        ...

    def close(self) -> None:
        """Free the model's memory."""
        ...


class Engine:
    """One model on one thread, and the requests that wait for it.

    Args:
        load: Loads the model. It is called on the engine's thread, and again if that thread is restarted.
    """

    def __init__(self, load: Callable[[], Model]) -> None:
        self._load = load
        self._process = os.getpid()
        self._condition = threading.Condition()
        self._scheduler = Scheduler(_SMALL_REQUEST_TOKENS)
        self._in_flight: list[Item] = []
        self._closing = False
        self._failure: Exception | None = None
        self._running = False
        self._deaths = 0
        self._counts = Counts()
        self._ready: Future[None] = Future()
        self._start()

    @property
    def alive(self) -> bool:
        """Whether requests are accepted: not closed, not permanently dead, and in the process that started it."""
        return not self._closing and self._failure is None and self._process == os.getpid()

    @property
    def waiting_tokens(self) -> int:
        """The number of queued tokens."""
        return self._scheduler.waiting_tokens

    @property
    def statistics(self) -> Statistics:
        """A snapshot of the engine's counters."""
        now, counts = time.monotonic(), self._counts
        with self._condition:
            waiting, oldest = self._scheduler.waiting_tokens, self._scheduler.oldest()
        return Statistics(
            running=self._running and self.alive,
            waiting_tokens=waiting,
            waiting_seconds=0.0 if oldest is None else max(0.0, now - oldest),
            rounds=counts.rounds,
            texts=counts.texts,
            tokens=counts.tokens,
            compute_seconds=counts.compute_seconds,
            failures=counts.failures,
            restarts=counts.restarts,
            idle_seconds=max(0.0, now - counts.last_success),
        )

    def wait_until_loaded(self) -> None:
        """Block until the model is loaded.

        Raises:
            Exception: The error that ``load`` raised.
        """
        self._ready.result()

    def submit(
        self,
        rows: list[NDArray[np.int32]],
        *,
        pooling: str,
        max_rows: int,
        max_waiting_tokens: int,
        deadline: float | None = None,
        alone: bool = False,
    ) -> VectorsFuture:
        """Queue texts. A cancelled future leaves the queue.

        Args:
            rows: The token ids of each text, int32 [L].
            pooling: The pooling strategy.
            max_rows: The largest number of texts in a micro-batch.
            max_waiting_tokens: The largest number of queued tokens.
            deadline: When the request expires in the queue, in ``time.monotonic`` seconds.
            alone: Whether to share no micro-batch with other requests.

        Returns:
            The future of the pooled vectors, float32 [len(rows), dimension].

        Raises:
            OverloadError: More than ``max_waiting_tokens`` would be queued.
            WorkerError: The engine is closed or dead, or belongs to the process this one was forked from.
        """
        request = Request(rows, pooling, max_rows, deadline, alone)
        self._check_process()
        if not rows:
            request.future.set_result(np.empty((0, 0), dtype=np.float32))
            return request.future
        with self._condition:
            self._check_alive()
            self._admit(request, max_waiting_tokens)
            self._scheduler.add(request)
            self._condition.notify()
        return request.future

    def close(self) -> None:
        """Stop after the current round. Queued requests fail with WorkerError. A second call does nothing."""
        if self._process != os.getpid():
            return
        with self._condition:
            self._closing = True
            waiting = self._scheduler.drain()
            thread = self._thread
            self._condition.notify()
        for request in waiting:
            request.fail(WorkerError("The engine was closed while this request waited."))
        # The garbage collector may close a service on this or another engine's thread. Joining there could deadlock.
        if threading.current_thread().name != _THREAD:
            thread.join()
            _wait_for_end(thread)

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise WorkerError(
                f"This engine belongs to process {self._process}, and this is process {os.getpid()}, forked from it. "
                "MLX cannot be used after a fork: start processes with multiprocessing's 'spawn' method instead."
            )

    def _check_alive(self) -> None:
        if self._closing:
            raise WorkerError("This engine is closed; make a new EmbeddingService.")
        if self._failure is not None:
            raise WorkerError(f"The MLX thread died and could not be restarted: {self._failure}") from self._failure

    def _admit(self, request: Request, limit: int) -> None:
        """Reject requests beyond ``limit``. An empty queue accepts any request, or a large one would never run."""
        if self._scheduler.waiting_tokens + request.waiting_tokens <= limit:
            return
        self._scheduler.drop_finished(time.monotonic())
        waiting = self._scheduler.waiting_tokens
        if waiting and waiting + request.waiting_tokens > limit:
            raise OverloadError(
                f"{waiting} tokens are already queued and this request has {request.waiting_tokens}; max_queued_tokens "
                f"is {limit}. Try again later, or raise it.",
                field="max_queued_tokens",
                limit=limit,
            )

    def _start(self) -> None:
        # A daemon, so that a program that does not call close() still ends; ``table`` stops the thread at exit.
        self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """The thread's main function: load and serve; on any error, fail the requests."""
        model: Model | None = None
        try:
            model = self._load()
            self._running = True
            if not self._ready.done():
                self._ready.set_result(None)
            self._serve(model)
        except BaseException as error:  # SystemExit included: the thread's end must be handled
            model = None  # free its memory before a new thread loads it again
            self._handle_death(error)

    def _serve(self, model: Model) -> None:
        while True:
            with self._condition:
                while not (items := self._next_round(model)) and not self._closing:
                    self._condition.wait()
                self._in_flight = items
            if not items:
                model.close()
                return
            self._compute(model, items)
            self._in_flight = []

    def _next_round(self, model: Model) -> list[Item]:
        return self._scheduler.next_round(model.tokens_per_batch, time.monotonic(), model.streams)

    def _compute(self, model: Model, items: list[Item]) -> None:
        """Run one round: as many micro-batches in parallel as the model has streams, until all texts are done."""
        self._counts.rounds += 1
        max_rows = min(item.request.max_rows for item in items)
        lengths = [item.row.size for item in items]
        batches = plan(lengths, model.tokens_per_batch, max_rows, model.streams)
        for first in range(0, len(batches), model.streams):
            self._forward(model, [[items[i] for i in batch] for batch in batches[first : first + model.streams]])

    def _forward(self, model: Model, groups: list[list[Item]]) -> None:
        """Run micro-batches in parallel. If that fails, run them one by one, so that each fails only its requests."""
        batches = [pad([item.row for item in group], group[0].request.pooling) for group in groups]
        started_at = time.monotonic()
        try:
            outputs = model.forward(batches)
        except Exception as error:  # MLX's errors fail these requests, not the thread
            self._counts.failures += 1
            _log.exception("A forward pass failed")
            if len(groups) > 1:
                for group in groups:
                    self._forward(model, [group])
                return
            for item in groups[0]:
                item.request.fail(WorkerError(f"The forward pass failed: {error}"))
            return
        self._count(batches, started_at)
        for group, vectors in zip(groups, outputs, strict=True):
            deliver(group, vectors)
        self._deaths = 0

    def _count(self, batches: list[MicroBatch], started_at: float) -> None:
        counts = self._counts
        counts.last_success = time.monotonic()
        counts.compute_seconds += counts.last_success - started_at
        counts.texts += sum(batch.lengths.size for batch in batches)
        counts.tokens += sum(int(batch.lengths.sum()) for batch in batches)

    def _handle_death(self, error: BaseException) -> None:
        if self._ready.done():  # otherwise ``wait_until_loaded`` raises the error
            _log.error("The MLX thread died", exc_info=error)
        self._running = False
        error.with_traceback(None)  # the frames would keep the model in memory
        failure = error if isinstance(error, Exception) else WorkerError(f"The MLX thread was ended: {error!r}")
        with self._condition:
            lost, self._in_flight = {item.request for item in self._in_flight}, []
            self._deaths += 1
            restart = self._ready.done() and self._deaths < _MAX_CONSECUTIVE_DEATHS and not self._closing
            if restart:
                try:
                    self._counts.restarts += 1
                    self._start()  # before the requests fail, so that a following close() joins the new thread
                except RuntimeError as start_error:  # the system cannot start another thread
                    restart, failure = False, start_error
            if not restart:
                self._failure = failure
                lost.update(self._scheduler.drain())
        for request in lost:
            request.fail(WorkerError(f"The MLX thread died while it had this request: {error!r}"))
        if not self._ready.done():
            self._ready.set_exception(failure)


def _wait_for_end(thread: threading.Thread) -> None:
    """Wait at most one second until the system has ended a thread that Python has joined.

    If the thread ran functions of ``mx.compile``, as mlx-lm does, MLX acquires the GIL when the thread exits, and
    aborts the process if the interpreter has been finalized. From Python 3.13 on, ``join`` waits for that. In earlier
    versions, only Linux shows whether the thread still exists.
    """
    task, end = Path(f"/proc/self/task/{thread.native_id}"), time.monotonic() + 1.0
    while task.exists() and time.monotonic() < end:
        time.sleep(0.0005)
