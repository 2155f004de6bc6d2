"""An engine's counters."""

import time
from dataclasses import dataclass, field


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
    last_success: float = field(default_factory=time.monotonic)
