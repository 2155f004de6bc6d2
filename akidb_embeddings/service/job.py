"""One call's texts on their way through tokenizer and engine, in windows; the part that sync and async calls share.

A long list goes to the engine window by window: it sorts each by length, and neither token ids nor the queue grow with
the list. While one window is computed, the next is tokenized.
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
from akidb_embeddings.errors import DeadlineError, InputError, NonFiniteVectorError, OverloadError
from akidb_embeddings.service import WINDOW_CHARACTERS, WINDOW_TEXTS
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.service.result import Timings
from akidb_embeddings.vectors.finish import finish
from akidb_embeddings.vectors.precision import Quantized, quantize

_WINDOWS_AHEAD = 2
# Tokenizing less than this takes under a millisecond: less than handing it to another thread would add.
_FEW_CHARACTERS = 4096
# Seconds between two looks at how far a window is, and at whether a full queue has room again.
_TICK = 0.1


@dataclass(frozen=True)
class _Window:
    begin: int
    tokens: Tokenized
    future: VectorsFuture
    submitted: float


class Job:
    """Texts with one prompt, to be ``run`` once.

    As a context manager it takes what is left out of the engine's queue at its end, whatever ended it.
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
        self._progress, self._reported, self._waits, self._alone = progress, 0, wait, alone
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pending: deque[_Window] = deque()
        self._begin = time.monotonic()
        self._timings = Timings()
        # Also says at once that there is no such precision.
        empty = quantize(np.empty((0, resources.settings.dimensions), dtype=np.float32), precision)
        self.precision = precision
        self.vectors: Quantized = np.empty((len(texts), empty.shape[1]), dtype=empty.dtype)
        self.token_counts: list[int] = []
        self.truncated: list[bool] = []

    @property
    def timings(self) -> Timings:
        """Where the time went so far."""
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
        """Stretches ``[begin, end)`` of the texts, bounded in texts and characters, of one text at least."""
        begin = 0
        while begin < len(self._texts):
            end, characters = begin, 0
            while end < len(self._texts) and end - begin < WINDOW_TEXTS:
                characters += len(self._texts[end])
                if characters > WINDOW_CHARACTERS and end > begin:
                    break
                end += 1
            yield begin, end
            begin = end

    def is_short(self, begin: int, end: int) -> bool:
        """Whether the stretch is tokenized sooner than another thread could be asked to."""
        return sum(len(text) + len(self.prompt) for text in self._texts[begin:end]) <= _FEW_CHARACTERS

    def tokenize(self, begin: int, end: int) -> Tokenized:
        """Token ids of a stretch, any thread. InputError names the text that is too long or cannot be tokenized."""
        started = time.monotonic()
        tokens = self._resources.tokenizer.encode(self._texts[begin:end], self.prompt, self._first + begin)
        self._timings.tokenize += time.monotonic() - started
        limit = self._resources.settings.max_tokens
        if self._resources.config.truncate == "error" and any(tokens.truncated):
            index = tokens.truncated.index(True)
            raise InputError(
                field="texts",
                index=self._first + begin + index,
                limit=limit,
                reason=f"has {tokens.counts[index]} tokens with its prompt; the limit is {limit}.",
                hint="Shorten or split it, raise {max_tokens} if the model takes more, or set {truncate} to 'end'.",
            )
        return tokens

    def submit(self, begin: int, tokens: Tokenized) -> bool:
        """Queue a stretch. False: the queue is full; ``collect`` and try again.

        OverloadError: it is full with the texts of others alone, and this call does not wait, or its deadline passed.
        """
        try:
            future = self._resources.engine.submit(
                tokens.ids,
                pooling=self._resources.settings.pooling,
                max_rows=self._resources.config.batch_size,
                max_waiting_tokens=self._resources.config.max_queued_tokens,
                deadline=self._deadline,
                alone=self._alone,
            )
        except OverloadError:
            if self._pending or (self._waits and self._remaining() != 0):
                return False
            raise
        self._pending.append(_Window(begin, tokens, future, time.monotonic()))
        return True

    @property
    def pending(self) -> bool:
        """Whether anything is in the engine."""
        return bool(self._pending)

    @property
    def full(self) -> bool:
        """Whether as many windows are in the engine as should be."""
        return len(self._pending) >= _WINDOWS_AHEAD

    def collect(self) -> None:
        """Wait for the oldest window and take its vectors; without one, wait for others' to leave the queue.

        DeadlineError: not by the deadline.
        """
        if not self._pending:
            time.sleep(self._patience(ticking=True) or 0)
            return
        future = self._pending[0].future
        while not wait([future], self._patience(self._progress is not None)).done:
            self._tick(future)
        self._take()

    async def acollect(self) -> None:
        """``collect`` for event loops."""
        if not self._pending:
            await asyncio.sleep(self._patience(ticking=True) or 0)
            return
        future = self._pending[0].future
        wrapped = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait([wrapped], timeout=self._patience(self._progress is not None)))[0]:
                self._tick(future)
        finally:
            if not wrapped.cancel() and not wrapped.cancelled():
                wrapped.exception()  # asyncio complains of errors that nobody looked at; _take raises it
        self._take()

    def _tick(self, future: VectorsFuture) -> None:
        """A wait is over, and the window is not done: report how far it is, or give up."""
        if self._remaining() == 0:
            raise DeadlineError("The texts were not done by the deadline. Send fewer at once, or allow more.")
        self._report(future.delivered)

    def _report(self, delivered: int) -> None:
        """Tell of texts of the oldest window that were not told of before."""
        if self._progress is not None and delivered > self._reported:
            news, self._reported = delivered - self._reported, delivered
            self._progress(news)

    def _patience(self, ticking: bool) -> float | None:
        """Seconds to wait at a stretch."""
        remaining = self._remaining()
        if not ticking:
            return remaining
        return _TICK if remaining is None else min(_TICK, remaining)

    def _remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _take(self) -> None:
        window = self._pending[0]
        try:
            vectors = window.future.result()
        except NonFiniteVectorError as error:  # it counts from the window's first text
            raise error.shifted(self._first + window.begin) from None
        self._pending.popleft()
        begun = window.future.begun or window.submitted
        self._timings.queue += max(0.0, begun - window.submitted)
        self._timings.compute += time.monotonic() - begun
        settings = self._resources.settings
        end = window.begin + len(vectors)
        # A model whose vectors are integers has its own int8.
        own_integers = settings.integers and self.precision == "int8"
        normalize = settings.normalize and not own_integers
        finished = finish(vectors, settings.dimensions, normalize, settings.layer_norm)
        precision = "float32" if own_integers else self.precision
        if settings.integers and precision in ("binary", "ubinary"):
            # Its bits are the signs before rounding: a zero has kept the one it comes from.
            finished = np.where(np.signbit(finished), np.float32(-1), np.float32(1))
        self.vectors[window.begin : end] = quantize(finished, precision, first_index=self._first + window.begin)
        self.token_counts += [len(ids) for ids in window.tokens.ids]
        self.truncated += window.tokens.truncated
        self._report(len(vectors))
        self._reported = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for window in self._pending:
            window.future.cancel()
