"""The MLX thread: token ids in, futures of vectors out, batched across callers.

MLX's streams belong to the thread that made them, so one thread loads the model, runs it and reads the results back.
Callers on any thread or event loop hand in NumPy arrays and get a future. Nothing waits for a batch to fill: whatever
is queued when the device is free makes the next round.
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
from akidb_embeddings.engine.scheduler import Item, Request, Scheduler, VectorsFuture
from akidb_embeddings.engine.statistics import Counts, Statistics
from akidb_embeddings.errors import NonFiniteVectorError, OverloadError, WorkerError
from akidb_embeddings.vectors.finish import Vectors, non_finite_rows

_log = logging.getLogger(__name__)

# A worker that dies this often without one result in between is not restarted.
_DEATHS_IN_A_ROW = 3
# Requests of at most this many tokens, a query or a page, go before larger ones.
_SMALL = 512
_THREAD = "akidb-mlx"


class Model(Protocol):
    """What the engine runs, on its own thread only: ``model.MLXEmbeddingModel``, or a test's."""

    streams: int
    tokens_per_batch: int

    def forward(self, batches: Sequence[MicroBatch]) -> list[Vectors]:
        """Vectors for each of at most ``streams`` micro-batches."""
        ...

    def close(self) -> None:
        """Free what the model holds."""
        ...


class Engine:
    """One model on one thread, and the requests that wait for it.

    ``load`` makes the model; it is called on the engine's thread, again if that thread had to be restarted.
    """

    def __init__(self, load: Callable[[], Model]) -> None:
        self._load = load
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._scheduler = Scheduler(_SMALL)
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
        """Whether requests are taken: not closed, not dead for good, and in the process that started it."""
        return not self._closing and self._failure is None and self._process == os.getpid()

    @property
    def waiting_tokens(self) -> int:
        """Tokens queued and not yet begun."""
        return self._scheduler.waiting_tokens

    @property
    def statistics(self) -> Statistics:
        """A look at what happens."""
        now, counts = time.monotonic(), self._counts
        with self._changed:
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
        """Block until the model is loaded; raises what its loading raised."""
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
        """Queue texts as token ids; the future gives their pooled vectors ``[len(rows), dimension]``.

        ``max_rows`` bounds the texts in a micro-batch, ``deadline`` (``time.monotonic`` seconds) the time in the
        queue. ``alone``: share no micro-batch with other requests. A future that is cancelled leaves the queue.
        OverloadError where more than ``max_waiting_tokens`` would wait, WorkerError where the engine is closed, dead,
        or of the process this one was forked from.
        """
        request = Request(rows, pooling, max_rows, deadline, alone)
        self._check_process()
        if not rows:
            request.future.set_result(np.empty((0, 0), dtype=np.float32))
            return request.future
        with self._changed:
            self._check_alive()
            self._admit(request, max_waiting_tokens)
            self._scheduler.add(request)
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """Stop after the round in flight. Requests still waiting fail with WorkerError. Closing twice does nothing."""
        if self._process != os.getpid():
            return
        with self._changed:
            self._closing = True
            waiting = self._scheduler.drain()
            thread = self._thread
            self._changed.notify()
        for request in waiting:
            request.fail(WorkerError("The engine was closed while this request waited."))
        # Not from an MLX thread, its own or another's, where the collector may have ended a service: two would wait for
        # each other.
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
        """Refuse what would make the queue too long. An empty queue takes any request, or a large one never ran."""
        if self._scheduler.waiting_tokens + request.waiting_tokens <= limit:
            return
        self._scheduler.drop_finished(time.monotonic())
        waiting = self._scheduler.waiting_tokens
        if waiting and waiting + request.waiting_tokens > limit:
            raise OverloadError(
                f"{waiting} tokens wait already and this request has {request.waiting_tokens}; max_queued_tokens is "
                f"{limit}. Try again later, or raise it.",
                field="max_queued_tokens",
                limit=limit,
            )

    def _start(self) -> None:
        # A daemon, so that a program that forgot close() still ends; engine_table stops the thread at exit.
        self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """The thread's life: load, serve, and whatever ends it, leave nobody waiting."""
        model: Model | None = None
        try:
            model = self._load()
            self._running = True
            if not self._ready.done():
                self._ready.set_result(None)
            self._serve(model)
        except BaseException as error:  # SystemExit and the like included: a dead thread must be noticed
            model = None  # its memory, before a successor loads it again
            self._died(error)

    def _serve(self, model: Model) -> None:
        while True:
            with self._changed:
                while not (items := self._next_round(model)) and not self._closing:
                    self._changed.wait()
                self._in_flight = items
            if not items:
                model.close()
                return
            self._compute(model, items)
            self._in_flight = []

    def _next_round(self, model: Model) -> list[Item]:
        return self._scheduler.next_round(model.tokens_per_batch, time.monotonic(), model.streams)

    def _compute(self, model: Model, items: list[Item]) -> None:
        """One round: as many micro-batches side by side as the model has streams, until all is done."""
        self._counts.rounds += 1
        max_rows = min(item.request.max_rows for item in items)
        lengths = [item.row.size for item in items]
        batches = plan(lengths, model.tokens_per_batch, max_rows, model.streams)
        for first in range(0, len(batches), model.streams):
            self._forward(model, [[items[i] for i in batch] for batch in batches[first : first + model.streams]])

    def _forward(self, model: Model, groups: list[list[Item]]) -> None:
        """Run micro-batches together; where that fails, one by one, so that each fails only its own requests."""
        batches = [pad([item.row for item in group], group[0].request.pooling) for group in groups]
        begin = time.monotonic()
        try:
            outputs = model.forward(batches)
        except Exception as error:  # whatever MLX raises: it is these requests' failure, not the thread's end
            self._counts.failures += 1
            _log.exception("A forward pass failed")
            if len(groups) > 1:
                for group in groups:
                    self._forward(model, [group])
                return
            for item in groups[0]:
                item.request.fail(WorkerError(f"The forward pass failed: {error}"))
            return
        self._count(batches, begin)
        for group, vectors in zip(groups, outputs, strict=True):
            _deliver(group, vectors)
        self._deaths = 0

    def _count(self, batches: list[MicroBatch], begin: float) -> None:
        counts = self._counts
        counts.last_success = time.monotonic()
        counts.compute_seconds += counts.last_success - begin
        counts.texts += sum(batch.lengths.size for batch in batches)
        counts.tokens += sum(int(batch.lengths.sum()) for batch in batches)

    def _died(self, error: BaseException) -> None:
        if self._ready.done():  # before, the error goes to whoever waits for the model
            _log.error("The MLX thread died", exc_info=error)
        self._running = False
        error.with_traceback(None)  # its frames would keep the model in memory
        failure = error if isinstance(error, Exception) else WorkerError(f"The MLX thread was ended: {error!r}")
        with self._changed:
            lost, self._in_flight = {item.request for item in self._in_flight}, []
            self._deaths += 1
            restart = self._ready.done() and self._deaths < _DEATHS_IN_A_ROW and not self._closing
            if restart:
                try:
                    self._counts.restarts += 1
                    self._start()  # before anyone hears of it: whoever closes the engine then joins the new thread
                except RuntimeError as refusal:  # the system has no thread left
                    restart, failure = False, refusal
            if not restart:
                self._failure = failure
                lost.update(self._scheduler.drain())
        for request in lost:
            request.fail(WorkerError(f"The MLX thread died while it had this request: {error!r}"))
        if not self._ready.done():
            self._ready.set_exception(failure)


def _wait_for_end(thread: threading.Thread) -> None:
    """Wait until the system has ended a thread that Python has; one second at most.

    Where the thread ran functions of ``mx.compile``, as mlx-lm's are, MLX takes the GIL at its very end, and aborts the
    process if the interpreter is gone by then. From Python 3.13 on, ``join`` waits for that by itself; before, it is
    Linux alone that tells of it.
    """
    task, end = Path(f"/proc/self/task/{thread.native_id}"), time.monotonic() + 1.0
    while task.exists() and time.monotonic() < end:
        time.sleep(0.0005)


def _deliver(group: list[Item], vectors: Vectors) -> None:
    """Hand each text its vector; a row with NaN or infinity fails its request and no other."""
    spoilt = set(non_finite_rows(vectors))
    for row, (request, position) in enumerate(group):
        if row in spoilt:
            request.fail(NonFiniteVectorError(position, request.rows[position].size))
        else:
            request.deliver(position, vectors[row])
