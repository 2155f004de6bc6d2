"""``Pool``: actors that embed lists of texts in parallel, with the results in order."""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Self

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.distributed.cluster import (
    actor_capacity,
    check_fingerprint,
    connect,
    keep_to_assigned_cpus,
    with_absolute_paths,
)
from akidb_embeddings.distributed.work_queue import TextList, WorkQueue
from akidb_embeddings.errors import ConfigurationError, EmbeddingError, WorkerError
from akidb_embeddings.service.result import EmbeddingResult
from akidb_embeddings.service.service import EmbeddingService

_log = logging.getLogger(__name__)

# Lists that an actor has at a time: one being computed, and the next one.
_LISTS_PER_ACTOR = 2
# Lists per actor that may be taken before their results are returned: how far a slow actor may fall behind.
_LISTS_AHEAD = 4
# How many processes may die in a row while loading the model for one actor.
_MAX_DEATHS = 4
_TIMEOUT = 30.0  # seconds without any loaded model, after which a warning is logged


class Pool:
    """Actors on a cluster, each with one engine.

    An actor whose process or node dies is replaced if there is room, and its texts are given to another one. Use it as
    a context manager, or ``close`` it. Only one thread at a time may use it.
    """

    def __init__(
        self,
        address: str,
        config: EmbeddingConfig,
        *,
        prompt: str = "",
        precision: str = "float32",
        actors: int | None = None,
        cpus: int = 1,
    ) -> None:
        """Join a cluster and start the actors. Their models load in the background.

        Args:
            address: ``"local"`` for a cluster on this machine alone, which ends with the pool; ``"auto"`` for the
                cluster that this machine is a node of, or ``host:port`` of its head. If the process is connected
                already, that cluster is used.
            config: The model and its settings; a folder must exist on every node.
            prompt: The prompt text before each text.
            precision: The precision of the vectors.
            actors: Number of actors; None for as many as fit on the cluster's present nodes. Actors that do not fit
                wait for free CPUs while the others work.
            cpus: CPUs, and so threads, of each actor. The same list gives the same bits on every actor if all have
                equal ``cpus`` and the processors are of one kind. Each actor holds its own weights.

        Raises:
            ConfigurationError: Ray is not installed, no cluster answers, or no node has so many CPUs.
        """
        for name, value in (("cpus", cpus), ("actors", actors)):
            if value is not None and value < 1:
                raise ConfigurationError(field=name, reason=f"is {value}; it must be at least 1.")
        config = with_absolute_paths(config)  # actors may start in another folder
        self._connected = connect(address)
        self._actors: list[Any] = []
        self._starting: dict[Any, int] = {}  # reference -> index of an actor that loads its model
        self._ready: set[int] = set()  # indices of actors that have loaded their model
        self._facts: tuple[str, int] | None = None
        self._deaths = Counter[int]()  # by actor, while it loaded its model
        try:
            import ray

            capacity = actor_capacity(cpus)
            # Ray must not retry or restart: it would wait for an actor that no longer fits.
            worker = ray.remote(_Worker).options(num_cpus=cpus, max_restarts=0, max_task_retries=0)
            self._new_actor: Callable[[], Any] = lambda: worker.remote(config, prompt, precision)
            for index in range(actors or capacity):
                self._actors.append(None)
                self._replace(index)
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """The number of actors."""
        return len(self._actors)

    @property
    def fingerprint(self) -> str:
        """The vector space's fingerprint. Waits until an actor has loaded its model; raises if that fails."""
        return self._model_facts()[0]

    @property
    def dimension(self) -> int:
        """The number of dimensions, before packing. Waits as ``fingerprint`` does."""
        return self._model_facts()[1]

    def check_fingerprint(self, wanted: str) -> None:
        """Check that the vectors lie in the vector space ``wanted``. Waits as ``fingerprint`` does.

        Raises:
            ConfigurationError: They lie in another space.
        """
        check_fingerprint(self.fingerprint, wanted)

    def map(self, lists: Iterable[list[str]]) -> Iterator[EmbeddingResult]:
        """Embed lists of texts, and return the results in the lists' order.

        Args:
            lists: Taken as actors become free; at most ``4 * size`` are taken before their results are returned.

        Yields:
            For each list what ``EmbeddingService.encode`` returns. Arrays are read-only: they lie in Ray's shared
            memory.

        Raises:
            EmbeddingError: What ``encode`` raises. Indices count all texts, from the first list's first.
            WorkerError: Four processes died with the same list, or no model can be loaded.
            ConfigurationError: A node's model has another fingerprint.
        """
        for outcome in self._outcomes(lists, cumulative=True):
            if isinstance(outcome, EmbeddingError):
                raise outcome
            yield outcome

    def outcomes(self, lists: Iterable[list[str]]) -> Generator[EmbeddingResult | EmbeddingError]:
        """Embed lists of texts as ``map`` does, but return errors in place of results, and continue.

        Yields:
            For each list its result, or the error of ``encode``, whose index counts from the list's first text.
        """
        return self._outcomes(lists, cumulative=False)

    def _outcomes(self, lists: Iterable[list[str]], cumulative: bool) -> Generator[EmbeddingResult | EmbeddingError]:
        import ray

        self._model_facts()
        work, running = WorkQueue(lists, cumulative), _Running()
        try:
            while True:
                self._dispatch(work, running)
                if work.done:
                    break
                reference = self._wait_for_first([*running, *self._starting])
                if reference in self._starting:
                    self._handle_start(reference)
                    continue
                self._collect(reference, running, work)
                for result in work.ready_results():
                    if isinstance(result, EmbeddingResult):
                        check_fingerprint(result.fingerprint, self.fingerprint)
                    yield result
            if work.failure:
                raise work.failure
        finally:
            if ray.is_initialized():  # otherwise Ray would start a cluster just to cancel
                for reference in running:
                    ray.cancel(reference)

    def close(self) -> None:
        """Stop the actors, and leave the cluster if the pool joined it. Further calls do nothing."""
        import ray

        for actor in self._actors if ray.is_initialized() else ():
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(actor)
        self._actors, self._starting, self._ready = [], {}, set()
        if self._connected:
            self._connected = False
            ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _dispatch(self, work: WorkQueue, running: "_Running") -> None:
        """Give lists to actors that have fewer than ``_LISTS_PER_ACTOR``."""
        loads = Counter(index for index, _, _ in running.values())
        while self._ready:
            index = min(self._ready, key=lambda index: loads[index])
            if loads[index] >= _LISTS_PER_ACTOR or (texts := work.next(_LISTS_AHEAD * self.size)) is None:
                return
            loads[index] += 1
            actor = self._actors[index]
            running[actor.encode.remote(texts.texts, texts.first_index)] = index, actor, texts

    def _collect(self, reference: Any, running: "_Running", work: WorkQueue) -> None:
        """Collect a list's result. If its actor was lost, the list is queued again."""
        import ray

        index, actor, texts = running[reference]
        try:
            texts.result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            texts.result = _embedding_error(error)
        except ray.exceptions.RayError as error:  # the actor, its node or the answer is lost, or memory ran out
            lost = [other for other in running if running[other][1] is actor]
            work.requeue([running.pop(other)[2] for other in lost], error)
            if actor is self._actors[index]:  # otherwise a nested call has replaced it
                self._replace(index)
            return
        del running[reference]

    def _model_facts(self) -> tuple[str, int]:
        """Fingerprint and dimension, from the first actor that has loaded its model."""
        while self._facts is None or not (self._ready or self._starting):
            if not self._starting:
                raise WorkerError("This Pool has no actors any longer: it is closed, or none could load the model.")
            self._handle_start(self._wait_for_first([*self._starting]))
        return self._facts

    def _wait_for_first(self, references: list[Any]) -> Any:
        """Wait for the first reference that is ready."""
        import ray

        answers, _ = ray.wait(references, num_returns=1, timeout=None if self._ready else _TIMEOUT)
        if not answers:
            free = ray.available_resources().get("CPU", 0)
            _log.warning("No Ray actor is ready after %.0f s; %g CPUs are free, and more are needed", _TIMEOUT, free)
            answers, _ = ray.wait(references, num_returns=1)
        return answers[0]

    def _handle_start(self, answer: Any) -> None:
        """Handle the end of an actor's start: its model is loaded, or failed to load."""
        import ray

        index = self._starting.pop(answer)
        try:
            facts = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            self._drop_actor(index, _embedding_error(error))
        except ray.exceptions.RayError as error:
            self._deaths[index] += 1
            if self._deaths[index] < _MAX_DEATHS:
                self._replace(index)
            else:
                message = f"{_MAX_DEATHS} Ray actors died while they loaded the model: {error}"
                self._drop_actor(index, WorkerError(message))
        else:
            self._deaths[index], self._facts = 0, self._facts or facts
            self._ready.add(index)

    def _drop_actor(self, index: int, error: EmbeddingError) -> None:
        """Continue without an actor; raise the error if there are no others, ready or starting."""
        import ray

        ray.kill(self._actors[index])
        if not self._ready and not self._starting:
            raise error
        _log.warning("A Ray actor is left out: %s", error)

    def _replace(self, index: int) -> None:
        """Start an actor, or replace it. Ray starts the process once there is room for it."""
        import ray

        self._ready.discard(index)
        if self._actors[index] is not None:
            ray.kill(self._actors[index])  # it may be alive but unreachable
        self._actors[index] = self._new_actor()
        self._starting[self._actors[index].describe.remote()] = index


class _Running(dict[Any, tuple[int, Any, TextList]]):
    """Reference -> (actor's index, actor, list of texts). The actor is kept because the index may get another one."""


def _embedding_error(error: Any) -> EmbeddingError:
    """The error that ``encode`` raised on an actor."""
    return error.cause if isinstance(error.cause, EmbeddingError) else WorkerError(f"A Ray actor failed: {error}")


class _Worker:
    """An actor's state. ``describe`` is called first: it loads the model, so that errors arrive unwrapped."""

    def __init__(self, config: EmbeddingConfig, prompt: str, precision: str) -> None:
        keep_to_assigned_cpus()
        self._config, self._prompt, self._precision = config, prompt, precision

    def describe(self) -> tuple[str, int]:
        """Load the model, and return its fingerprint and dimension."""
        self._service = EmbeddingService(config=self._config)
        return self._service.fingerprint(self._prompt, precision=self._precision), self._service.dimension

    def encode(self, texts: list[str], first_index: int) -> EmbeddingResult:
        """Embed one list of texts."""
        return self._service.encode(
            texts, prompt=self._prompt, precision=self._precision, first_index=first_index, wait=True, alone=True
        )
