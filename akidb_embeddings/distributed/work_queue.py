"""The queue of a pool: lists of texts to be given to actors, and results to be returned in order."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from akidb_embeddings.errors import EmbeddingError, WorkerError
from akidb_embeddings.service.result import EmbeddingResult

# How many processes may die with the same list.
_MAX_DEATHS = 4


@dataclass
class TextList:
    """One list of texts and its result.

    Attributes:
        texts: The texts.
        first_index: What errors call the first text.
        result: The result, or an error; None while there is none.
        deaths: How many processes died with this list.
    """

    texts: list[str]
    first_index: int
    result: EmbeddingResult | EmbeddingError | None = None
    deaths: int = 0


class WorkQueue:
    """Lists of texts in order.

    Args:
        lists: The lists, taken one by one.
        cumulative: Whether indices in errors count all texts, instead of those of a list.

    Attributes:
        failure: The error that ended ``lists``; to be raised after the results of the lists before it.
    """

    def __init__(self, lists: Iterable[list[str]], cumulative: bool) -> None:
        self._source, self._more, self._count, self._cumulative = iter(lists), True, 0, cumulative
        self.failure: Exception | None = None
        self._taken: deque[TextList] = deque()  # in order
        self._requeued: deque[TextList] = deque()

    @property
    def done(self) -> bool:
        """Whether all lists were taken and their results returned."""
        return not self._more and not self._taken

    def next(self, limit: int) -> TextList | None:
        """Take a list to be embedded.

        Args:
            limit: How many lists may be taken before their results are returned.

        Returns:
            The list; None if there is none now, or the limit is reached.
        """
        if self._requeued:
            return self._requeued.popleft()
        if not self._more or len(self._taken) >= limit:
            return None
        try:
            texts = next(self._source, None)
        except Exception as error:  # any error of the iterator's
            texts, self.failure = None, error
        if texts is None:
            self._more = False
            return None
        one = TextList(texts, self._count)
        self._count += len(texts) if self._cumulative else 0
        self._taken.append(one)
        return one

    def requeue(self, lists: Iterable[TextList], error: Exception) -> None:
        """Queue a dead actor's lists again. The first one, which probably caused the death, may fail by that.

        Args:
            lists: The actor's lists, in order.
            error: How the actor died.
        """
        one, *rest = lists
        one.deaths += 1
        if one.deaths < _MAX_DEATHS:
            self._requeued.append(one)
        else:
            one.result = self._too_many_deaths(one, error)
        self._requeued.extend(rest)

    def _too_many_deaths(self, one: TextList, error: Exception) -> WorkerError:
        end = one.first_index + len(one.texts)
        first = (one.texts or [""])[0]
        return WorkerError(
            f"{_MAX_DEATHS} Ray actors died while they had texts[{one.first_index}:{end}], the first of which begins "
            f"with {first[:40]!r}; is there enough memory? The last one: {error}"
        )

    def ready_results(self) -> Iterator[EmbeddingResult | EmbeddingError]:
        """Yield the results that are due next, in order."""
        while self._taken and (result := self._taken[0].result) is not None:
            self._taken.popleft()
            yield result
