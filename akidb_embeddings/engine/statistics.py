"""What an engine counts, and what it tells of it."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Statistics:
    """What an engine did since it was started, and what waits for it.

    ``running``: its thread has the model and takes rounds. ``waiting_seconds``: how long the oldest request waits.
    ``compute_seconds`` is the time in forward passes, whose ``failures`` were raised errors; ``restarts`` of the thread
    followed upon its death. ``idle_seconds``: since the last forward pass that succeeded, or since the start.
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


@dataclass
class Counts:
    """Written by the engine's thread alone."""

    rounds: int = 0
    texts: int = 0
    tokens: int = 0
    compute_seconds: float = 0.0
    failures: int = 0
    restarts: int = 0
    last_success: float = field(default_factory=time.monotonic)
