"""All models of a pool, and the lock that guards them. It is held for moments, never while a model is loaded or closed.

Names that begin without an underscore are for the other modules of this package.
"""

import math
import threading
from collections.abc import Iterable, Mapping

from akidb_embeddings.errors import ModelNotFoundError, WorkerError
from akidb_embeddings.pool.model import ModelState, PooledModel, Service
from akidb_embeddings.pool.slot import Slot, Waiter


class Slots:
    """The models of a pool. Methods are called with ``condition`` held, except where they say otherwise.

    Attributes:
        condition: The lock; it is notified of every change that a thread may wait for.
        limit: The most bytes that all models may take.
        is_closed: Whether the pool is closed.
        wakes_at: When the closer looks at expired models next, in ``time.monotonic`` seconds.
    """

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.limit: float = math.inf
        self.is_closed = False
        self.wakes_at: float = math.inf
        self._slots: dict[str, Slot] = {}
        self._removed: list[Slot] = []  # until their last users are done

    def slot(self, name: str) -> Slot:
        """The model called ``name``.

        Raises:
            ModelNotFoundError: There is none.
            WorkerError: The pool is closed.
        """
        self.check_open()
        if (found := self.find(name)) is None:
            raise unknown(name, self._slots)
        return found

    def find(self, name: str) -> Slot | None:
        """The model called ``name``; None if there is none."""
        return self._slots.get(name)

    def all(self) -> list[Slot]:
        """All models, those included that the pool has no longer while they leave."""
        return [*self._slots.values(), *self._removed]

    def models(self) -> dict[str, PooledModel]:
        """What the pool was told of each model."""
        return {name: slot.model for name, slot in self._slots.items()}

    def states(self) -> dict[str, ModelState]:
        """What each model does now."""
        return {name: slot.describe() for name, slot in self._slots.items()}

    def services(self) -> dict[str, Service]:
        """The services of the models that are loaded now."""
        return {
            name: slot.service
            for name, slot in self._slots.items()
            if slot.state == "loaded" and slot.service is not None
        }

    def check_open(self) -> None:
        """Check that the pool is not closed.

        Raises:
            WorkerError: It is.
        """
        if self.is_closed:
            raise closed()

    def expel(self, slot: Slot) -> None:
        """Let a loaded model take no more calls, and leave when it has none."""
        if slot.state == "loaded":
            slot.state = "unloading"
            self.condition.notify_all()

    def shrink(self) -> None:
        """Let the least recently used models leave while all together are above the limit."""
        excess = sum(slot.reserved for slot in self.all() if slot.state != "unloading") - self.limit
        loaded = [slot for slot in self.all() if slot.state == "loaded" and not slot.model.pinned]
        for slot in sorted(loaded, key=lambda slot: slot.last_use):
            if excess <= 0:
                return
            excess -= slot.reserved
            self.expel(slot)

    def replace(self, models: Mapping[str, PooledModel]) -> tuple[list[Slot], list[Waiter]]:
        """Have other models; those with an unchanged configuration stay.

        Calls that wait for a model wait for the one of its name and kind from now on.

        Returns:
            The models that are to be loaded for such calls, and the calls whose model has no successor.
        """
        before, self._slots = self._slots, {}
        for name, model in models.items():
            slot = before.get(name)
            if slot is not None and slot.model.config == model.config:
                del before[name]
                slot.told(model)
                self._slots[name] = slot
            else:
                self._slots[name] = Slot(name, model)
        lost = [waiter for slot in before.values() for waiter in self._remove(slot) if not self._move(waiter)]
        return [slot for slot in self._slots.values() if slot.waiters and slot.state == "unloaded"], lost

    def forget_removed(self, slot: Slot) -> None:
        """Forget a model that has left, if the pool has it no longer."""
        if slot.state == "unloaded" and slot in self._removed:
            self._removed.remove(slot)

    def _move(self, waiter: Waiter) -> bool:
        """Let a call wait for the model that has taken the place of its own. Returns whether there is one."""
        successor = self._slots.get(waiter.slot.name)
        if successor is None or type(successor.model.config) is not type(waiter.slot.model.config):
            return False
        waiter.slot = successor
        successor.waiters.append(waiter)
        return True

    def _remove(self, slot: Slot) -> list[Waiter]:
        slot.is_removed = True
        if slot.state != "unloaded":
            self._removed.append(slot)
        self.expel(slot)
        return take_waiters(slot)


def take_waiters(slot: Slot) -> list[Waiter]:
    """Take the calls that wait for a model."""
    waiters, slot.waiters = slot.waiters, []
    return waiters


def fail(waiters: Iterable[Waiter], error: Exception) -> None:
    """Fail calls that wait. The lock must not be held: a future may call its users' functions."""
    for waiter in waiters:
        if waiter.set_running_or_notify_cancel():
            waiter.set_exception(error)


def closed() -> WorkerError:
    """The error of a pool that is closed."""
    return WorkerError("This ModelPool is closed; make a new one.")


def unknown(name: str, known: Iterable[str]) -> ModelNotFoundError:
    """The error for a name that the pool does not have."""
    return ModelNotFoundError(field="name", reason=f"is {name!r}; this pool has {', '.join(known) or 'no models'}.")
