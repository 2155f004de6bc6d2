"""One call's texts through tokenizer and engine, for sync and async calls.

A long list is processed in windows, so that neither token ids nor the queue grow with the list. The engine sorts each
window by length. While one window is computed, the next is tokenized.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any, Self

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.request import VectorsFuture
from akidb_embeddings.errors import DeadlineError, InputError, OverloadError, UnusableVectorError
from akidb_embeddings.service import WINDOW_CHARACTERS, WINDOW_TEXTS
from akidb_embeddings.service.arguments import deadline_after
from akidb_embeddings.service.forecast import Forecast
from akidb_embeddings.service.result import Timings
from akidb_embeddings.tokenization.tokenizer import Tokenized

_WINDOWS_AHEAD = 2
# Tokenizing less than this takes under a millisecond: less than moving it to another thread would add.
_FEW_CHARACTERS = 4096
# Normalizing this many vectors takes milliseconds. Windows for GPUs have more.
_MANY_ROWS = 1024
# Seconds between two checks of a window's progress, and of a full queue.
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class _Window:
    begin: int
    tokens: Tokenized
    future: VectorsFuture
    submitted: float


class Job(ABC):
    """Texts, or pairs of texts, to be ``run`` once. Subclasses know how to tokenize them, and what to make of the rows.

    As a context manager, it finally removes what remains of it from the engine's queue.

    Args:
        config: The service's configuration.
        engine: The engine.
        count: The number of texts.
        limit: The largest number of tokens of a text.
        timeout: Seconds after which the call fails, as ``deadline_after`` takes them.
        progress: Called with the number of further texts that are done.
        wait: Whether to wait for room in the queue.
        first_index: The index of the first text in errors.
        alone: Whether to share no micro-batch with other calls.

    Attributes:
        token_counts: The number of tokens of each text so far.
        truncated: For each text so far, whether it was truncated.
    """

    _field = "texts"
    _beside = "prompt"  # what counts with a text
    _too_long = "Shorten or split it, set {truncate} to 'end', or configure a higher limit if the model has one."
    _pooling = ""
    _prefix = 0  # characters before each text

    def __init__(
        self,
        config: EmbeddingConfig | RerankConfig,
        engine: Engine,
        count: int,
        limit: int,
        *,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        alone: bool = False,
    ) -> None:
        self._config, self._engine, self._count, self._limit = config, engine, count, limit
        self._forecast = Forecast(self._field, limit)
        self._first, self._deadline = first_index, deadline_after(timeout)
        self._progress, self._waits, self._alone = progress, wait, alone
        self._reported = self._stored = 0
        self._pending: deque[_Window] = deque()
        self._begin = time.monotonic()
        self._timings = Timings()
        self.token_counts: list[int] = []
        self.truncated: list[bool] = []

    @abstractmethod
    def _length(self, index: int) -> int:
        """The characters of a text, without its prompt."""

    @abstractmethod
    def _encode(self, begin: int, end: int) -> Tokenized:
        """Token ids of a range; may be called from any thread."""

    @abstractmethod
    def _keep(self, begin: int, tokens: Tokenized, rows: Any) -> None:
        """Store the engine's rows, float32 [n, …] or a list, for the texts from ``begin`` on."""

    @property
    def timings(self) -> Timings:
        """The timings so far."""
        self._timings.total = time.monotonic() - self._begin
        return self._timings

    def run(self) -> None:
        """Compute the rows of all texts."""
        for begin, end in self.windows():
            tokens = self.tokenize(begin, end)
            while self.full or not self.submit(begin, tokens):
                self.collect()
        while self.pending:
            self.collect()

    async def arun(self) -> None:
        """``run`` for event loops."""
        for begin, end in self.windows():
            if self.is_short(begin, end):
                tokens = self.tokenize(begin, end)
            else:
                tokens = await asyncio.to_thread(self.tokenize, begin, end)
            while self.full or not self.submit(begin, tokens):
                await self.acollect()
        while self.pending:
            await self.acollect()

    def windows(self) -> Iterator[tuple[int, int]]:
        """Ranges ``[begin, end)`` of the texts, limited in texts and characters, but with at least one text."""
        begin, scale = 0, self._engine.window_scale
        while begin < self._count:
            end, characters = begin, 0
            while end < self._count and end - begin < scale * WINDOW_TEXTS:
                characters += self._length(end)
                if characters > scale * WINDOW_CHARACTERS and end > begin:
                    break
                end += 1
            yield begin, end
            begin = end

    def is_short(self, begin: int, end: int) -> bool:
        """Whether tokenizing the range takes less time than moving it to another thread."""
        return sum(self._length(index) + self._prefix for index in range(begin, end)) <= _FEW_CHARACTERS

    def tokenize(self, begin: int, end: int) -> Tokenized:
        """Token ids of a range; may be called from any thread.

        Raises:
            InputError: A text cannot be tokenized, or is too long with ``truncate: error``; ``index`` says which.
        """
        started = time.monotonic()
        tokens = self._encode(begin, end)
        self._timings.tokenize += time.monotonic() - started
        limit = self._limit
        if self._config.truncate == "error" and any(tokens.truncated):
            index = tokens.truncated.index(True)
            least = "" if tokens.exact[index] else "at least "
            raise InputError(
                field=self._field,
                index=self._first + begin + tokens.owner(index),
                limit=limit,
                reason=f"has {least}{tokens.counts[index]} tokens with its {self._beside}; the limit is {limit}.",
                hint=self._too_long,
            )
        return tokens

    def submit(self, begin: int, tokens: Tokenized) -> bool:
        """Queue a tokenized range.

        Returns:
            False if the queue is full: call ``collect`` and try again.

        Raises:
            OverloadError: The queue is full of other calls' texts, and this call does not wait, or its deadline passed.
            DeadlineError: There is not enough time for all texts of the call.
        """
        if begin == 0 and (remaining := self._remaining()) is not None:
            lengths = (self._prefix + self._length(index) for index in range(self._count))
            self._forecast.check(tokens, lengths, self._engine.statistics, remaining)
        try:
            future = self._engine.submit(
                tokens.ids,
                pooling=self._pooling,
                max_rows=self._config.batch_size,
                max_waiting_tokens=self._config.max_queued_tokens,
                deadline=self._deadline,
                alone=self._alone,
                keep_warm=self._config.keep_warm,
                first_parts=tokens.first_parts,
                attended=tokens.attended,
            )
        except OverloadError:
            if self._pending or (self._waits and self._remaining() != 0):
                return False
            raise
        self._pending.append(_Window(begin, tokens, future, time.monotonic()))
        return True

    @property
    def pending(self) -> bool:
        """Whether the engine has windows of this job."""
        return bool(self._pending)

    @property
    def full(self) -> bool:
        """Whether the engine has as many windows of this job as it should."""
        return len(self._pending) >= _WINDOWS_AHEAD

    def collect(self) -> None:
        """Wait for the oldest window and store its vectors; without one, wait a moment for room in the queue.

        Raises:
            DeadlineError: The window was not done by the deadline.
        """
        if not self._pending:
            time.sleep(self._wait_seconds(polling=True) or 0)
            return
        future = self._pending[0].future
        while not wait([future], self._wait_seconds(self._progress is not None)).done:
            self._on_timeout(future)
        self._store_oldest()
        self._report_end()

    async def acollect(self) -> None:
        """``collect`` for event loops."""
        if not self._pending:
            await asyncio.sleep(self._wait_seconds(polling=True) or 0)
            return
        future = self._pending[0].future
        wrapped = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait([wrapped], timeout=self._wait_seconds(self._progress is not None)))[0]:
                self._on_timeout(future)
        finally:
            if not wrapped.cancel() and not wrapped.cancelled():
                wrapped.exception()  # or asyncio logs that it was never retrieved; _store_oldest raises it
        if len(self._pending[0].tokens.ids) > _MANY_ROWS:
            await asyncio.to_thread(self._store_oldest)
        else:
            self._store_oldest()
        self._report_end()

    def _on_timeout(self, future: VectorsFuture) -> None:
        """The wait ended before the window was done: report progress, or raise DeadlineError."""
        if self._remaining() == 0:
            raise DeadlineError("The texts were not done by the deadline. Send fewer at once, or allow more.")
        self._report(future.delivered)

    def _report(self, delivered: int) -> None:
        """Call ``progress`` with the texts of the oldest window that have not been reported yet."""
        if self._progress is not None and delivered > self._reported:
            count, self._reported = delivered - self._reported, delivered
            self._progress(count)

    def _report_end(self) -> None:
        """Report the rest of the window that has been stored, on the caller's thread."""
        self._report(self._stored)
        self._reported = 0

    def _wait_seconds(self, polling: bool) -> float | None:
        """The timeout of the next wait; None for no timeout."""
        remaining = self._remaining()
        if not polling:
            return remaining
        return _POLL_SECONDS if remaining is None else min(_POLL_SECONDS, remaining)

    def _remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _store_oldest(self) -> None:
        window = self._pending[0]
        try:
            rows = window.future.result()
        except UnusableVectorError as error:  # its index is that of an entry of the window
            index = self._first + window.begin + window.tokens.owner(error.index or 0)
            raise error.changed(field=self._field, index=index) from None
        self._pending.popleft()
        begun = window.future.begun or window.submitted
        self._timings.queue += max(0.0, begun - window.submitted)
        self._timings.compute += time.monotonic() - begun
        self._keep(window.begin, window.tokens, rows)
        self._count_tokens(window.tokens)
        self._stored = len(rows)

    def _count_tokens(self, tokens: Tokenized) -> None:
        self.token_counts += [len(ids) for ids in tokens.ids]
        self.truncated += tokens.truncated

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for window in self._pending:
            window.future.cancel()
