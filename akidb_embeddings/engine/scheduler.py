"""Which texts go next: requests wait in two lanes, small before large, and leave in rounds bounded by tokens.

Plain data without threads or locks; the engine guards it.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.engine.planner import Packer, padded_length
from akidb_embeddings.errors import DeadlineError
from akidb_embeddings.vectors.finish import Vectors

# Small requests go first, but after this many rounds of them in a row a large one gets its turn.
_SMALL_ROUNDS_IN_A_ROW = 8


class VectorsFuture(Future[Vectors]):
    """The future of a request, which also tells how far it is: ``delivered`` texts have their vectors.

    ``begun``: when the first of them left the queue, in seconds of ``time.monotonic``; None before.
    """

    delivered = 0
    begun: float | None = None


@dataclass(eq=False)
class Request:
    """A caller's texts as token ids, and its future. ``deadline`` and ``since`` are seconds of ``time.monotonic``.

    ``alone``: its rounds have no other request's texts, so that they depend on nothing but its own.
    """

    rows: list[NDArray[np.int32]]
    pooling: str
    max_rows: int
    deadline: float | None = None
    alone: bool = False
    future: VectorsFuture = field(default_factory=VectorsFuture)
    since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        # Longest first: neighbours are of like length, and what needs most memory comes at once.
        self.waiting = deque(sorted(range(len(self.rows)), key=lambda index: -self.rows[index].size))
        self.waiting_tokens = sum(row.size for row in self.rows)
        self._vectors: Vectors | None = None
        self._ending = threading.Lock()
        self._ended = False

    def deliver(self, position: int, vector: Vectors) -> None:
        """Take the vector of one text; the last one resolves the future, in the order the texts came in."""
        if self._vectors is None:
            self._vectors = np.empty((len(self.rows), vector.size), dtype=np.float32)
        self._vectors[position] = vector
        self.future.delivered += 1
        if self.future.delivered == len(self.rows) and self._end():
            self.future.set_result(self._vectors)

    def fail(self, error: Exception) -> None:
        """Resolve the future with an error, unless it is resolved or cancelled already."""
        if self._end():
            self.future.set_exception(error)

    def _end(self) -> bool:
        """Whether the caller of this may resolve the future: the first to come, unless it was cancelled."""
        with self._ending:  # the MLX thread delivers what another thread may be failing
            first, self._ended = not self._ended, True
        return first and self.future.set_running_or_notify_cancel()

    def expire(self, now: float) -> None:
        """Fail a request that waited past its deadline."""
        if self.deadline is not None and now >= self.deadline:
            self.fail(DeadlineError("The request waited past its deadline. Send fewer texts at once, or allow more."))


class Item(NamedTuple):
    """One text of a request."""

    request: Request
    position: int

    @property
    def row(self) -> NDArray[np.int32]:
        """Its token ids."""
        return self.request.rows[self.position]


class Scheduler:
    """Requests in two lanes. Small ones, of at most ``small`` tokens, go before large ones, which take turns."""

    def __init__(self, small: int) -> None:
        self._small_limit = small
        self._small: deque[Request] = deque()
        self._large: deque[Request] = deque()
        self._small_rounds = 0
        self.waiting_tokens = 0

    def add(self, request: Request) -> None:
        """Queue a request."""
        lane = self._small if request.waiting_tokens <= self._small_limit else self._large
        lane.append(request)
        self.waiting_tokens += request.waiting_tokens

    def next_round(self, max_tokens: int, now: float, side_by_side: int = 1) -> list[Item]:
        """Texts for the next round: of one pooling, as many as ``side_by_side`` micro-batches of ``max_tokens`` hold.

        They are one text at least.
        """
        large_first = self._large and self._small_rounds >= _SMALL_ROUNDS_IN_A_ROW
        for lane in (self._large, self._small) if large_first else (self._small, self._large):
            if items := list(self._take(lane, max_tokens, now, side_by_side)):
                self._small_rounds = self._small_rounds + 1 if lane is self._small and self._large else 0
                if lane is self._large and lane and lane[0] is items[-1].request:
                    lane.rotate(-1)  # it had its turn and is not done; others come before its next
                return items
        return []

    def oldest(self) -> float | None:
        """Since when the request waits that waits longest; None where none does."""
        return min((request.since for request in (*self._small, *self._large)), default=None)

    def drain(self) -> list[Request]:
        """Remove and return every waiting request."""
        requests = [*self._small, *self._large]
        self._small.clear()
        self._large.clear()
        self.waiting_tokens = 0
        return requests

    def drop_finished(self, now: float) -> None:
        """Remove requests that were cancelled, failed or expired while they waited."""
        for request in self.drain():
            request.expire(now)
            if not request.future.done():
                self.add(request)

    def _take(self, lane: deque[Request], max_tokens: int, now: float, side_by_side: int) -> Iterator[Item]:
        packer, first = Packer(max_tokens, sys.maxsize), None
        while lane:
            request = lane[0]
            request.expire(now)
            if request.future.done():  # cancelled, failed or expired: its remaining texts are dropped
                self.waiting_tokens -= request.waiting_tokens
                lane.popleft()
                continue
            first = first or request
            if request.pooling != first.pooling or (request is not first and (request.alone or first.alone)):
                return
            packer.max_rows = min(packer.max_rows, request.max_rows)
            while request.waiting:
                size = request.rows[request.waiting[0]].size
                if packer.count == side_by_side and packer.needs_another(padded_length(size)):
                    return
                packer.add(padded_length(size))
                if request.future.begun is None:
                    request.future.begun = now
                request.waiting_tokens -= size
                self.waiting_tokens -= size
                yield Item(request, request.waiting.popleft())
            lane.popleft()
