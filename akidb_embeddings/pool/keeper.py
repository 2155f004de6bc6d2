"""What the calls of a pool do to its models."""

import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from akidb_embeddings.compute.heap import limit_arenas, trim_heap
from akidb_embeddings.errors import DeadlineError, WorkerError
from akidb_embeddings.pool.closer import Closer
from akidb_embeddings.pool.loader import Loader, Loading
from akidb_embeddings.pool.model import ModelState, PooledModel, Service
from akidb_embeddings.pool.slot import Slot, Waiter
from akidb_embeddings.pool.slots import Slots, closed, fail, take_waiters, unknown


class Keeper:
    """The models of a pool, what loads them and what closes them. A process that was forked from this one has none."""

    def __init__(self, loading: Loading) -> None:
        limit_arenas()  # before the first thread
        self._process = os.getpid()
        self._slots = Slots()
        self._loader = Loader(self._slots, loading)
        self._closer = Closer(self._slots, self._loader.start)
        self._closing = threading.RLock()

    def models(self) -> dict[str, PooledModel]:
        """What the pool was told of each model."""
        with self._locked():
            return self._slots.models()

    def is_loaded(self, name: str) -> bool:
        """Whether a model is loaded, and takes calls."""
        with self._locked():
            return self._slots.slot(name).state == "loaded"

    def replace(self, models: Mapping[str, PooledModel], limit: int | None) -> None:
        """Have other models, or another limit."""
        with self._locked() as condition:
            self._slots.check_open()
            wanted, lost = self._slots.replace(models)
            self._slots.limit = math.inf if limit is None else limit
            self._slots.shrink()
            for slot in wanted:
                self._loader.start(slot)
            condition.notify_all()
        for waiter in lost:
            fail([waiter], unknown(waiter.slot.name, models))

    def enter(self, name: str) -> Waiter:
        """Begin a call that uses a model. Unless it is loaded, it will be.

        Returns:
            The future of the service. Each call must ``leave`` its slot, or ``give_up`` if it gets no service.
        """
        with self._locked():
            slot = self._slots.slot(name)
            waiter, service = Waiter(slot), slot.service
            if slot.state != "loaded" or service is None:
                slot.waiters.append(waiter)
                if slot.state == "unloaded":
                    self._loader.start(slot)
                return waiter
            slot.begin()
        waiter.set_result(service)
        return waiter

    def look(self, name: str) -> tuple[Slot, Service] | None:
        """Begin to look at a model, which is no use of it; None if it is not loaded. End it with ``look_away``."""
        with self._locked():
            slot = self._slots.find(name)
            if slot is None or slot.state != "loaded" or slot.service is None:
                return None
            slot.users += 1
            return slot, slot.service

    def look_away(self, slot: Slot) -> None:
        """End what ``look`` has begun."""
        with self._locked() as condition:
            slot.users -= 1
            condition.notify_all()

    def leave(self, slot: Slot, keep_alive: float | None) -> None:
        """End a call that used a model."""
        with self._locked() as condition:
            slot.end(keep_alive)
            if slot.measure():
                self._slots.shrink()
            if slot.users:
                return
            expires_at = time.monotonic() + slot.expires_in
            if slot.state == "unloading" or self._loader.is_waiting or expires_at < self._slots.wakes_at:
                condition.notify_all()

    def give_up(self, waiter: Waiter) -> None:
        """End a call that did not wait for its model, or whose model could not be loaded."""
        with self._locked():
            if waiter in waiter.slot.waiters:
                waiter.slot.waiters.remove(waiter)
        if not waiter.cancel() and waiter.exception() is None:
            self.leave(waiter.slot, None)

    def unload(self, name: str, timeout: float | None) -> bool:
        """Unload a model once the calls that use it are done. Returns whether it was loaded."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        with self._locked() as condition:
            slot = self._slots.slot(name)
            while slot.state == "loading" and not self._slots.is_closed:
                _wait(condition, name, end, timeout)
            if slot.state == "unloaded":
                return False
            count = slot.unloads
            self._slots.expel(slot)
            while slot.unloads == count and not self._slots.is_closed:
                _wait(condition, name, end, timeout)
            return True

    def states(self) -> dict[str, ModelState]:
        """What each model does now."""
        with self._locked():
            return self._slots.states()

    def services(self) -> dict[str, Service]:
        """The services of the models that are loaded now."""
        with self._locked():
            return self._slots.services()

    def close(self) -> None:
        """Unload all models, whoever uses them; fail the calls that wait. A second caller waits for the first."""
        if self._process != os.getpid():
            return
        with self._locked() as condition:
            self._slots.is_closed = True
            slots = self._slots.all()
            waiting = [one for slot in slots for one in take_waiters(slot)]
            services = [slot.service for slot in slots if slot.service is not None]
            condition.notify_all()
        fail(waiting, closed())
        self._closer.join()
        with self._closing:
            for service in services:
                service.close()
        with self._locked() as condition:
            for slot in slots:
                if slot.state != "loading":  # its thread finds the pool closed, and closes what it has loaded
                    slot.unloaded()
        services.clear()
        trim_heap()

    @contextmanager
    def _locked(self) -> Iterator[threading.Condition]:
        """The lock, held; a fork may have left it locked, and has left the threads behind that it waits for.

        Raises:
            WorkerError: This process was forked from the one that made the pool.
        """
        if self._process != os.getpid():
            raise WorkerError(
                f"This ModelPool belongs to process {self._process}, and this is process {os.getpid()}, forked from "
                "it. MLX cannot be used after a fork: start processes with multiprocessing's 'spawn' method instead."
            )
        with self._slots.condition:
            yield self._slots.condition


def _wait(condition: threading.Condition, name: str, end: float, timeout: float | None) -> None:
    """Wait for a change.

    Raises:
        DeadlineError: The time is up.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise DeadlineError(f"{name} was not unloaded within {timeout:g} s; it will be once its calls are done.")
    condition.wait(None if left == math.inf else left)
