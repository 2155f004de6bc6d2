"""Progress reports of a job: a progress bar if standard error is a terminal, else a plain line every few seconds."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import psutil

if TYPE_CHECKING:
    from tqdm import tqdm

PERIOD = 10.0  # seconds between plain lines
_SAMPLE_PERIOD = 2.0  # seconds between memory measurements, each of which takes milliseconds


class Progress:
    """Counts what a run has done, and reports it.

    Args:
        total: Size of the input in bytes; None if unknown.
        log: Called with plain progress lines; None for no lines.
        bar: Whether to show a progress bar.

    Attributes:
        texts: Texts embedded by this run.
        tokens: Tokens embedded by this run.
        peak_bytes: Largest memory measured so far that the process does not share with others, in bytes.
    """

    def __init__(self, total: int | None, log: Callable[[str], None] | None = None, *, bar: bool = False) -> None:
        self._total, self._log = total, log
        self._begin = self._position = 0
        self.texts = self.tokens = self.peak_bytes = 0
        self._started = self._logged = time.monotonic()
        self._sampled = 0.0
        self._bar = self._make_bar() if bar else None

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._started

    @property
    def rates(self) -> str:
        """Texts and tokens per second of this run."""
        seconds = max(self.seconds, 1e-9)
        return f"{self.texts / seconds:,.0f} texts/s, {self.tokens / seconds:,.0f} tokens/s"

    def start_at(self, position: int | None) -> None:
        """Set the position in bytes at which this run starts, for the estimate of the time left."""
        self._begin = self._position = position or 0
        if self._bar is not None and self._total is not None:
            self._bar.initial = self._bar.n = self._begin

    def update(self, texts: int, tokens: int, position: int | None) -> None:
        """Add to the counts, and report them if it is time.

        Args:
            texts: Texts embedded since the last call.
            tokens: Their tokens.
            position: Bytes of the input that are done; None if unknown.
        """
        self.texts += texts
        self.tokens += tokens
        self._position = max(self._position, position or 0)
        self.sample_memory()
        if self._bar is not None:
            self._bar.set_postfix_str(self.rates, refresh=False)
            self._bar.update(texts if self._total is None else self._position - self._bar.n)
        elif self._log and time.monotonic() - self._logged >= PERIOD:
            self._logged = time.monotonic()
            self._log(self.status_line())

    def status_line(self) -> str:
        """Return a line with the texts done, the rates and the time left."""
        done = self._position - self._begin
        parts = [f"{self.texts:,} texts", self.rates]
        if self._total and done:
            parts[0] += f" ({self._position / self._total:.0%} of the input)"
            left = int(self.seconds * (self._total - self._position) / done)
            parts.append(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
        return ", ".join(parts)

    def sample_memory(self, at_once: bool = False) -> None:
        """Measure the process's memory, unless that was done recently.

        Args:
            at_once: Measure in any case.
        """
        if at_once or time.monotonic() - self._sampled >= _SAMPLE_PERIOD:
            self._sampled = time.monotonic()
            self.peak_bytes = max(self.peak_bytes, int(psutil.Process().memory_full_info().uss))

    def close(self) -> None:
        """Finish the progress bar, so that further output begins on a new line."""
        if self._bar is not None:
            self._bar.close()

    def _make_bar(self) -> "tqdm[NoReturn]":
        from tqdm import tqdm

        if self._total is None:
            return tqdm(unit="text", file=sys.stderr, bar_format="{n_fmt} texts [{elapsed}{postfix}]", unit_scale=True)
        form = "{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
        return tqdm(total=self._total, file=sys.stderr, bar_format=form)
