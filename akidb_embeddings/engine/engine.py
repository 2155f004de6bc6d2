"""The MLX thread: token ids in, futures of vectors out, batched across callers.

MLX's streams belong to the thread that created them, so one thread loads the model, runs it and reads the results.
Callers on any thread or event loop pass NumPy arrays and get a future. The engine does not wait for a batch to fill:
the texts that are queued when the device becomes free form the next round.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.engine import threads
from akidb_embeddings.engine.idle import IdleWork
from akidb_embeddings.engine.pipeline import Model, Pipeline, budgets_of
from akidb_embeddings.engine.request import Item, Request, VectorsFuture
from akidb_embeddings.engine.scheduler import Scheduler
from akidb_embeddings.engine.statistics import Counts, Statistics
from akidb_embeddings.errors import OverloadError, WorkerError

_log = logging.getLogger(__name__)

# A thread that dies this many times without a result in between is not restarted.
_MAX_CONSECUTIVE_DEATHS = 3
# Requests of at most this many tokens, a query or a page, go before larger ones.
_SMALL_REQUEST_TOKENS = 512


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
        self._deaths = self._texts_at_death = 0
        self._counts = Counts()
        self._idle_work = IdleWork()
        self._window_scale = 1
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
    def window_scale(self) -> int:
        """By which factor the windows of a long list are larger than a CPU's."""
        return self._window_scale

    @property
    def weight_bytes(self) -> int:
        """The memory that the weights take; 0 before they are loaded."""
        return self._counts.weight_bytes

    def warm_up(self, pooling: str) -> None:
        """Compute the shapes of queries once while nothing waits, on GPUs only. A second call does nothing."""
        with self._condition:
            self._idle_work.warm_up(pooling)
            self._condition.notify()

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
            warming_up=self._idle_work.warming_up,
            warm_up_seconds=self._idle_work.seconds,
            lone_threads=counts.lone_threads,
            thread_drops=counts.thread_drops,
            tokens_per_second=counts.speed.tokens_per_second(now),
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
        keep_warm: float = 0.0,
        first_parts: Sequence[int] | None = None,
        attended: Sequence[int] | None = None,
    ) -> VectorsFuture:
        """Queue texts. A cancelled future leaves the queue.

        Args:
            rows: The token ids of each text, int32 [L].
            pooling: The pooling strategy, or the output that is wanted in place of one vector.
            max_rows: The largest number of texts in a micro-batch.
            max_waiting_tokens: The largest number of queued tokens.
            deadline: When the request expires in the queue, in ``time.monotonic`` seconds.
            alone: Whether to share no micro-batch with other requests.
            keep_warm: For how many seconds after this request a GPU is kept from slowing down.
            first_parts: The number of tokens of each pair's first part; None for texts without token types.
            attended: The number of tokens of each text that others attend to, the first ones; None for all.

        Returns:
            The future of the pooled vectors, float32 [len(rows), dimension], or of a list of rows.

        Raises:
            OverloadError: More than ``max_waiting_tokens`` would be queued.
            WorkerError: The engine is closed or dead, or belongs to the process this one was forked from.
        """
        request = Request(rows, pooling, max_rows, deadline, alone, first_parts, attended)
        self._check_process()
        if not rows:
            request.future.set_result(np.empty((0, 0), dtype=np.float32))
            return request.future
        with self._condition:
            self._check_alive()
            self._admit(request, max_waiting_tokens)
            self._scheduler.add(request)
            self._idle_work.keep_warm(request.pooling, keep_warm)
            self._condition.notify()
        return request.future

    def close(self) -> None:
        """Stop after the current round. Queued requests fail with WorkerError. A second call does nothing."""
        if self._process != os.getpid():
            return
        with self._condition:
            self._closing = True
            waiting = self._scheduler.drain()
            job = self._job
            self._condition.notify()
        for request in waiting:
            request.fail(WorkerError("The engine was closed while this request waited."))
        # The garbage collector may close a service on this or another engine's thread. Joining there could deadlock.
        if not threads.is_mlx_thread():
            job.wait()

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
        self._job = threads.start(self._run)

    def _run(self) -> None:
        """The thread's main function: load and serve; on any error, fail the requests."""
        model: Model | None = None
        try:
            model = self._load()
            self._window_scale, self._counts.weight_bytes = model.window_scale, model.weight_bytes
            self._idle_work.is_gpu = model.is_gpu
            self._running = True
            if not self._ready.done():
                self._ready.set_result(None)
            self._serve(model)
        except BaseException as error:  # SystemExit included: the thread's end must be handled
            if model is not None:
                with contextlib.suppress(Exception):  # it may be broken, and the first error is the one to tell
                    model.close()
            model = None  # free its memory before a new thread loads it again
            self._handle_death(error)

    def _serve(self, model: Model) -> None:
        pipeline = Pipeline(model, self._counts)
        while True:
            with self._condition:
                while not (items := self._next_round(model)) and not pipeline.busy and not self._closing:
                    if self._idle_work.next_in() == 0:
                        break
                    self._condition.wait(self._idle_work.next_in())
                self._in_flight = [*items, *pipeline.items]
                is_closing = self._closing
            if items:
                pipeline.run(items)
            elif pipeline.busy:
                pipeline.finish_oldest()
            elif is_closing:
                model.close()
                return
            else:
                self._idle_work.do(model)

    def _next_round(self, model: Model) -> list[Item]:
        most, now = model.tokens_per_batch, time.monotonic()
        if model.obeys_batch_size:
            return self._scheduler.next_round(most, now, model.streams)
        return self._scheduler.next_round(most, now, bounded_rows=False, budgets=budgets_of(model))

    def _handle_death(self, error: BaseException) -> None:
        if self._ready.done():  # otherwise ``wait_until_loaded`` raises the error
            _log.error("The MLX thread died", exc_info=error)
        self._running = False
        error.with_traceback(None)  # the frames would keep the model in memory
        failure = error if isinstance(error, Exception) else WorkerError(f"The MLX thread was ended: {error!r}")
        with self._condition:
            lost, self._in_flight = {item.request for item in self._in_flight}, []
            self._deaths = 1 if self._counts.texts > self._texts_at_death else self._deaths + 1
            self._texts_at_death = self._counts.texts
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
