"""Loads a pool's models, each on a thread of its own, once there is memory for it."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from akidb_embeddings.compute.heap import trim_heap
from akidb_embeddings.errors import EmbeddingError, WorkerError
from akidb_embeddings.pool.model import AnyConfig, Service
from akidb_embeddings.pool.room import Place, in_bytes, leaving_for, taken
from akidb_embeddings.pool.slot import Slot
from akidb_embeddings.pool.slots import Slots, closed, fail, take_waiters

Open = Callable[[str, AnyConfig], Service]

_log = logging.getLogger(__name__)


class Loading(NamedTuple):
    """What is done to load a model, in this order.

    Attributes:
        announce: Told of its configuration: what follows may download its files.
        expected_bytes: Tells how much memory it will take. Called only where memory is limited.
        open_service: Loads it, given its name and configuration.
    """

    announce: Callable[[AnyConfig], None]
    expected_bytes: Callable[[AnyConfig], int]
    open_service: Open


class Loader:
    """What loads models.

    Args:
        slots: The pool's models.
        loading: How a model is loaded.
    """

    def __init__(self, slots: Slots, loading: Loading) -> None:
        self._slots, self._condition, self._loading = slots, slots.condition, loading
        self._line: deque[Place] = deque()  # the models that wait for memory, the first come first

    @property
    def is_waiting(self) -> bool:
        """Whether a model waits for memory."""
        return bool(self._line)

    def start(self, slot: Slot) -> None:
        """Begin to load a model. Called with the lock held."""
        slot.state = "loading"
        threading.Thread(target=self._load, args=(slot,), name="akidb-load", daemon=True).start()

    def _load(self, slot: Slot) -> None:
        begin = time.monotonic()
        try:
            service, size = self._open_within_limit(slot)
        except BaseException as error:  # whatever ends the attempt, those who wait for the model are told
            self._failed(slot, error)
        else:
            _log.info("Loaded %s in %.1f s, %s", slot.name, time.monotonic() - begin, in_bytes(size))
            self._done(slot, service, size)

    def _open_within_limit(self, slot: Slot) -> tuple[Service, int]:
        """Open a model once there is memory for it. Returns its service, and its size.

        One that turns out larger than expected, and does not fit, is closed and waits again: two such models would wait
        for each other if they kept what they have.
        """
        config, expected = slot.model.config, 0
        self._loading.announce(config)
        if self._slots.limit < math.inf:
            expected = slot.size or self._loading.expected_bytes(config)
        while True:
            self._make_room(slot, expected)
            service = self._loading.open_service(slot.name, config)
            size = service.memory_bytes
            if size <= expected or self._grow(slot, size):
                return service, size
            service.close()
            del service
            trim_heap()
            self._reserve(slot, 0)
            expected = slot.size = size

    def _grow(self, slot: Slot, size: int) -> bool:
        """Reserve more memory for a model. Returns whether there is so much."""
        with self._condition:
            fits = taken(self._slots.all(), slot) + size <= self._slots.limit
            if fits:
                slot.reserved = size
        return fits

    def _reserve(self, slot: Slot, size: int) -> None:
        with self._condition:
            slot.reserved = size
            self._condition.notify_all()

    def _make_room(self, slot: Slot, size: int) -> None:
        """Reserve memory for a model. Blocks until others have left.

        Raises:
            MemoryLimitError: It does not fit.
            WorkerError: The pool is closed.
        """
        place = Place(slot, size, time.monotonic())
        with self._condition:
            self._line.append(place)
            while not self._has_room(place):
                self._condition.wait(place.patience or None)
            self._line.popleft()
            slot.reserved = size
            self._condition.notify_all()

    def _has_room(self, place: Place) -> bool:
        """Whether it is a model's turn, and there is memory for it; else others are told to leave."""
        self._slots.check_open()
        if self._line[0] is not place:
            return False
        if taken(self._slots.all(), place.slot) + place.size <= self._slots.limit:
            return True
        for other in leaving_for(place, self._slots.all(), self._slots.limit):
            self._slots.expel(other)
        return False

    def _done(self, slot: Slot, service: Service, size: int) -> None:
        with self._condition:
            if self._slots.is_closed or slot.is_removed:
                entered = None
            else:
                slot.loaded(service, size)
                waiting = take_waiters(slot)
                entered = [waiter for waiter in waiting if waiter.set_running_or_notify_cancel()]
                for _ in entered:
                    slot.begin()
                self._slots.shrink()
                self._condition.notify_all()
        if entered is None:
            service.close()  # before its memory counts as free
            del service
            trim_heap()
            self._failed(slot, closed())
            return
        for waiter in entered:
            waiter.set_result(service)

    def _failed(self, slot: Slot, error: BaseException) -> None:
        failure = error if isinstance(error, Exception) else WorkerError(f"Loading was interrupted: {error!r}")
        if not isinstance(error, EmbeddingError):
            _log.error("%s could not be loaded", slot.name, exc_info=error)
        with self._condition:
            self._line = deque(place for place in self._line if place.slot is not slot)
            slot.unloaded()
            slot.problem = str(failure)
            self._slots.forget_removed(slot)
            waiting = take_waiters(slot)
            self._condition.notify_all()
        fail(waiting, failure)
