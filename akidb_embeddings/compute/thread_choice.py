"""How many BLAS threads a lone micro-batch gets: all cores, or one while other programs keep the cores busy.

A product of several threads ends when the last of them has had its core. Next to programs that occupy all cores, each
of a query's products waits for a time slice: on two cores with seven busy programs, a query took 960 ms with two
threads and 40 ms with one. On quiet cores two threads are a quarter faster.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable

# CPU time divided by wall time. While a micro-batch runs, one of its threads always computes or polls, so it is 1 at
# least, and 1.5 to 1.7 with two threads on quiet cores. Beside two busy programs it is 0.85. It is 1.07 if threads that
# slept are woken up on the core of the one that polls for them: on a virtual machine it took 60 ms to move them apart,
# and a query after a pause 70 ms instead of 8.
_LEAST_CPU_SHARE = 1.15
# Seconds before a micro-batch is checked for the first time: more than a query takes on quiet cores.
_PATIENCE = 0.015
# So many of the last lone micro-batches must have waited, since a single one may have met a short burst.
_WAITED, _LAST = 2, 4
# Seconds until all threads are tried again; doubled after each failure.
_RETRY_AFTER, _LONGEST_RETRY = 1.0, 30.0
_SUCCESSES = 3
# Micro-batches with one thread that say what to expect. If none of them waited, but an earlier one did, the cores have
# become quiet.
_REMEMBERED = 5
# A micro-batch of few tokens takes as long as this many more.
_FIXED_TOKENS = 32


class ThreadChoice:
    """Decides from what the last lone micro-batches took.

    There is one for those that follow each other at once, and one for those after a pause, when threads have slept.

    Args:
        threads: The number of threads on quiet cores.
        clock: The current time in seconds.

    Attributes:
        is_single: Whether one thread is used, since threads had to wait for cores.
        drops: How often that was decided.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._all, self._clock = threads, clock
        self.is_single, self.drops = False, 0
        self._waited: deque[bool] = deque(maxlen=_LAST)
        self._single_costs: deque[float] = deque(maxlen=_REMEMBERED)
        self._quiet_in_a_row, self._was_busy = 0, False
        self._retry_at, self._retry_after, self._successes = 0.0, _RETRY_AFTER, 0

    @property
    def threads(self) -> int:
        """The threads of the next lone micro-batch; all of them also where that is a trial."""
        return 1 if self.is_single and self._clock() < self._retry_at else self._all

    def patience(self, tokens: int) -> float:
        """Seconds after which a micro-batch with all threads is checked: it should be done by then with one thread."""
        return max(_PATIENCE, self._expected(tokens) or 0.0)

    @staticmethod
    def is_waiting(seconds: float, cpu_seconds: float) -> bool:
        """Whether a micro-batch's threads wait for cores, from wall time and the process's CPU time."""
        return cpu_seconds < _LEAST_CPU_SHARE * seconds

    def observe(self, threads: int, tokens: int, seconds: float, *, waited: bool) -> None:
        """Take note of a lone micro-batch.

        Args:
            threads: The threads that it began with.
            tokens: Its tokens, padding included.
            seconds: The time that it took.
            waited: Whether its threads had to wait for cores.
        """
        expected = self._expected(tokens)
        if threads == 1:
            self._single_costs.append(seconds / (tokens + _FIXED_TOKENS))
            self._notice_quiet(waited)
        elif self.is_single:
            self._observe_trial(expected is None or seconds <= expected)
        else:
            self._waited.append(waited and (expected is None or seconds > expected))
            if sum(self._waited) >= _WAITED:
                self._drop()

    def _notice_quiet(self, waited: bool) -> None:
        """Try all threads at once when the cores have become quiet."""
        self._quiet_in_a_row = 0 if waited else self._quiet_in_a_row + 1
        self._was_busy = self._was_busy or waited
        if self._was_busy and self._quiet_in_a_row == _REMEMBERED:
            self._was_busy, self._retry_at, self._retry_after = False, self._clock(), _RETRY_AFTER

    def _drop(self) -> None:
        self.is_single = True
        self.drops += 1
        if self._clock() > self._retry_at + _LONGEST_RETRY:  # the last time is long ago
            self._retry_after = _RETRY_AFTER
        self._postpone()

    def _observe_trial(self, succeeded: bool) -> None:
        if not succeeded:
            self._postpone()
            return
        self._successes += 1
        if self._successes == _SUCCESSES:
            self.is_single = False
            self._waited.clear()

    def _postpone(self) -> None:
        self._successes = 0
        self._retry_at = self._clock() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LONGEST_RETRY)

    def _expected(self, tokens: int) -> float | None:
        """Seconds with one thread, as far as is known."""
        if not self._single_costs:
            return None
        return statistics.median(self._single_costs) * (tokens + _FIXED_TOKENS)
