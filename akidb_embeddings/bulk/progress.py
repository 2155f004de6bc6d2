"""How far a job is, for people: a bar where standard error is a terminal, a plain line now and then where it is not."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import psutil

if TYPE_CHECKING:
    from tqdm import tqdm

PERIOD = 10.0  # seconds between plain lines
_SAMPLES = 2.0  # seconds between looks at the footprint, each of which takes milliseconds


class Progress:
    """What a run did so far. ``total``: the input's bytes, None where nobody knows.

    ``say`` gets plain lines, none if it is None. ``texts`` and ``tokens`` count what this run embedded, ``seconds`` how
    long it has been at it, ``peak`` the bytes that the process alone held at most.
    """

    def __init__(self, total: int | None, say: Callable[[str], None] | None = None, *, bar: bool = False) -> None:
        self._total, self._say = total, say
        self._begin = self._position = 0
        self.texts = self.tokens = self.peak = 0
        self._started = self._spoke = time.monotonic()
        self._sampled = 0.0
        self._bar = self._make_bar() if bar else None

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started

    @property
    def rates(self) -> str:
        """Texts and tokens a second of this run."""
        seconds = max(self.seconds, 1e-9)
        return f"{self.texts / seconds:,.0f} texts/s, {self.tokens / seconds:,.0f} tokens/s"

    def begin_at(self, position: int | None) -> None:
        """Let the time left count from there: what comes before was done by earlier runs."""
        self._begin = self._position = position or 0
        if self._bar is not None and self._total is not None:
            self._bar.initial = self._bar.n = self._begin

    def update(self, texts: int, tokens: int, position: int | None) -> None:
        """Count what is done. ``position``: how many bytes of the input it takes one to."""
        self.texts += texts
        self.tokens += tokens
        self._position = max(self._position, position or 0)
        self.sample()
        if self._bar is not None:
            self._bar.set_postfix_str(self.rates, refresh=False)
            self._bar.update(texts if self._total is None else self._position - self._bar.n)
        elif self._say and time.monotonic() - self._spoke >= PERIOD:
            self._spoke = time.monotonic()
            self._say(self.line())

    def line(self) -> str:
        """How far it is, how fast, and how long it will take."""
        done = self._position - self._begin
        parts = [f"{self.texts:,} texts", self.rates]
        if self._total and done:
            parts[0] += f" ({self._position / self._total:.0%} of the input)"
            left = int(self.seconds * (self._total - self._position) / done)
            parts.append(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
        return ", ".join(parts)

    def sample(self, at_once: bool = False) -> None:
        """Look at the footprint, if the last look is not too fresh."""
        if at_once or time.monotonic() - self._sampled >= _SAMPLES:
            self._sampled = time.monotonic()
            self.peak = max(self.peak, int(psutil.Process().memory_full_info().uss))

    def close(self) -> None:
        """Finish the bar, so that what follows it on the terminal begins on a line of its own."""
        if self._bar is not None:
            self._bar.close()

    def _make_bar(self) -> "tqdm[NoReturn]":
        from tqdm import tqdm

        if self._total is None:
            return tqdm(unit="text", file=sys.stderr, bar_format="{n_fmt} texts [{elapsed}{postfix}]", unit_scale=True)
        form = "{percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
        return tqdm(total=self._total, file=sys.stderr, bar_format=form)
