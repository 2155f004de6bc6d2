"""Which texts run next: requests wait in two queues, small before large, and leave in rounds limited in tokens.

The class is not thread-safe; the engine locks it.
"""

import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

from akidb_embeddings.engine.planner import Packer, padded_length, similar
from akidb_embeddings.engine.request import Item, Request

# Small requests go first, but after this many consecutive rounds of them a large one runs.
_MAX_CONSECUTIVE_SMALL_ROUNDS = 8
BUSY_TOKENS = 8192
"""The largest micro-batch, in tokens, of large requests while small ones come, which would wait for a larger one."""
# Texts for a GPU's micro-batch are chosen from so many times its tokens.
_CANDIDATES = 2
# And from at most so many texts: sorting more would keep the threads waiting that queue others meanwhile.
_MOST_CANDIDATES = 4096
# So long after a small request others are expected.
_BUSY_SECONDS = 1.0


class Scheduler:
    """Requests in two queues: small ones go before large ones, and large ones take turns.

    Args:
        small: The largest number of tokens of a small request.
    """

    def __init__(self, small: int) -> None:
        self._small_limit = small
        self._small: deque[Request] = deque()
        self._large: deque[Request] = deque()
        self._small_rounds = 0
        self._last_small = -math.inf
        self.waiting_tokens = 0

    def add(self, request: Request) -> None:
        """Queue a request."""
        is_small = request.waiting_tokens <= self._small_limit
        if is_small:
            self._last_small = request.queued_at
        (self._small if is_small else self._large).append(request)
        self.waiting_tokens += request.waiting_tokens

    def next_round(
        self,
        max_tokens: int,
        now: float,
        streams: int = 1,
        *,
        bounded_rows: bool = True,
        budgets: Sequence[int] = (),
    ) -> list[Item]:
        """Take the texts of the next round out of the queue.

        Args:
            max_tokens: The largest micro-batch, in tokens including padding. A single text may have more.
            now: The current time, in ``time.monotonic`` seconds.
            streams: The number of micro-batches in a round.
            bounded_rows: Whether the requests' ``max_rows`` limits micro-batches, as on CPUs. If not, a round is one
                micro-batch of texts of similar length, from as many requests as have some.
            budgets: See ``planner.pad``.

        Returns:
            Texts with the same pooling; empty if none is queued.
        """
        large_first = self._large and self._small_rounds >= _MAX_CONSECUTIVE_SMALL_ROUNDS
        for lane in (self._large, self._small) if large_first else (self._small, self._large):
            if not self._drop_ended(lane, now):
                continue
            first, most = lane[0], max_tokens
            # What is alone must be divided in the same way whatever else comes.
            if lane is self._large and now - self._last_small < _BUSY_SECONDS and not first.alone:
                most = min(max_tokens, BUSY_TOKENS)
            if bounded_rows:
                items = list(self._take(lane, most, now, streams))
            else:
                items = self._take_similar(lane, most, now, budgets)
            self._small_rounds = self._small_rounds + 1 if lane is self._small and self._large else 0
            if lane is self._large and lane and lane[0] is (items[-1].request if bounded_rows else first):
                lane.rotate(-1)  # not done yet: other large requests run before its next round
            return items
        return []

    def oldest(self) -> float | None:
        """When the oldest queued request was made, in ``time.monotonic`` seconds; None if none is queued.

        Requests that were cancelled or failed in the queue do not count, though they leave it later.
        """
        waiting = (request for request in (*self._small, *self._large) if not request.future.done())
        return min((request.queued_at for request in waiting), default=None)

    def drain(self) -> list[Request]:
        """Remove and return all queued requests."""
        requests = [*self._small, *self._large]
        self._small.clear()
        self._large.clear()
        self.waiting_tokens = 0
        return requests

    def drop_finished(self, now: float) -> None:
        """Remove requests that were cancelled, failed or expired in the queue."""
        for request in self.drain():
            request.expire(now)
            if not request.future.done():
                self.add(request)

    def _drop_ended(self, lane: deque[Request], now: float) -> bool:
        """Drop what remains of requests that were cancelled, failed or expired, up to the first other one, if any."""
        while lane:
            lane[0].expire(now)
            if not lane[0].future.done():
                return True
            self.waiting_tokens -= lane.popleft().waiting_tokens
        return False

    def _take(self, lane: deque[Request], max_tokens: int, now: float, streams: int) -> Iterator[Item]:
        packer, first = Packer(max_tokens, sys.maxsize), lane[0]
        # The first one is looked at once: another thread may cancel it at any moment.
        while lane and (lane[0] is first or (self._drop_ended(lane, now) and _may_share(lane[0], first))):
            request = lane[0]
            packer.max_rows = min(packer.max_rows, request.max_rows)
            while request.waiting:
                padded = padded_length(Item(request, request.waiting[0]).row.size)
                if packer.count == streams and packer.needs_another(padded):
                    return
                packer.add(padded)
                yield self._taken(Item(request, request.waiting.popleft()), now)
            lane.popleft()

    def _take_similar(self, lane: deque[Request], max_tokens: int, now: float, budgets: Sequence[int]) -> list[Item]:
        """The first request's longest text and others of about its length, so that little is padding."""
        found = list(_candidates(lane, _CANDIDATES * max_tokens, now))
        first = found[0]
        found.sort(key=itemgetter(0), reverse=True)  # of the same length, the first come first
        lengths, begin = [length for length, _ in found], 0
        end = similar(lengths, begin, max_tokens, budgets)
        if first not in found[:end]:
            begin = found.index(first)
            end = similar(lengths, begin, max_tokens, budgets)
        taken = [item for _, item in found[begin:end]]
        positions: dict[Request, set[int]] = {}
        for request, position in taken:
            positions.setdefault(request, set()).add(position)
        for request, gone in positions.items():
            request.waiting = deque(position for position in request.waiting if position not in gone)
        unfinished = [request for request in lane if request.waiting]
        lane.clear()
        lane.extend(unfinished)
        return [self._taken(item, now) for item in taken]

    def _taken(self, item: Item, now: float) -> Item:
        """Count a text that has left the queue."""
        request, size = item.request, item.row.size
        if request.future.begun is None:
            request.future.begun = now
        request.waiting_tokens -= size
        self.waiting_tokens -= size
        return item


def _may_share(request: Request, first: Request) -> bool:
    """Whether two requests may be in one round."""
    return request is first or (request.pooling == first.pooling and not request.alone and not first.alone)


def _candidates(lane: Iterable[Request], max_tokens: int, now: float) -> Iterator[tuple[int, Item]]:
    """The longest texts of the first request, and of those behind it that may share its round, with their lengths.

    They have ``max_tokens`` tokens in all, or a little more, or are ``_MOST_CANDIDATES`` texts.
    """
    first, tokens, count = None, 0, 0
    for request in lane:
        first = first or request
        if not _may_share(request, first):
            return
        if request is not first:  # which was looked at already, and another thread may cancel it at any moment
            request.expire(now)
            if request.future.done():  # it is dropped when it is the first
                continue
        for position in request.waiting:
            if tokens >= max_tokens or count == _MOST_CANDIDATES:
                return
            length = request.rows[position].size
            tokens, count = tokens + length, count + 1
            yield length, Item(request, position)
