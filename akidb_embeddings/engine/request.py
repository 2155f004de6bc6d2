"""A caller's texts and the future of their vectors, and one text of them.

The classes are not thread-safe but where they say so; the engine locks them.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import DeadlineError, NonFiniteVectorError
from akidb_embeddings.registry.outputs import RAGGED
from akidb_embeddings.vectors.ragged import Row, Rows, unusable_rows


class VectorsFuture(Future[Any]):
    """The future of a request's rows, with its progress: an array, or a list of rows of the outputs in ``RAGGED``.

    Attributes:
        delivered: How many texts have their vectors.
        begun: When the first text left the queue, in ``time.monotonic`` seconds; None before that.
    """

    delivered = 0
    begun: float | None = None


@dataclass(eq=False)
class Request:
    """A caller's texts and their future.

    Attributes:
        rows: The token ids of each text, int32 [L].
        pooling: The pooling strategy, or the output that is wanted in place of one vector.
        max_rows: The largest number of texts in a micro-batch.
        deadline: When the request expires in the queue, in ``time.monotonic`` seconds.
        alone: Whether its rounds contain no other request's texts, so that its vectors do not depend on them.
        first_parts: The number of tokens of each pair's first part, whose type is 0; None where all have type 0.
        attended: The number of tokens of each text that others attend to, the first ones; None for all.
        future: The future of the vectors.
        queued_at: When the request was made, in ``time.monotonic`` seconds.
        waiting: The indices of the queued texts.
        waiting_tokens: The number of queued tokens.
    """

    rows: list[NDArray[np.int32]]
    pooling: str
    max_rows: int
    deadline: float | None = None
    alone: bool = False
    first_parts: Sequence[int] | None = None
    attended: Sequence[int] | None = None
    future: VectorsFuture = field(default_factory=VectorsFuture)
    queued_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        # Longest first: neighbours have similar lengths, and the largest memory use comes first.
        self.waiting = deque(sorted(range(len(self.rows)), key=lambda index: -self.rows[index].size))
        self.waiting_tokens = sum(row.size for row in self.rows)
        self._rows: Rows | None = None
        self._end_lock = threading.Lock()
        self._ended = False

    def deliver(self, position: int, row: Row) -> None:
        """Store the row of one text. The last one resolves the future, with rows in the texts' order."""
        if self._rows is None:
            count = len(self.rows)
            self._rows = [row] * count if self.pooling in RAGGED else np.empty((count, row.size), dtype=np.float32)
        self._rows[position] = row
        self.future.delivered += 1
        if self.future.delivered == len(self.rows) and self._end():
            self.future.set_result(self._rows)

    def fail(self, error: Exception) -> None:
        """Resolve the future with an error, unless it is already resolved or cancelled."""
        if self._end():
            self.future.set_exception(error)

    def _end(self) -> bool:
        """Whether the caller may resolve the future: only the first caller, and only if it was not cancelled."""
        with self._end_lock:  # the MLX thread may deliver while another thread fails the request
            first, self._ended = not self._ended, True
        return first and self.future.set_running_or_notify_cancel()

    def expire(self, now: float) -> None:
        """Fail a request that waited past its deadline."""
        if self.deadline is not None and now >= self.deadline:
            self.fail(DeadlineError("The request waited past its deadline. Send fewer texts at once, or allow more."))


class Item(NamedTuple):
    """One text of a request, the one with index ``position``."""

    request: Request
    position: int

    @property
    def row(self) -> NDArray[np.int32]:
        """The token ids, int32 [L]."""
        return self.request.rows[self.position]

    @property
    def attended(self) -> int:
        """How many of them others attend to."""
        given = self.request.attended
        return self.row.size if given is None else given[self.position]


def deliver(items: list[Item], rows: Rows) -> None:
    """Deliver each text's row. NaN or infinity fails only the row's own request."""
    non_finite = set(unusable_rows(rows))
    for index, (request, position) in enumerate(items):
        if index in non_finite:
            request.fail(NonFiniteVectorError(position, request.rows[position].size))
        else:
            request.deliver(position, rows[index])
