"""One shared service per configuration and process, of either kind."""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

from akidb_embeddings.errors import WorkerError

# Seconds between two checks whether another task or thread has loaded the service.
_POLL_SECONDS = 0.02


class _Service(Protocol):
    @property
    def alive(self) -> bool: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=_Service)


class _Entry(Generic[S]):
    """One service.

    Attributes:
        service: The service; None until it is loaded.
        loading: The lock that is held during loading.
        is_scheduled: Whether a task is about to load it.
        failures: How many attempts to load it have failed.
        last_error: The error of the last failed attempt.
    """

    def __init__(self) -> None:
        self.service: S | None = None
        self.loading = threading.Lock()
        self.is_scheduled = False
        self.failures, self.last_error = 0, Exception()

    @property
    def usable(self) -> S | None:
        """The service, if it is loaded and its MLX thread has not died permanently."""
        service = self.service
        return service if service is not None and service.alive else None

    @property
    def is_loading(self) -> bool:
        """Whether the service is being loaded, or is about to be."""
        return self.is_scheduled or self.loading.locked()

    def load(self, make: Callable[[], S]) -> S:
        """Load the service. If another thread's attempt fails meanwhile, raise its error instead of trying again."""
        failures = self.failures
        with self.loading:
            if service := self.usable:
                return service
            self.check(failures)
            try:
                self.service = service = make()
            except BaseException as error:
                # KeyboardInterrupt and the like are only for this thread; waiting threads get a WorkerError.
                interrupted = WorkerError(f"Loading the model was interrupted: {error!r}")
                self.last_error = error if isinstance(error, Exception) else interrupted
                self.failures += 1
                raise
            return service

    def check(self, failures: int) -> None:
        """Raise the error of the last attempt, if more attempts than ``failures`` have failed."""
        if self.failures > failures:
            raise self.last_error


class SharedServices(Generic[S]):
    """The shared services of one kind. They stay loaded until ``close`` or the end of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry[S]] = {}
        _KINDS.add(self)

    def get(self, key: Hashable, make: Callable[[], S]) -> S:
        """The service with this key, made by the first call. One whose MLX thread has died permanently is replaced.

        Raises:
            Exception: ``make`` failed; the next call tries again.
        """
        while True:
            entry = self._entry(key)
            if service := entry.usable:
                return service
            service = entry.load(make)
            with self._lock:
                # After ``close`` in the meantime, the entry is registered again, unless there is a new one.
                if self._entries.setdefault(key, entry) is entry:
                    return service
            service.close()

    async def aget(self, key: Hashable, make: Callable[[], S]) -> S:
        """``get`` for event loops: loading does not block the loop."""
        while (service := (entry := self._entry(key)).usable) is None:
            if not entry.is_loading:
                entry.is_scheduled = True
                try:
                    return await asyncio.to_thread(self.get, key, make)
                finally:
                    entry.is_scheduled = False
            failures = entry.failures
            while entry.is_loading:  # not on a thread: many waiting tasks would exhaust the loop's thread pool
                await asyncio.sleep(_POLL_SECONDS)
            entry.check(failures)
        return service

    def usable(self, key: Hashable) -> S | None:
        """The service with this key, if it is loaded."""
        entry = self._entries.get(key)
        return None if entry is None else entry.usable

    def close(self) -> None:
        """Close all services and free their weights."""
        with self._lock:
            entries = list(self._entries.values())
            self._entries.clear()
        for entry in entries:
            if entry.service is not None:
                entry.service.close()

    def forget(self) -> None:
        """Forget all services, in a forked child: it cannot use them, and a thread of the parent may hold the lock."""
        self._lock = threading.Lock()
        self._entries.clear()

    def _entry(self, key: Hashable) -> _Entry[S]:
        with self._lock:
            return self._entries.setdefault(key, _Entry())


_KINDS: weakref.WeakSet[SharedServices[Any]] = weakref.WeakSet()


def _after_fork() -> None:
    for services in _KINDS:
        services.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
