"""``ModelPool``: models by name, loaded when they are asked for, below one limit of memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

from akidb_embeddings.errors import DeadlineError
from akidb_embeddings.pool.keeper import Keeper
from akidb_embeddings.pool.loader import Loading, Open
from akidb_embeddings.pool.model import AnyConfig, ModelState, PooledModel, Service, check_keep_alive, check_limit
from akidb_embeddings.pool.opening import expected_bytes, open_service
from akidb_embeddings.pool.slot import Waiter
from akidb_embeddings.service.arguments import check_timeout
from akidb_embeddings.service.closing import Closing


class ModelPool(Closing):
    """Models of either kind by name. Each is loaded by the first call that uses it, on a thread of its own.

    It leaves after ``keep_alive`` seconds without a call, or when another model needs its memory: the least recently
    used one first, and never while a call uses it. All methods may be called from any thread and event loop. Use the
    pool as a context manager, or ``close`` it, to free all weights.

    Args:
        models: The models by name; a configuration alone stands for a model that stays, unless memory is needed.
        max_memory: The most bytes that all loaded models may take, with about what their tokenizers take; None for any.
            Micro-batches need some in addition.
        open_service: What loads the model of a configuration.
        announce: Called with each configuration before its model's files are looked for, which may be a download.

    Raises:
        ConfigurationError: ``max_memory`` or a model's ``keep_alive`` is not allowed.
    """

    def __init__(
        self,
        models: Mapping[str, PooledModel | AnyConfig],
        *,
        max_memory: int | None = None,
        open_service: Open = lambda _, config: open_service(config),
        announce: Callable[[AnyConfig], None] = lambda _: None,
    ) -> None:
        told, limit = _told(models), check_limit(max_memory)  # before there are threads
        self._keeper = Keeper(Loading(announce, expected_bytes, open_service))
        self._keeper.replace(told, limit)

    @property
    def models(self) -> dict[str, PooledModel]:
        """What the pool was told of each model, in the order in which they were given."""
        return self._keeper.models()

    def is_loaded(self, name: str) -> bool:
        """Whether a model is loaded, and takes calls.

        Raises:
            ModelNotFoundError: The pool has no model of that name.
            WorkerError: The pool is closed.
        """
        return self._keeper.is_loaded(name)

    @contextmanager
    def use(self, name: str, *, keep_alive: float | None = None, timeout: float | None = None) -> Iterator[Service]:
        """The service of a model, which stays loaded meanwhile. Do not close it.

        Args:
            name: The model's name.
            keep_alive: For how many seconds the model stays loaded after this call, unless a later one says otherwise;
                None for as the pool was told, ``math.inf`` or a negative number for ever.
            timeout: The most seconds to wait until it is loaded; None for any.

        Raises:
            ModelNotFoundError: The pool has no model of that name.
            MemoryLimitError: The model does not fit below ``max_memory``.
            InputError: ``timeout`` is no number.
            DeadlineError: It was not loaded in time; loading goes on.
            EmbeddingError: Loading failed, as in ``EmbeddingService``; the next call tries again.
            WorkerError: The pool is closed.
        """
        keep_alive, timeout = None if keep_alive is None else check_keep_alive(keep_alive), check_timeout(timeout)
        with self._entering(name, timeout) as waiter:
            service = waiter.result(timeout)
        try:
            yield service
        finally:
            self._keeper.leave(waiter.slot, keep_alive)

    @asynccontextmanager
    async def ause(
        self, name: str, *, keep_alive: float | None = None, timeout: float | None = None
    ) -> AsyncIterator[Service]:
        """``use`` for event loops: loading does not block the loop."""
        keep_alive, timeout = None if keep_alive is None else check_keep_alive(keep_alive), check_timeout(timeout)
        with self._entering(name, timeout) as waiter:
            service = await _result(waiter, timeout)
        try:
            yield service
        finally:
            self._keeper.leave(waiter.slot, keep_alive)

    @contextmanager
    def _entering(self, name: str, timeout: float | None) -> Iterator[Waiter]:
        """A call's wait for its model; it is given up if it ends with an error."""
        waiter = self._keeper.enter(name)
        try:
            yield waiter
        except TimeoutError:
            self._keeper.give_up(waiter)
            failure = None if waiter.cancelled() else waiter.exception()
            raise failure or _late(name, timeout) from None  # loading may have failed at the last moment
        except BaseException:  # KeyboardInterrupt and a cancelled task included
            self._keeper.give_up(waiter)
            raise

    @contextmanager
    def if_loaded(self, name: str) -> Iterator[Service | None]:
        """The service of a model, which stays loaded meanwhile, to look at it; None if it is not loaded, or not there.

        It does not count as a use: neither ``keep_alive`` nor the order in which models leave change.
        """
        found = self._keeper.look(name)
        if found is None:
            yield None
            return
        slot, service = found
        try:
            yield service
        finally:
            self._keeper.look_away(slot)

    def load(self, name: str, *, timeout: float | None = None) -> None:
        """Load a model, unless it is loaded.

        Raises:
            EmbeddingError: As in ``use``.
        """
        with self.use(name, timeout=timeout):
            pass

    async def aload(self, name: str, *, timeout: float | None = None) -> None:
        """``load`` for event loops."""
        async with self.ause(name, timeout=timeout):
            pass

    def unload(self, name: str, *, timeout: float | None = None) -> bool:
        """Unload a model, pinned or not, once the calls that use it are done; until then it takes no new ones.

        Args:
            name: The model's name.
            timeout: The most seconds to wait for that; None for any.

        Returns:
            Whether it was loaded.

        Raises:
            ModelNotFoundError: The pool has no model of that name.
            InputError: ``timeout`` is no number.
            DeadlineError: It was not unloaded in time; it will be.
        """
        return self._keeper.unload(name, check_timeout(timeout))

    async def aunload(self, name: str, *, timeout: float | None = None) -> bool:
        """``unload`` for event loops."""
        return await asyncio.to_thread(self.unload, name, timeout=timeout)

    def states(self) -> dict[str, ModelState]:
        """What each model does now."""
        return self._keeper.states()

    def services(self) -> dict[str, Service]:
        """The services of the models that are loaded now, to look at their statistics."""
        return self._keeper.services()

    def replace(self, models: Mapping[str, PooledModel | AnyConfig], *, max_memory: int | None = None) -> None:
        """Have other models, or another limit. Those with an unchanged configuration stay as they are.

        Models that are no longer there leave once the calls that use them are done. Calls that wait for a model get the
        one of its name, if it is of the same kind; others fail with ModelNotFoundError.

        Raises:
            ConfigurationError: As in the constructor; nothing has changed then.
        """
        self._keeper.replace(_told(models), check_limit(max_memory))

    def close(self) -> None:
        """Unload all models. Calls that wait, and later ones, fail with WorkerError. Closing twice does nothing."""
        self._keeper.close()

    def __repr__(self) -> str:
        states = ", ".join(f"{name}: {state.state}" for name, state in self.states().items())
        return f"ModelPool({states})"


def _told(models: Mapping[str, PooledModel | AnyConfig]) -> dict[str, PooledModel]:
    return {name: one if isinstance(one, PooledModel) else PooledModel(one) for name, one in models.items()}


async def _result(future: Future[Service], timeout: float | None) -> Service:
    if future.done():  # what is loaded costs no turn of the loop
        return future.result()
    async with asyncio.timeout(timeout):
        return await asyncio.wrap_future(future)


def _late(name: str, timeout: float | None) -> DeadlineError:
    return DeadlineError(f"{name} was not loaded within {timeout:g} s; loading goes on, so try again.")
