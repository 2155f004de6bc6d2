"""Estimates of how much of a job is done and how long the rest takes."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

# What a text costs beside its length, in tokens: special tokens, and work per row. Measured on a CPU with MiniLM.
_TOKENS_PER_TEXT = 5
_BYTES_PER_TOKEN = 4
# Points that a trend keeps, about.
_POINTS = 200
# After so many times the longest silence so far, silence counts as slowness.
_PATIENCE = 2.0


def weight(text: str, limit: int | None) -> float:
    """Estimate a text's work, in tokens.

    Args:
        text: The text.
        limit: The number of tokens at which texts are cut; None for no limit.
    """
    tokens = len(text.encode(errors="surrogatepass")) / _BYTES_PER_TOKEN
    return _TOKENS_PER_TEXT + (tokens if limit is None else min(tokens, limit))


class Trend:
    """How fast one growing number follows another, over the latter half of the points.

    Half is enough to be steady, and leaves behind what is over: other texts, or other work on the machine.
    """

    def __init__(self) -> None:
        self._points = deque([(0.0, 0.0)])
        self._first = 0.0

    def begin(self, x: float, y: float) -> None:
        """Start anew from this point."""
        self._points, self._first = deque([(x, y)]), x

    def add(self, x: float, y: float) -> None:
        """Add a point; ``x`` must not be less than before."""
        points = self._points
        if len(points) > 1 and x - points[-2][0] < (x - self._first) / _POINTS:
            points.pop()  # it is so near to the one before that this one can replace it
        points.append((x, y))
        while len(points) > 2 and points[1][0] <= (self._first + x) / 2:
            points.popleft()

    def slope(self, silent: float = 0.0) -> float | None:
        """How much ``y`` grows with ``x``; None if that is not known.

        Args:
            silent: How far ``x`` has grown since the last point, while ``y`` stayed the same.
        """
        (x, y), (last_x, last_y) = self._points[0], self._points[-1]
        width = last_x + silent - x
        return (last_y - y) / width if width > 0 and last_y > y else None


@dataclass
class _Load:
    """A chunk that was read and is not finished: the work of its longest 0, 1, 2, … texts, and how many are embedded.

    The engine computes long texts first.
    """

    work: Sequence[float]
    embedded: int = 0


class Forecast:
    """How much of a job is done, and how long the rest takes.

    The work is counted in estimated tokens (``weight``). That of chunks that were read is known; that of the bytes that
    were not is estimated from the bytes that were read last. So the estimate is good if the rest of the input
    is like what came before it. It is not thread-safe.

    Args:
        total: Size of the input in bytes; None if unknown.
        limit: The number of tokens at which texts are cut; None for no limit.
    """

    def __init__(self, total: int | None, limit: int | None) -> None:
        self._total, self._limit = total, limit
        self._unfinished = deque[_Load]()
        self._earlier = self._finished = 0  # texts: of earlier runs, and with those of finished chunks
        self._done = self._read_work = 0.0
        self._read_texts = self._read_position = 0
        self._read_all = False
        self._density, self._count, self._speed = Trend(), Trend(), Trend()
        self._changed: float | None = None
        self._silence = 0.0

    def resume(self, texts: int, position: int | None) -> None:
        """Start after an earlier run, which has embedded so many texts in the first ``position`` bytes of the input."""
        self._earlier = self._finished = texts
        self._read_position = position or 0
        self._density.begin(self._read_position, 0)
        self._count.begin(self._read_position, 0)

    def read(self, texts: Iterable[str], position: int | None) -> None:
        """Count a chunk that was read; ``position`` is how many bytes of the input it and those before it take."""
        weights = sorted((weight(text, self._limit) for text in texts), reverse=True)
        load = _Load([0.0, *accumulate(weights)])
        self._unfinished.append(load)
        self._read_texts += len(weights)
        self._read_work += load.work[-1]
        if position is not None:
            self._read_position = max(self._read_position, position)
            self._density.add(self._read_position, self._read_work)
            self._count.add(self._read_position, self._read_texts)

    def end_reading(self) -> None:
        """Note that the whole input was read, so that nothing needs to be estimated from its bytes."""
        self._read_all = True

    def start_clock(self, now: float) -> None:
        """Start to measure the speed, unless that has begun."""
        if self._changed is None:
            self._changed = now
            self._speed.begin(now, 0)

    def embed(self, chunk: int, texts: int, now: float) -> None:
        """Count more texts of a chunk as embedded.

        Args:
            chunk: The chunk's index among those that were read and are not finished.
            texts: How many more.
            now: The time in seconds.
        """
        load = self._unfinished[chunk]
        load.embedded = min(load.embedded + texts, len(load.work) - 1)
        self._note(now)

    def finish(self, texts: int, now: float) -> None:
        """Count the oldest chunk as finished; ``texts`` of its texts have vectors."""
        load = self._unfinished.popleft()
        self._done += load.work[-1]
        self._finished += texts
        self._note(now)

    @property
    def texts(self) -> int:
        """Number of texts that are embedded, those of earlier runs included."""
        return self._finished + sum(load.embedded for load in self._unfinished)

    @property
    def is_exact(self) -> bool:
        """Whether the whole input was read, so that ``total_texts`` is no estimate."""
        return self._read_all

    @property
    def total_texts(self) -> int | None:
        """Number of all texts of the input; None if it cannot be estimated."""
        known = self._finished + sum(len(load.work) - 1 for load in self._unfinished)
        unread = self._unread(self._count)
        return None if unread is None else known + round(unread)

    @property
    def share(self) -> float | None:
        """Share of the work that is done, from 0 to 1; None if it cannot be estimated."""
        left = self._work_left()
        if left is None or not self._read_texts:
            return None
        done = self._work_done() + self._earlier * self._read_work / self._read_texts
        return done / (done + left)

    def seconds_left(self, now: float) -> float | None:
        """Seconds that the rest takes, as of ``now``; None if it cannot be estimated."""
        left = self._work_left()
        if left is None or self._changed is None:
            return None
        silent = now - self._changed
        is_usual = silent <= _PATIENCE * max(self._silence, 1.0)
        speed = self._speed.slope(0.0 if is_usual else silent)
        if speed is None:
            return None
        return max(left / speed - (silent if is_usual else 0.0), 0.0)

    def _note(self, now: float) -> None:
        """Note that work was done."""
        self.start_clock(now)
        self._silence = max(self._silence, now - (self._changed or now))
        self._changed = now
        self._speed.add(now, self._work_done())

    def _work_done(self) -> float:
        """The work of this run so far."""
        return self._done + sum(load.work[load.embedded] for load in self._unfinished)

    def _work_left(self) -> float | None:
        unread = self._unread(self._density)
        if unread is None:
            return None
        return unread + sum(load.work[-1] - load.work[load.embedded] for load in self._unfinished)

    def _unread(self, trend: Trend) -> float | None:
        """What the bytes hold that were not read, by what those before them did; None if that is not known."""
        if self._read_all:
            return 0.0
        density = trend.slope()
        return None if self._total is None or density is None else max(0, self._total - self._read_position) * density
