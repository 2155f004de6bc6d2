"""Lists of texts on their way through a pool: what is to be given out, and what is to be handed on."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from akidb_embeddings.errors import EmbeddingError, WorkerError
from akidb_embeddings.service.result import EmbeddingResult

# Processes that a list may end.
_DEATHS = 4


@dataclass
class TextList:
    """One list of texts, and what became of it."""

    texts: list[str]
    first_index: int
    result: EmbeddingResult | EmbeddingError | None = None
    deaths: int = 0


class Work:
    """Lists in their order.

    ``counts_on``: a list's texts count from the end of the one before. ``failure``: what ended the lists too early;
    what became of those before it comes first.
    """

    def __init__(self, lists: Iterable[list[str]], counts_on: bool) -> None:
        self._source, self._more, self._count, self._counts_on = iter(lists), True, 0, counts_on
        self.failure: Exception | None = None
        self._taken: deque[TextList] = deque()  # in order
        self._again: deque[TextList] = deque()

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return not self._more and not self._taken

    def next(self, limit: int) -> TextList | None:
        """A list to be given out; None if there is none now, or ``limit`` are not yet handed on."""
        if self._again:
            return self._again.popleft()
        if not self._more or len(self._taken) >= limit:
            return None
        try:
            texts = next(self._source, None)
        except Exception as error:  # whatever the lists come from raises
            texts, self.failure = None, error
        if texts is None:
            self._more = False
            return None
        one = TextList(texts, self._count)
        self._count += len(texts) if self._counts_on else 0
        self._taken.append(one)
        return one

    def again(self, lists: Iterable[TextList], error: Exception) -> None:
        """Give an actor's lists out once more, for it died, of the first of them most likely.

        Where that happened to one too often, its result is an error.
        """
        one, *rest = lists
        one.deaths += 1
        if one.deaths < _DEATHS:
            self._again.append(one)
        else:
            one.result = self._too_many_deaths(one, error)
        self._again.extend(rest)

    def _too_many_deaths(self, one: TextList, error: Exception) -> WorkerError:
        end = one.first_index + len(one.texts)
        first = (one.texts or [""])[0]
        return WorkerError(
            f"{_DEATHS} Ray actors died while they had texts[{one.first_index}:{end}], the first of which begins with "
            f"{first[:40]!r}; is there enough memory? The last one: {error}"
        )

    def results(self) -> Iterator[EmbeddingResult | EmbeddingError]:
        """What it is the turn of."""
        while self._taken and (result := self._taken[0].result) is not None:
            self._taken.popleft()
            yield result
