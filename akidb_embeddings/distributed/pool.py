"""``Pool``: actors that embed lists of texts, several at once, for a caller who wants the results in order."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from akidb_embeddings.config import EmbeddingConfig
from akidb_embeddings.distributed.cluster import check_fingerprint, connect, keep_to_assigned_cpus, places
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.service import EmbeddingResult, EmbeddingService

# Lists that an actor has at once: one that it computes, and one that it need not wait for.
_LISTS_AN_ACTOR = 2
# Lists that are taken and whose results are not handed on yet, for each actor: so far may a slow one hold up others.
_LISTS_AHEAD = 4
# Processes that a list may end, or that may end while they load a model, one after the other.
_DEATHS = 4


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
                that this machine is part of; else ``host:port`` or ``ray://host:port``. Where the process is connected
                already, that cluster is used.
            config: The model and its settings; a folder must be there on every node.
            prompt: What goes before each text, as a text.
            precision: The form of the vectors.
            actors: How many; None for as many as the cluster's CPUs allow now.
            cpus: CPUs and so threads of each. Equal lists give vectors of the same bits wherever they are computed, if
                the actors have equal ``cpus`` and the processors are of one kind. Each actor holds its own weights.

        Raises:
            ConfigurationError: Ray is not installed, no cluster answers, or no node has so many CPUs.
        """
        self._connected = connect(address)
        self._actors: list[Any] = []
        self._starting: dict[Any, int] = {}  # answers of actors that load their models
        self._ready: set[int] = set()
        self._facts: tuple[str, int] | None = None
        self._deaths = 0  # of actors that loaded their models, since one succeeded
        try:
            import ray

            count = places(cpus) if actors is None else actors
            # No retries and restarts by Ray: it would wait for an actor for which there is no room any more.
            worker = ray.remote(_Worker).options(num_cpus=cpus, max_restarts=0, max_task_retries=0)
            self._new_actor: Callable[[], Any] = lambda: worker.remote(config, prompt, precision)
            for index in range(count):
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

    def map(self, lists: Iterable[list[str]]) -> Iterator[EmbeddingResult]:
        """A result for each list of texts, in their order, each as ``EmbeddingService.encode`` of that list.

        Lists are taken as actors become free; at most ``4 * size`` are taken and not yet handed on. Arrays of vectors
        are read-only, for they lie in Ray's shared memory.

        Errors are those of ``encode``, whose indices count all texts from the first list's first. WorkerError: a list
        ended four processes, or a model cannot be loaded. ConfigurationError: a node's model has another fingerprint.
        """
        import ray

        lost = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError)
        work = _Work(lists)
        running: dict[Any, tuple[int, _List]] = {}
        try:
            while True:
                self._give_out(work, running)
                if work.done:
                    return
                [reference], _ = ray.wait([*running, *self._starting], num_returns=1)
                if reference in self._starting:
                    self._note_start(reference)
                    continue
                actor, texts = running.pop(reference)
                try:
                    texts.result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    texts.result = error.cause if isinstance(error.cause, Exception) else error
                except lost as error:
                    work.again(texts, error)
                    if actor in self._ready:  # else its other list told so before
                        self._replace(actor)
                for result in work.results():
                    check_fingerprint(result.fingerprint, self.fingerprint)
                    yield result
        finally:
            for reference in running:
                ray.cancel(reference)

    def close(self) -> None:
        """End the actors, and leave the cluster if the pool joined it. Closing twice does nothing."""
        import ray

        for actor in self._actors:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(actor)
        self._actors = []
        if self._connected:
            self._connected = False
            ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _give_out(self, work: "_Work", running: "dict[Any, tuple[int, _List]]") -> None:
        """Keep the actors busy."""
        loads = Counter(actor for actor, _ in running.values())
        while self._ready:
            actor = min(self._ready, key=lambda index: loads[index])
            if loads[actor] >= _LISTS_AN_ACTOR or (texts := work.next(_LISTS_AHEAD * self.size)) is None:
                return
            loads[actor] += 1
            running[self._actors[actor].encode.remote(texts.texts, texts.first_index)] = actor, texts

    def _described(self) -> tuple[str, int]:
        import ray

        while self._facts is None:
            self._note_start(ray.wait(list(self._starting), num_returns=1)[0][0])
        return self._facts

    def _note_start(self, answer: Any) -> None:
        """An actor has loaded its model, or died of it. WorkerError: for good."""
        import ray

        actor = self._starting.pop(answer)
        try:
            facts = ray.get(answer)
        except ray.exceptions.RayActorError as error:
            self._deaths += 1
            if getattr(error, "actor_init_failed", False) or self._deaths >= _DEATHS:
                raise WorkerError(f"A Ray actor cannot load the model: {error}") from error
            self._replace(actor)
            return
        self._deaths, self._facts = 0, self._facts or facts
        self._ready.add(actor)

    def _replace(self, index: int) -> None:
        """Start an actor, in place of another one if there is one. Ray starts it once there is room for it."""
        import ray

        self._ready.discard(index)
        if self._actors[index] is not None:
            ray.kill(self._actors[index])  # it may live, and be out of reach
        self._actors[index] = self._new_actor()
        self._starting[self._actors[index].describe.remote()] = index


@dataclass
class _List:
    """One list of texts, and what became of it."""

    texts: list[str]
    first_index: int
    result: EmbeddingResult | Exception | None = None
    deaths: int = 0


class _Work:
    """Lists on their way: what is to be given out, and what is to be handed on."""

    def __init__(self, lists: Iterable[list[str]]) -> None:
        self._source, self._more, self._count = iter(lists), True, 0
        self._taken: deque[_List] = deque()  # in order
        self._again: deque[_List] = deque()

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return not self._more and not self._taken

    def next(self, limit: int) -> _List | None:
        """A list to be given out; None if there is none now, or ``limit`` are not yet handed on."""
        if self._again:
            return self._again.popleft()
        if not self._more or len(self._taken) >= limit:
            return None
        texts = next(self._source, None)
        if texts is None:
            self._more = False
            return None
        one = _List(texts, self._count)
        self._count += len(texts)
        self._taken.append(one)
        return one

    def again(self, one: _List, error: Exception) -> None:
        """Give a list out once more, for its actor died. WorkerError: that happened too often."""
        one.deaths += 1
        if one.deaths >= _DEATHS:
            end = one.first_index + len(one.texts)
            raise WorkerError(
                f"{_DEATHS} Ray actors died while they had texts[{one.first_index}:{end}]; is there enough memory? "
                f"The last one: {error}"
            ) from error
        self._again.append(one)

    def results(self) -> Iterator[EmbeddingResult]:
        """The results that it is the turn of; an error in its turn is raised."""
        while self._taken and (result := self._taken[0].result) is not None:
            self._taken.popleft()
            if isinstance(result, Exception):
                raise result
            yield result


class _Worker:
    """What an actor is."""

    def __init__(self, config: EmbeddingConfig, prompt: str, precision: str) -> None:
        keep_to_assigned_cpus()
        self._service = EmbeddingService(config=config)
        self._prompt, self._precision = prompt, precision

    def describe(self) -> tuple[str, int]:
        """Fingerprint and dimension."""
        return self._service.fingerprint(self._prompt, precision=self._precision), self._service.dimension

    def encode(self, texts: list[str], first_index: int) -> EmbeddingResult:
        """One list's result."""
        return self._service.encode(
            texts, prompt=self._prompt, precision=self._precision, first_index=first_index, wait=True
        )
