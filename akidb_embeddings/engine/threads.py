"""The threads that use MLX. One that has served an engine serves the next: MLX never frees a thread's CPU streams.

Each stream has a thread of its own inside MLX, so that a process which loads and closes models would collect threads.
"""

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

_log = logging.getLogger(__name__)

_NAME, _IDLE_NAME = "akidb-mlx", "akidb-mlx-idle"


class Job:
    """A function that runs on an MLX thread."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._done = threading.Event()

    def run(self) -> None:
        """Run it on this thread."""
        self._function()

    def finish(self) -> None:
        """Let those go on that wait for it."""
        self._done.set()

    def wait(self) -> None:
        """Block until it is done."""
        self._done.wait()


class _Worker:
    """A thread that runs one job after the other."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        # A daemon, so that a program that does not close its services still ends.
        self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
        self._thread.start()

    def give(self, job: Job | None) -> None:
        """Run a job next; None ends the thread."""
        self._thread.name = _NAME
        self._jobs.put(job)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()
        _wait_for_end(self._thread)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.run()
            except BaseException:  # or the thread would end, and still count as idle
                _log.exception("A job of an MLX thread failed")
            # Idle before the job counts as done, so that whoever waits for it gets this thread for the next one.
            self._thread.name = _IDLE_NAME
            with _lock:
                _idle.append(self)
            job.finish()
            del job  # or it would keep an engine while the thread is idle


_lock = threading.Lock()
_idle: list[_Worker] = []


def start(function: Callable[[], object]) -> Job:
    """Run a function on an MLX thread that is idle, or on a new one.

    Raises:
        RuntimeError: The system cannot start another thread.
    """
    job = Job(function)
    with _lock:
        worker = _idle.pop() if _idle else None
    (worker or _Worker()).give(job)
    return job


def is_mlx_thread() -> bool:
    """Whether the current thread is one of these."""
    return threading.current_thread().name == _NAME


def _end_idle() -> None:
    """End the idle threads before the interpreter is finalized, because MLX must not run at that time."""
    with _lock:
        workers, _idle[:] = list(_idle), []
    for worker in workers:
        worker.give(None)
    for worker in workers:
        worker.join()


def _wait_for_end(thread: threading.Thread) -> None:
    """Wait at most one second until the system has ended a thread that Python has joined.

    If the thread ran functions of ``mx.compile``, as mlx-lm does, MLX acquires the GIL when the thread exits, and
    aborts the process if the interpreter has been finalized. From Python 3.13 on, ``join`` waits for that. In earlier
    versions, only Linux shows whether the thread still exists.
    """
    task, end = Path(f"/proc/self/task/{thread.native_id}"), time.monotonic() + 1.0
    while task.exists() and time.monotonic() < end:
        time.sleep(0.0005)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it during the fork
    _idle.clear()  # threads are not forked


atexit.register(_end_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
