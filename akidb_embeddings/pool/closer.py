"""Closes a pool's models that are to leave, on a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable

from akidb_embeddings.compute.heap import trim_heap
from akidb_embeddings.pool.model import FOREVER
from akidb_embeddings.pool.slot import Slot
from akidb_embeddings.pool.slots import Slots

_log = logging.getLogger(__name__)


class Closer:
    """What closes models, once nobody uses them.

    Args:
        slots: The pool's models.
        start_loading: Called with the lock held for a model that has left and that calls wait for.
    """

    def __init__(self, slots: Slots, start_loading: Callable[[Slot], None]) -> None:
        self._slots, self._start_loading = slots, start_loading
        self._thread = threading.Thread(target=self._run, name="akidb-unload", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread's end, once the pool is closed."""
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (slot := self._next()) is not None:
            assert slot.service is not None  # a model that is unloading has one
            slot.service.close()
            slot.service = None  # the tokenizer goes with it
            trim_heap()
            _log.info("Unloaded %s", slot.name)
            with self._slots.condition:
                slot.unloaded()
                slot.unloads += 1
                self._slots.forget_removed(slot)
                if slot.waiters and not self._slots.is_closed:
                    self._start_loading(slot)
                self._slots.condition.notify_all()

    def _next(self) -> Slot | None:
        """The next model that is to leave and that nobody uses, once there is one; None once the pool is closed."""
        with self._slots.condition:
            while not self._slots.is_closed:
                slots = self._slots.all()
                for slot in slots:
                    if slot.expires_in == 0:
                        self._slots.expel(slot)
                    if slot.state == "unloading" and not slot.users:
                        return slot
                seconds = min((slot.expires_in for slot in slots), default=FOREVER)
                self._slots.wakes_at = time.monotonic() + seconds
                self._slots.condition.wait(None if seconds == FOREVER else min(seconds, threading.TIMEOUT_MAX))
        return None
