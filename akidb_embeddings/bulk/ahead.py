"""Work on other threads than the caller's: reading ahead, writing behind, and several calls at once; all bounded."""

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

# Seconds between two looks at whether anybody still wants what is read.
_TICK = 0.2


class _End(Generic[T]):
    """What ends a queue: the error that ended the iteration, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@contextlib.contextmanager
def reading_ahead(items: Iterable[T], most: int) -> Iterator[Iterator[T]]:
    """The items, made on a thread of their own, ``most`` of them before they are asked for.

    The thread is a daemon: one that waits for somebody to type must not keep the program from ending.
    """
    waiting: queue.Queue[T | _End[T]] = queue.Queue(most)
    stopped = threading.Event()

    def put(item: T | _End[T]) -> bool:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(item, timeout=_TICK)
                return True
        return False

    def read(_stdin: object) -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_End(None))
        except BaseException as error:  # raised again where the items are taken
            put(_End(error))

    def taken() -> Iterator[T]:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    # Python closes what nobody holds at its end, and aborts if that is standard input and a thread still waits for it.
    thread = threading.Thread(target=read, args=(sys.stdin,), name="akidb-read", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join(2 * _TICK)  # files are closed next; a read that takes longer finds them closed


class WritingBehind:
    """Calls on one thread, in order, ``most`` of them waiting. As a context manager it ends with the last one done.

    After one that raised, no further one is made: what it was to write would be missing from among the others.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="akidb-write")
        self._pending: deque[Future[None]] = deque()
        self._has_failed = False

    def call(self, function: Callable[[], object]) -> None:
        """Have it called. What an earlier one raised is raised here."""
        self._wait(self._most - 1)
        self._pending.append(self._pool.submit(self._run, function))

    def finish(self) -> None:
        """Wait for all, and raise what one of them raised."""
        self._wait(0)

    def _run(self, function: Callable[[], object]) -> None:
        if not self._has_failed:
            self._has_failed = True
            function()
            self._has_failed = False

    def _wait(self, most: int) -> None:
        while len(self._pending) > most or (self._pending and self._pending[0].done()):
            self._pending[0].result()
            self._pending.popleft()

    def __enter__(self) -> "WritingBehind":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown()


def in_order(function: Callable[[T], R], items: Iterable[T], in_flight: int) -> Generator[R]:
    """What a function gives for each item, in the items' order, with ``in_flight`` calls at once.

    Where the items end with an error, what became of those before it comes first. Closed before its end, it does not
    wait for calls that run; what they work on may be ended meanwhile.
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
            except Exception as error:  # whatever the items come from raises
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
