"""``Pool``: actors that embed lists of texts, several at once, for a caller who wants the results in order."""

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.distributed.cluster import check_fingerprint, connect, keep_to_assigned_cpus, places
from akidb_embeddings.distributed.work import TextList, Work
from akidb_embeddings.errors import ConfigurationError, EmbeddingError, WorkerError
from akidb_embeddings.registry import MODELS
from akidb_embeddings.service.result import EmbeddingResult
from akidb_embeddings.service.service import EmbeddingService

_log = logging.getLogger(__name__)

# Lists that an actor has at once: one that it computes, and one that it need not wait for.
_LISTS_AN_ACTOR = 2
# Lists that are taken and whose results are not handed on yet, for each actor: so far may a slow one hold up others.
_LISTS_AHEAD = 4
# Processes that may end, one after the other, while they load the model in one actor's place.
_DEATHS = 4
_PATIENCE = 30.0  # seconds without any model loaded, after which somebody may wonder why


class Pool:
    """Actors on a cluster, each with one engine.

    An actor whose process or node dies is replaced, where there is room, and its texts are given to another one.
    Use it as a context manager, or ``close`` it. One thread at a time may use it.
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
        """Join a cluster and start the actors; their models load meanwhile.

        Args:
            address: ``"local"`` for a cluster of this machine alone, which ends with the pool; ``"auto"`` for the one
                that this machine is a node of; else ``host:port`` of its head, on one of its nodes, too. Where the
                process is connected already, that cluster is used.
            config: The model and its settings; a folder must be there on every node.
            prompt: What goes before each text, as a text.
            precision: The form of the vectors.
            actors: How many; None for as many as the nodes that there are now have CPUs for. Those for which there is
                no room wait for it, and the others work.
            cpus: CPUs and so threads of each. Equal lists give vectors of the same bits wherever they are computed, if
                the actors have equal ``cpus`` and the processors are of one kind. Each actor holds its own weights.

        Raises:
            ConfigurationError: Ray is not installed, no cluster answers, or no node has so many CPUs.
        """
        if cpus < 1 or (actors is not None and actors < 1):
            raise ConfigurationError(f"cpus is {cpus} and actors {actors}; both must be at least 1.")
        if config.model_name not in MODELS and Path(config.model_name).is_dir():  # actors may start in another folder
            config = config.with_values(model_name=str(Path(config.model_name).absolute()))
        if config.cache_dir is not None:
            config = config.with_values(cache_dir=str(Path(config.cache_dir).absolute()))
        self._connected = connect(address)
        self._actors: list[Any] = []
        self._starting: dict[Any, int] = {}  # answers of actors that load their models
        self._ready: set[int] = set()  # who has loaded it
        self._facts: tuple[str, int] | None = None
        self._deaths = Counter[int]()  # in an actor's place, while the model was loaded there
        try:
            import ray

            room = places(cpus)
            # No retries and restarts by Ray: it would wait for an actor for which there is no room any more.
            worker = ray.remote(_Worker).options(num_cpus=cpus, max_restarts=0, max_task_retries=0)
            self._new_actor: Callable[[], Any] = lambda: worker.remote(config, prompt, precision)
            for index in range(actors or room):
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
        """The space that the vectors lie in. Waits for an actor's model, and raises what its loading raised."""
        return self._described()[0]

    @property
    def dimension(self) -> int:
        """The length of the vectors, before packing. Waits as ``fingerprint`` does."""
        return self._described()[1]

    def check_fingerprint(self, wanted: str) -> None:
        """ConfigurationError: the vectors lie in another space. Waits as ``fingerprint`` does."""
        check_fingerprint(self.fingerprint, wanted)

    def map(self, lists: Iterable[list[str]]) -> Iterator[EmbeddingResult]:
        """A result for each list of texts, in their order, each as ``EmbeddingService.encode`` of that list.

        Lists are taken as actors become free; at most ``4 * size`` are taken and not yet handed on. Arrays of vectors
        are read-only, for they lie in Ray's shared memory.

        Errors are those of ``encode``, whose indices count all texts from the first list's first. WorkerError: a list
        ended four processes, or a model cannot be loaded. ConfigurationError: a node's model has another fingerprint.
        """
        for outcome in self._outcomes(lists, counts_on=True):
            if isinstance(outcome, EmbeddingError):
                raise outcome
            yield outcome

    def outcomes(self, lists: Iterable[list[str]]) -> Generator[EmbeddingResult | EmbeddingError]:
        """As ``map``, but what ``encode`` raises for a list comes in the place of its result, and the others go on.

        Indices in such errors count from the list's first text.
        """
        return self._outcomes(lists, counts_on=False)

    def _outcomes(self, lists: Iterable[list[str]], counts_on: bool) -> Generator[EmbeddingResult | EmbeddingError]:
        import ray

        self._described()
        work, running = Work(lists, counts_on), _Running()
        try:
            while True:
                self._give_out(work, running)
                if work.done:
                    break
                reference = self._first_of([*running, *self._starting])
                if reference in self._starting:
                    self._note_start(reference)
                    continue
                self._take(reference, running, work)
                for result in work.results():
                    if isinstance(result, EmbeddingResult):
                        check_fingerprint(result.fingerprint, self.fingerprint)
                    yield result
            if work.failure:
                raise work.failure
        finally:
            if ray.is_initialized():  # else Ray would start a cluster in order to cancel
                for reference in running:
                    ray.cancel(reference)

    def close(self) -> None:
        """End the actors, and leave the cluster if the pool joined it. Closing twice does nothing."""
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

    def _give_out(self, work: Work, running: "_Running") -> None:
        """Keep the actors busy."""
        loads = Counter(index for index, _, _ in running.values())
        while self._ready:
            index = min(self._ready, key=lambda index: loads[index])
            if loads[index] >= _LISTS_AN_ACTOR or (texts := work.next(_LISTS_AHEAD * self.size)) is None:
                return
            loads[index] += 1
            actor = self._actors[index]
            running[actor.encode.remote(texts.texts, texts.first_index)] = index, actor, texts

    def _take(self, reference: Any, running: "_Running", work: Work) -> None:
        """Note what became of a list. One whose actor was lost is to be given out again."""
        import ray

        index, actor, texts = running[reference]
        try:
            texts.result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            texts.result = _cause(error)
        except ray.exceptions.RayError as error:  # the actor, its node or the answer is lost, or memory ran out
            lost = [other for other in running if running[other][1] is actor]
            work.again([running.pop(other)[2] for other in lost], error)
            if actor is self._actors[index]:  # else a call within this one has replaced it
                self._replace(index)
            return
        del running[reference]

    def _described(self) -> tuple[str, int]:
        """Fingerprint and dimension, as the first actor whose model is loaded tells them."""
        while self._facts is None or not (self._ready or self._starting):
            if not self._starting:
                raise WorkerError("This Pool has no actors any more: it is closed, or none could load the model.")
            self._note_start(self._first_of([*self._starting]))
        return self._facts

    def _first_of(self, references: list[Any]) -> Any:
        """The one that is answered first."""
        import ray

        answers, _ = ray.wait(references, num_returns=1, timeout=None if self._ready else _PATIENCE)
        if not answers:
            free = ray.available_resources().get("CPU", 0)
            _log.warning(
                "No Ray actor is ready after %.0f s; %g CPUs are free, and more are waited for", _PATIENCE, free
            )
            answers, _ = ray.wait(references, num_returns=1)
        return answers[0]

    def _note_start(self, answer: Any) -> None:
        """An actor has loaded its model, or cannot: others do without it. EmbeddingError: there are no others."""
        import ray

        index = self._starting.pop(answer)
        try:
            facts = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            self._leave_out(index, _cause(error))
        except ray.exceptions.RayError as error:
            self._deaths[index] += 1
            if self._deaths[index] < _DEATHS:
                self._replace(index)
            else:
                self._leave_out(index, WorkerError(f"{_DEATHS} Ray actors died while they loaded the model: {error}"))
        else:
            self._deaths[index], self._facts = 0, self._facts or facts
            self._ready.add(index)

    def _leave_out(self, index: int, error: EmbeddingError) -> None:
        """Go on without an actor, if there are others, one that waits for this one's room among them."""
        import ray

        ray.kill(self._actors[index])
        if not self._ready and not self._starting:
            raise error
        _log.warning("A Ray actor is left out: %s", error)

    def _replace(self, index: int) -> None:
        """Start an actor, in place of another one if there is one. Ray starts it once there is room for it."""
        import ray

        self._ready.discard(index)
        if self._actors[index] is not None:
            ray.kill(self._actors[index])  # it may live, and be out of reach
        self._actors[index] = self._new_actor()
        self._starting[self._actors[index].describe.remote()] = index


class _Running(dict[Any, tuple[int, Any, TextList]]):
    """Answers to come: the actor's index, the actor itself, for it may be replaced meanwhile, and what it has."""


def _cause(error: Any) -> EmbeddingError:
    """What ``encode`` raised on an actor."""
    return error.cause if isinstance(error.cause, EmbeddingError) else WorkerError(f"A Ray actor failed: {error}")


class _Worker:
    """What an actor is. ``describe`` comes first: it loads the model, and raises what that raises as it is."""

    def __init__(self, config: EmbeddingConfig, prompt: str, precision: str) -> None:
        keep_to_assigned_cpus()
        self._config, self._prompt, self._precision = config, prompt, precision

    def describe(self) -> tuple[str, int]:
        """Fingerprint and dimension."""
        self._service = EmbeddingService(config=self._config)
        return self._service.fingerprint(self._prompt, precision=self._precision), self._service.dimension

    def encode(self, texts: list[str], first_index: int) -> EmbeddingResult:
        """One list's result."""
        return self._service.encode(
            texts, prompt=self._prompt, precision=self._precision, first_index=first_index, wait=True, alone=True
        )
