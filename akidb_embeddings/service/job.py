"""One call's texts through tokenizer and engine, for sync and async calls.

A long list is processed in windows, so that neither token ids nor the queue grow with the list. The engine sorts each
window by length. While one window is computed, the next is tokenized.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Self

import numpy as np

from akidb_embeddings.checkpoint.tokenizer import Tokenized
from akidb_embeddings.engine.scheduler import VectorsFuture
from akidb_embeddings.errors import DeadlineError, InputError, OverloadError, UnusableVectorError, ZeroVectorError
from akidb_embeddings.service import WINDOW_CHARACTERS, WINDOW_TEXTS
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.service.result import Timings
from akidb_embeddings.vectors.finish import finish, zero_rows
from akidb_embeddings.vectors.precision import Quantized, quantize

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


class Job:
    """Texts with one prompt, to be ``run`` once.

    As a context manager, it finally removes its remaining texts from the engine's queue.

    Attributes:
        prompt: The prompt before each text.
        precision: The precision of the vectors.
        vectors: ``[n, dimension]`` in that precision; complete after ``run``.
        token_counts: The number of tokens of each text so far.
        truncated: For each text so far, whether it was truncated.
    """

    def __init__(
        self,
        resources: Resources,
        texts: list[str],
        prompt: str,
        *,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        precision: str = "float32",
        alone: bool = False,
    ) -> None:
        self._resources, self._texts, self._first = resources, texts, first_index
        self.prompt = prompt
        self._progress, self._waits, self._alone = progress, wait, alone
        self._reported = self._stored = 0
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pending: deque[_Window] = deque()
        self._begin = time.monotonic()
        self._timings = Timings()
        # Also raises at once if the precision is unknown.
        empty = quantize(np.empty((0, resources.settings.dimensions), dtype=np.float32), precision)
        self.precision = precision
        self.vectors: Quantized = np.empty((len(texts), empty.shape[1]), dtype=empty.dtype)
        self.token_counts: list[int] = []
        self.truncated: list[bool] = []

    @property
    def timings(self) -> Timings:
        """The timings so far."""
        self._timings.total = time.monotonic() - self._begin
        return self._timings

    def run(self) -> None:
        """Compute the vectors of all texts."""
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
        begin, scale = 0, self._resources.engine.window_scale
        while begin < len(self._texts):
            end, characters = begin, 0
            while end < len(self._texts) and end - begin < scale * WINDOW_TEXTS:
                characters += len(self._texts[end])
                if characters > scale * WINDOW_CHARACTERS and end > begin:
                    break
                end += 1
            yield begin, end
            begin = end

    def is_short(self, begin: int, end: int) -> bool:
        """Whether tokenizing the range takes less time than moving it to another thread."""
        return sum(len(text) + len(self.prompt) for text in self._texts[begin:end]) <= _FEW_CHARACTERS

    def tokenize(self, begin: int, end: int) -> Tokenized:
        """Token ids of a range; may be called from any thread.

        Raises:
            InputError: A text cannot be tokenized, or is too long with ``truncate: error``; ``index`` says which.
        """
        started = time.monotonic()
        tokens = self._resources.tokenizer.encode(self._texts[begin:end], self.prompt, self._first + begin)
        self._timings.tokenize += time.monotonic() - started
        limit = self._resources.settings.max_tokens
        if self._resources.config.truncate == "error" and any(tokens.truncated):
            index = tokens.truncated.index(True)
            least = "" if tokens.exact[index] else "at least "
            raise InputError(
                field="texts",
                index=self._first + begin + index,
                limit=limit,
                reason=f"has {least}{tokens.counts[index]} tokens with its prompt; the limit is {limit}.",
                hint="Shorten or split it, set {truncate} to 'end', or configure a higher limit if the model has one.",
            )
        return tokens

    def submit(self, begin: int, tokens: Tokenized) -> bool:
        """Queue a tokenized range.

        Returns:
            False if the queue is full: call ``collect`` and try again.

        Raises:
            OverloadError: The queue is full of other calls' texts, and this call does not wait, or its deadline passed.
        """
        try:
            future = self._resources.engine.submit(
                tokens.ids,
                pooling=self._resources.settings.pooling,
                max_rows=self._resources.config.batch_size,
                max_waiting_tokens=self._resources.config.max_queued_tokens,
                deadline=self._deadline,
                alone=self._alone,
                keep_warm=self._resources.config.keep_warm,
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
            vectors = window.future.result()
        except UnusableVectorError as error:  # its index counts from the window's first text
            raise error.shifted(self._first + window.begin) from None
        self._pending.popleft()
        begun = window.future.begun or window.submitted
        self._timings.queue += max(0.0, begun - window.submitted)
        self._timings.compute += time.monotonic() - begun
        settings = self._resources.settings
        end = window.begin + len(vectors)
        # A model whose vectors are integers defines its own int8.
        own_integers = settings.integers and self.precision == "int8"
        normalize = settings.normalize and not own_integers
        finished = finish(vectors, settings.dimensions, normalize, settings.layer_norm)
        if zeros := zero_rows(finished):
            tokens = len(window.tokens.ids[zeros[0]])
            raise ZeroVectorError(self._first + window.begin + zeros[0], tokens)
        precision = "float32" if own_integers else self.precision
        if settings.integers and precision in ("binary", "ubinary"):
            # The bits are the signs before rounding, which a zero has kept.
            finished = np.where(np.signbit(finished), np.float32(-1), np.float32(1))
        self.vectors[window.begin : end] = quantize(finished, precision, first_index=self._first + window.begin)
        self.token_counts += [len(ids) for ids in window.tokens.ids]
        self.truncated += window.tokens.truncated
        self._stored = len(vectors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for window in self._pending:
            window.future.cancel()
