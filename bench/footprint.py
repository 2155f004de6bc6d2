"""What a process really holds: pages that are its own alone, whether MLX, NumPy or malloc asked for them."""

import threading
import time
from collections.abc import Callable
from typing import Self

import psutil

# Reading it takes a millisecond or two: at this rate it costs what is measured at the same time a percent or so.
_INTERVAL = 0.1


def footprint() -> int:
    """Bytes that ending this process would free (USS). Memory that malloc keeps for reuse counts, as for the system."""
    return int(psutil.Process().memory_full_info().uss)


class Sampler:
    """Samples of the footprint while a block runs: ``samples`` holds (seconds since the start, bytes)."""

    def __init__(self, read: Callable[[], int] = footprint, interval: float = _INTERVAL) -> None:
        self.samples: list[tuple[float, int]] = []
        self._read, self._interval = read, interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="footprint", daemon=True)
        self._start = 0.0

    @property
    def peak(self) -> int:
        """The most there was, bytes."""
        return max(size for _, size in self.samples)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            self._sample()

    def _sample(self) -> None:
        self.samples.append((time.perf_counter() - self._start, self._read()))
