"""Bounded work on background threads: reading ahead, writing behind, and several calls at once."""

import contextlib
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Seconds between two checks whether the reader has been stopped.
_POLL_INTERVAL = 0.2


class _End(Generic[T]):
    """The end of a queue, with the error that ended the iteration, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@contextlib.contextmanager
def read_ahead(items: Iterable[T], limit: int) -> Iterator[Iterator[T]]:
    """Iterate over items on a background thread, ahead of the consumer.

    The thread is a daemon: waiting for input at a terminal must not keep the program from ending.

    Args:
        items: What to iterate over.
        limit: How many items to buffer at most.

    Yields:
        An iterator over the same items. An error of ``items`` is raised there, after the items before it.
    """
    waiting: queue.Queue[T | _End[T]] = queue.Queue(limit)
    stopped = threading.Event()

    def put(item: T | _End[T]) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=_POLL_INTERVAL)
                return True
        return False

    def read(_stdin: object) -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_End(None))
        except BaseException as error:  # raised again in the consumer
            put(_End(error))

    def buffered() -> Iterator[T]:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    # The thread holds sys.stdin: otherwise, Python would close it at exit, and abort if this thread still waits for it.
    thread = threading.Thread(target=read, args=(sys.stdin,), name="akidb-read", daemon=True)
    thread.start()
    try:
        yield buffered()
    finally:
        stopped.set()
        thread.join(2 * _POLL_INTERVAL)  # the caller closes the files next; a slower read finds them closed


class WriteBehind:
    """Calls on one background thread, in order.

    After a call that raised, no further one is made: the output would have a gap. Leaving the context manager waits
    for all calls.

    Args:
        limit: How many calls may be pending.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="akidb-write")
        self._pending: deque[Future[None]] = deque()
        self._has_failed = False

    def call(self, function: Callable[[], object]) -> None:
        """Schedule a call. Raises what an earlier call raised."""
        self._wait(self._limit - 1)
        self._pending.append(self._pool.submit(self._run, function))

    def finish(self) -> None:
        """Wait for all calls, and raise what one of them raised."""
        self._wait(0)

    def _run(self, function: Callable[[], object]) -> None:
        if not self._has_failed:
            self._has_failed = True
            function()
            self._has_failed = False

    def _wait(self, limit: int) -> None:
        while len(self._pending) > limit or (self._pending and self._pending[0].done()):
            self._pending[0].result()
            self._pending.popleft()

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown()


def map_in_order(function: Callable[[T], R], items: Iterable[T], in_flight: int) -> Generator[R]:
    """Call a function for each item, several calls at once, and yield the results in the items' order.

    A generator that is closed early does not wait for running calls, because what they use may be closed meanwhile.

    Args:
        function: Called on background threads.
        items: Its arguments, iterated over on the caller's thread. An error of theirs is raised after the results of
            the items before it.
        in_flight: How many calls may run at once.

    Yields:
        One result per item.
    """
    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="akidb-embed")
    pending: deque[Future[R]] = deque()
    iterator, failure = iter(items), None
    try:
        while True:
            try:
                pending.append(pool.submit(function, next(iterator)))
            except StopIteration:
                break
            except Exception as error:  # any error of the iterator's
                failure = error
                break
            if len(pending) == in_flight:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure:
            raise failure
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
