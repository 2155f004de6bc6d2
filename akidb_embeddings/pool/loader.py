"""Loads a pool's models, each on a thread of its own, once there is memory for it."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

from akidb_embeddings.compute.heap import trim_heap
from akidb_embeddings.errors import EmbeddingError, WorkerError
from akidb_embeddings.pool.model import AnyConfig, Service
from akidb_embeddings.pool.room import Place, in_bytes, leaving_for, taken
from akidb_embeddings.pool.slot import Slot
from akidb_embeddings.pool.slots import Slots, closed, fail, take_waiters

Open = Callable[[str, AnyConfig], Service]

_log = logging.getLogger(__name__)


class Loader:
    """What loads models.

    Args:
        slots: The pool's models.
        open_service: Loads a model, given its name and configuration.
        expected_bytes: Tells how much memory a configuration's model will take.
    """

    def __init__(self, slots: Slots, open_service: Open, expected_bytes: Callable[[AnyConfig], int]) -> None:
        self._slots, self._condition = slots, slots.condition
        self._open, self._expected_bytes = open_service, expected_bytes
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
        expected = 0
        if self._slots.limit < math.inf:
            expected = slot.size or self._expected_bytes(slot.model.config)
        while True:
            self._make_room(slot, expected)
            service = self._open(slot.name, slot.model.config)
            size = service.memory_bytes
            if size <= expected or self._grow(slot, size):
                return service, size
            service.close()
            del service
            trim_heap()
            expected = slot.size = size

    def _grow(self, slot: Slot, size: int) -> bool:
        """Reserve more memory for a model. Returns whether there is so much; if not, it has none reserved."""
        with self._condition:
            fits = taken(self._slots.all(), slot) + size <= self._slots.limit
            slot.reserved = size if fits else 0
            self._condition.notify_all()
        return fits

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
            is_wanted = not (self._slots.is_closed or slot.is_removed)
            waiting = take_waiters(slot)
            entered = []
            if is_wanted:
                slot.loaded(service, size)
                entered = [future for _, future in waiting if future.set_running_or_notify_cancel()]
                for _ in entered:
                    slot.begin()
                self._slots.shrink()
            else:
                slot.unloaded()
                self._slots.forget_removed(slot)
            self._condition.notify_all()
        for future in entered:
            future.set_result(service)
        if not is_wanted:
            service.close()
            fail(waiting, closed())

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
