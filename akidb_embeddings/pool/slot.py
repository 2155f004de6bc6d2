"""One model's place in a pool. The pool's lock guards it."""

import time
from concurrent.futures import Future

from akidb_embeddings.pool.model import FOREVER, ModelState, PooledModel, Service, State


class Waiter(Future[Service]):
    """A call's wait for a model: the future of its service.

    Attributes:
        slot: The model, or the one that has taken its place.
    """

    def __init__(self, slot: "Slot") -> None:
        super().__init__()
        self.slot = slot


class Slot:
    """A model and what it does.

    Attributes:
        name: The model's name in the pool.
        model: What the pool was told of it.
        state: "unloaded", "loading", "loaded" or "unloading"; while it is unloading, its last users may still finish.
        service: The loaded model.
        users: How many calls use it.
        waiters: The calls that wait until it is loaded.
        reserved: The bytes that count as taken by it.
        size: The bytes that it took when it was loaded last; None before.
        loads: How often it was loaded.
        unloads: How often it was unloaded.
        problem: Why the last attempt to load it failed.
        is_removed: Whether the pool has it no longer, and only its last users keep it.
    """

    def __init__(self, name: str, model: PooledModel) -> None:
        self.name, self.model = name, model
        self.state: State = "unloaded"
        self.service: Service | None = None
        self.users = self.reserved = self.loads = self.unloads = 0
        self.waiters: list[Waiter] = []
        self.size: int | None = None
        self.problem = ""
        self.is_removed = False
        self._keep_alive = model.keep_alive
        self._loaded_at: float | None = None
        self._used_at: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it is loaded, and nobody uses it."""
        return self.state == "loaded" and not self.users

    @property
    def last_use(self) -> float:
        """When it was used or loaded last, in ``time.monotonic`` seconds."""
        return self._used_at or 0.0

    @property
    def expires_in(self) -> float:
        """The seconds until it leaves, if nobody uses it until then; ``FOREVER`` if it stays."""
        if not self.is_idle or self.model.pinned or self._keep_alive == FOREVER:
            return FOREVER
        return max(0.0, self.last_use + self._keep_alive - time.monotonic())

    def told(self, model: PooledModel) -> None:
        """Note what the pool is told of it now, with the same configuration."""
        self.model, self._keep_alive = model, model.keep_alive

    def loaded(self, service: Service, size: int) -> None:
        """Note that it has been loaded."""
        self.service, self.size, self.reserved, self.state = service, size, size, "loaded"
        self._keep_alive, self.problem = self.model.keep_alive, ""
        self._loaded_at = self._used_at = time.monotonic()
        self.loads += 1

    def unloaded(self) -> None:
        """Note that it has been unloaded, or has not been loaded."""
        self.state, self.service, self.reserved, self._loaded_at = "unloaded", None, 0, None

    def begin(self) -> None:
        """Note a call that uses it."""
        self.users += 1
        self._used_at = time.monotonic()

    def end(self, keep_alive: float | None) -> None:
        """Note the end of a call, and for how long it wants the model to stay loaded; None for as it is told."""
        self.users -= 1
        self._used_at = time.monotonic()
        self._keep_alive = self.model.keep_alive if keep_alive is None else keep_alive

    def measure(self) -> bool:
        """Note what it takes now. Returns whether that is more than before, as where float16 was too small for it."""
        size = self.service.memory_bytes if self.service is not None and self.state == "loaded" else self.reserved
        has_grown = size > self.reserved
        if has_grown:
            self.size = self.reserved = size
        return has_grown

    def describe(self) -> ModelState:
        """What it does now."""
        now, shift = time.time(), time.time() - time.monotonic()
        expires_in = self.expires_in
        return ModelState(
            state=self.state,
            pinned=self.model.pinned,
            keep_alive=FOREVER if self.model.pinned else self._keep_alive,
            memory_bytes=self.size,
            loaded_at=None if self._loaded_at is None else self._loaded_at + shift,
            last_used=None if self._used_at is None else self._used_at + shift,
            expires_at=None if expires_in == FOREVER else now + expires_in,
            users=self.users,
            loads=self.loads,
            problem=self.problem,
        )
