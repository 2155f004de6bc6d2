"""Showing how far something is: a bar if standard error is a terminal, else a plain line every few seconds.

A thread of its own shows it, so that the time goes on while the work is silent.
"""

import math
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Self

if TYPE_CHECKING:
    from tqdm import tqdm

Log = Callable[[str], None]

PERIOD = 10.0
"""Seconds between plain lines."""

_TICK = 0.5  # seconds between two times that the bar is drawn


class Status(NamedTuple):
    """How far something is.

    Attributes:
        line: What was done, how fast, and how long the rest takes.
        share: The share that is done, from 0 to 1; None if unknown.
    """

    line: str
    share: float | None = None

    @property
    def percentage(self) -> int | None:
        """The share in percent, rounded down: 100 only if everything is done."""
        return None if self.share is None else math.floor(100 * self.share)


class Display:
    """Shows a status until it is closed. Without bar and log it shows nothing.

    Args:
        status: Called for the present status, also from the display's thread.
        log: Called with plain lines; None for no lines.
        bar: Whether to show a bar instead.
        delay: Seconds before which nothing is shown: what takes less needs no bar.
    """

    def __init__(self, status: Callable[[], Status], log: Log | None, *, bar: bool, delay: float = 0.0) -> None:
        self._status, self._log = status, log
        self._begun = self._logged = time.monotonic()
        self._delay = delay
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._has_bar = bar
        self._bar: tqdm[NoReturn] | None = None
        if bar or log:
            threading.Thread(target=self._run, name="akidb-display", daemon=True).start()

    def show(self) -> None:
        """Draw the bar, or log a line if it is time for one."""
        status = self._status()
        with self._lock:
            now = time.monotonic()
            if self._stopped.is_set() or now - self._begun < self._delay:
                return
            if self._has_bar:
                self._draw(status)
            elif self._log and now - self._logged >= PERIOD:
                self._logged = now
                done = "" if status.percentage is None else f"{status.percentage}% done: "
                self._log(done + status.line)

    def _draw(self, status: Status) -> None:
        from tqdm import tqdm

        line = status.line.replace("{", "{{").replace("}", "}}")
        form = line if status.share is None else f"{status.percentage:3d}%|{{bar}}| {line}"
        if self._bar is None:
            self._bar = tqdm(total=1.0, file=sys.stderr, dynamic_ncols=True, bar_format=form)
        self._bar.n, self._bar.bar_format = status.share or 0.0, form
        self._bar.refresh()

    def _run(self) -> None:
        while not self._stopped.wait(_TICK):
            self.show()

    def close(self) -> None:
        """Show the last status, and finish the bar, so that further output begins on a new line."""
        self.show()
        self._stopped.set()
        with self._lock:
            if self._bar is not None:
                self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def duration(seconds: float) -> str:
    """``4:05`` or ``1:00:00``: minutes and seconds, and hours if there are any. Rounded up, so that 0:00 is the end."""
    whole = math.ceil(seconds)
    hours = f"{whole // 3600}:{whole // 60 % 60:02}" if whole >= 3600 else f"{whole // 60}"
    return f"{hours}:{whole % 60:02}"
