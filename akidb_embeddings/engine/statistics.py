"""An engine's counters."""

import math
import time
from dataclasses import dataclass, field

_RECENT_SECONDS = 60.0
_FEWEST = 4
_LONG_SECONDS = 1.0  # where micro-batches take so long, two are enough
# Half of the weight is on the last seven measurements.
_DECAY = 0.9


@dataclass(frozen=True)
class Statistics:
    """A snapshot of an engine's counters since its start.

    Attributes:
        running: Whether its thread has loaded the model and runs rounds.
        waiting_tokens: The number of queued tokens.
        waiting_seconds: How long the oldest queued request has waited.
        rounds: The number of rounds.
        texts: The number of embedded texts.
        tokens: The number of embedded tokens, padding not included.
        compute_seconds: The time spent in forward passes that succeeded.
        failures: The number of forward passes that raised an error.
        restarts: How often the thread was restarted.
        idle_seconds: The time since the last successful forward pass, or since the start.
        warming_up: Whether shapes of queries remain to be computed for the first time.
        warm_up_seconds: The time spent on that.
        lone_threads: The CPU threads of a micro-batch that runs alone, such as a query; 0 on a GPU or before the first.
        thread_drops: How often that was set to one, since other programs kept the cores busy.
        tokens_per_second: The speed of full micro-batches of late; None if there were none in the last minute.
    """

    running: bool
    waiting_tokens: int
    waiting_seconds: float
    rounds: int
    texts: int
    tokens: int
    compute_seconds: float
    failures: int
    restarts: int
    idle_seconds: float
    warming_up: bool = False
    warm_up_seconds: float = 0.0
    lone_threads: int = 0
    thread_drops: int = 0
    tokens_per_second: float | None = None


@dataclass
class Speed:
    """The speed of full micro-batches, of which later ones count more.

    A speed that was measured long ago says nothing: the machine may have been busy with something else.
    """

    count: int = 0
    _tokens: float = 0.0
    _seconds: float = 0.0
    _measured_at: float = -math.inf

    def add(self, tokens: int, seconds: float, now: float) -> None:
        """Count micro-batches that were computed together."""
        if now - self._measured_at > _RECENT_SECONDS:
            self.count, self._tokens, self._seconds = 0, 0.0, 0.0
        self.count += 1
        self._tokens = _DECAY * self._tokens + tokens
        self._seconds = _DECAY * self._seconds + seconds
        self._measured_at = now

    def tokens_per_second(self, now: float) -> float | None:
        """The speed; None if there are too few measurements of the last minute."""
        is_known = self.count >= _FEWEST or (self.count > 1 and self._seconds > _LONG_SECONDS)
        if not is_known or now - self._measured_at > _RECENT_SECONDS or not self._seconds:
            return None
        return self._tokens / self._seconds


@dataclass
class Counts:
    """The counters behind ``Statistics``. Only the engine's thread writes them."""

    rounds: int = 0
    texts: int = 0
    tokens: int = 0
    compute_seconds: float = 0.0
    failures: int = 0
    restarts: int = 0
    lone_threads: int = 0
    thread_drops: int = 0
    weight_bytes: int = 0
    last_success: float = field(default_factory=time.monotonic)
    speed: Speed = field(default_factory=Speed)
