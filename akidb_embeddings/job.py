"""One call's texts on their way through tokenizer and engine, in windows; the part that sync and async calls share.

A long list goes to the engine window by window: it sorts each by length, and neither token ids nor the queue grow with
the list. While one window is computed, the next is tokenized.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Self

import numpy as np

from akidb_embeddings.config import EmbeddingConfig
from akidb_embeddings.engine import Engine
from akidb_embeddings.errors import InputError, NonFiniteVectorError, OverloadError
from akidb_embeddings.settings import Settings
from akidb_embeddings.tokenizer import Tokenized, Tokenizer
from akidb_embeddings.vectors import Vectors, finish

_WINDOW_TEXTS = 2048
_WINDOW_CHARACTERS = 1 << 20
_WINDOWS_AHEAD = 2
# Tokenizing less than this takes under a millisecond: less than handing it to another thread would add.
_FEW_CHARACTERS = 4096


@dataclass(frozen=True)
class Resources:
    """What a service lends to its jobs."""

    config: EmbeddingConfig
    settings: Settings
    tokenizer: Tokenizer
    engine: Engine


@dataclass(frozen=True)
class _Window:
    begin: int
    tokens: Tokenized
    future: "Future[Vectors]"


class Job:
    """Texts with one prompt. ``windows`` gives stretches to ``tokenize`` and ``submit``; while ``full`` (and at the end
    while ``pending``), ``collect`` the oldest. As a context manager it takes what is left out
    of the engine's queue, whatever ended it."""

    def __init__(
        self,
        resources: Resources,
        texts: list[str],
        prompt: str,
        timeout: float | None,
        progress: Callable[[int], object] | None,
    ) -> None:
        self._resources, self._texts, self._prompt, self._progress = resources, texts, prompt, progress
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pending: deque[_Window] = deque()
        self.vectors: Vectors = np.empty((len(texts), resources.settings.dimensions), dtype=np.float32)
        self.token_counts: list[int] = []
        self.truncated: list[bool] = []

    def windows(self) -> Iterator[tuple[int, int]]:
        """Stretches ``[begin, end)`` of the texts, bounded in texts and characters, of one text at least."""
        begin = 0
        while begin < len(self._texts):
            end, characters = begin, 0
            while end < len(self._texts) and end - begin < _WINDOW_TEXTS:
                characters += len(self._texts[end])
                if characters > _WINDOW_CHARACTERS and end > begin:
                    break
                end += 1
            yield begin, end
            begin = end

    def is_short(self, begin: int, end: int) -> bool:
        """Whether the stretch is tokenized sooner than another thread could be asked to."""
        return sum(len(text) + len(self._prompt) for text in self._texts[begin:end]) <= _FEW_CHARACTERS

    def tokenize(self, begin: int, end: int) -> Tokenized:
        """Token ids of a stretch, any thread. InputError names the text that is too long or cannot be tokenized."""
        tokens = self._resources.tokenizer.encode(self._texts[begin:end], self._prompt, begin)
        limit = self._resources.settings.max_tokens
        if self._resources.config.truncate == "error" and any(tokens.truncated):
            index = tokens.truncated.index(True)
            raise InputError(
                f"texts[{begin + index}] has {tokens.counts[index]} tokens with its prompt; the limit is {limit}. "
                "Shorten or split it, raise max_tokens if the model takes more, or set truncate to 'end'."
            )
        return tokens

    def submit(self, begin: int, tokens: Tokenized) -> bool:
        """Queue a stretch. False: the queue is full, and with this call's own windows; collect one and try again.

        OverloadError: the queue is full with the texts of others.
        """
        try:
            future = self._resources.engine.submit(
                tokens.ids,
                pooling=self._resources.settings.pooling,
                max_rows=self._resources.config.batch_size,
                max_waiting_tokens=self._resources.config.max_queued_tokens,
                deadline=self._deadline,
            )
        except OverloadError:
            if self._pending:
                return False
            raise
        self._pending.append(_Window(begin, tokens, future))
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
        """Wait for the oldest window and take its vectors. OverloadError: not by the deadline."""
        try:
            vectors = self._pending[0].future.result(self._remaining())
        except (TimeoutError, NonFiniteVectorError) as error:
            raise self._translated(error) from None
        self._take(vectors)

    async def acollect(self) -> None:
        """``collect`` for event loops."""
        try:
            async with asyncio.timeout(self._remaining()):
                vectors = await asyncio.wrap_future(self._pending[0].future)
        except (TimeoutError, NonFiniteVectorError) as error:
            raise self._translated(error) from None
        self._take(vectors)

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, NonFiniteVectorError):  # it counts from the window's first text
            return NonFiniteVectorError(self._pending[0].begin + error.index, error.tokens)
        return OverloadError("The texts were not done by the deadline. Send fewer at once, or allow more.")

    def _remaining(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _take(self, vectors: Vectors) -> None:
        window = self._pending.popleft()
        settings = self._resources.settings
        end = window.begin + len(vectors)
        self.vectors[window.begin : end] = finish(vectors, settings.dimensions, settings.normalize)
        self.token_counts += [len(ids) for ids in window.tokens.ids]
        self.truncated += window.tokens.truncated
        if self._progress is not None:
            self._progress(len(vectors))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for window in self._pending:
            window.future.cancel()
