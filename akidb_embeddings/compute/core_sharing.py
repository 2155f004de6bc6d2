"""The CPU's cores, divided among the micro-batches that run side by side."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from akidb_embeddings.compute.cores import available_cores, threads_are_fixed
from akidb_embeddings.compute.runtime import BLAS
from akidb_embeddings.compute.thread_choice import ThreadChoice

# Without a micro-batch for so long, the watching thread sleeps until the next one.
_IDLE_SECONDS = 1.0
# After such a pause, the threads of the BLAS have to be woken up.
_PAUSE_SECONDS = 0.025


class CoreSharing:
    """Sets the BLAS threads of each micro-batch, so that threads times micro-batches match the cores.

    A lone micro-batch gets all cores, or one thread while other programs keep the cores busy. If its threads begin to
    wait for cores while it runs, its remaining products get one thread. Used on the engine's thread.
    """

    def __init__(self) -> None:
        self._cores = available_cores()
        is_free = self._cores > 1 and BLAS.path is not None and not threads_are_fixed()
        self._hot, self._cold = ThreadChoice(self._cores), ThreadChoice(self._cores)
        self._watch = _Watch() if is_free else None
        self._last_end = 0.0

    @property
    def lone_threads(self) -> int:
        """The BLAS threads that a lone micro-batch gets now, if it follows another one at once."""
        return 1 if self._hot.is_single else self._cores

    @property
    def drops(self) -> int:
        """How often lone micro-batches were set to one thread, since threads had to wait for cores."""
        return self._hot.drops

    @contextmanager
    def share(self, micro_batches: int, tokens: int, *, fixed: bool) -> Iterator[None]:
        """Compute micro-batches side by side.

        Args:
            micro_batches: How many.
            tokens: The tokens of a lone one, padding included.
            fixed: Whether the number of threads must not depend on other programs, since it decides the last bits of
                vectors.
        """
        if self._watch is None or fixed or micro_batches > 1:
            is_busy = self._hot.is_single and not fixed
            BLAS.set_threads(1 if is_busy else max(1, self._cores // micro_batches))
            yield
        else:
            with self._adapt(self._watch, tokens):
                yield
        self._last_end = time.monotonic()

    @contextmanager
    def _adapt(self, watch: "_Watch", tokens: int) -> Iterator[None]:
        begun, cpu_begun = time.monotonic(), time.process_time()
        choice = self._cold if begun - self._last_end > _PAUSE_SECONDS else self._hot
        threads = choice.threads
        BLAS.set_threads(threads)
        if threads > 1:
            watch.begin(begun, cpu_begun, choice.patience(tokens))
        try:
            yield
        finally:
            was_cut = watch.end()
        seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - cpu_begun
        waited = was_cut or choice.is_waiting(seconds, cpu_seconds)
        choice.observe(threads, tokens, seconds, waited=waited)

    def close(self) -> None:
        """End the watching thread."""
        if self._watch is not None:
            self._watch.close()


class _Watch:
    """A thread that sets the BLAS to one thread if a running micro-batch's threads wait for cores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._running: tuple[float, float] | None = None
        self._check_at, self._patience = 0.0, _IDLE_SECONDS
        self._is_cut = self._is_asleep = self._closed = False

    def begin(self, begun: float, cpu_begun: float, patience: float) -> None:
        """Watch a micro-batch that begins now, after ``patience`` seconds for the first time."""
        with self._lock:
            self._running, self._is_cut = (begun, cpu_begun), False
            self._check_at, self._patience = begun + patience, patience
            if self._is_asleep:
                self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="akidb-cores", daemon=True)
            self._thread.start()

    def end(self) -> bool:
        """The micro-batch has ended. Returns whether it was set to one thread."""
        with self._lock:
            self._running = None
            return self._is_cut

    def close(self) -> None:
        """End the thread, with the model."""
        with self._lock:
            self._closed = True
            self._wake.set()

    def _run(self) -> None:
        # Between micro-batches it wakes up when the last one would have been checked: much cheaper than waking it up at
        # each begin.
        delay: float | None = self._patience
        while not self._closed:
            if delay is None:
                self._wake.wait()
                self._wake.clear()
            else:
                time.sleep(delay)
            delay = self._check()

    def _check(self) -> float | None:
        """Check the running micro-batch. Returns the seconds until the next check; None to sleep until woken."""
        with self._lock:
            self._is_asleep = False
            now = time.monotonic()
            if self._running is None:
                self._is_asleep = now > self._check_at + _IDLE_SECONDS
                return None if self._is_asleep else self._patience
            if now < self._check_at:
                return self._check_at - now
            begun, cpu_begun = self._running
            if not self._is_cut and ThreadChoice.is_waiting(now - begun, time.process_time() - cpu_begun):
                self._is_cut = True
                BLAS.set_threads(1)
            return self._patience
