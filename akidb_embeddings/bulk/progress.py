"""What a run has done so far, and how it is shown: texts are embedded, then the output is put together."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence

import psutil

from akidb_embeddings.bulk.chunks import Chunk
from akidb_embeddings.bulk.display import Display, Log, Status, duration
from akidb_embeddings.bulk.forecast import Forecast

_SAMPLE_PERIOD = 2.0  # seconds between memory measurements, each of which takes milliseconds
_QUICK = 1.0  # seconds below which putting the output together is not shown
# The share that is shown at most before everything is done.
_ALMOST = 0.99


class Progress:
    """Counts what a run has done, and shows it. All methods may be called from any thread.

    Args:
        total: Size of the input in bytes; None if unknown.
        log: Called with plain progress lines; None for no lines.
        bar: Whether to show progress bars.
        limit: The number of tokens at which texts are cut; None for no limit.

    Attributes:
        texts: Texts of the chunks that this run has finished.
        tokens: Tokens of these texts.
        peak_bytes: Largest memory measured so far that the process does not share with others, in bytes.
    """

    def __init__(
        self, total: int | None, log: Log | None = None, *, bar: bool = False, limit: int | None = None
    ) -> None:
        self._log, self._has_bar = log, bar
        self._forecast = Forecast(total, limit)
        self._lock = threading.RLock()
        self._in_flight: list[Sequence[str]] = []  # the lists that are being embedded, oldest first
        self._earlier = 0
        self.texts = self.tokens = self.peak_bytes = 0
        self._started = self._counted = time.monotonic()
        self._ended: float | None = None
        self._sampled = 0.0
        self._display: Display | None = None

    def start(self, earlier: int = 0) -> None:
        """Start the clock and the display.

        Args:
            earlier: Texts that earlier runs have embedded.
        """
        self._started = self._counted = time.monotonic()
        self._earlier = earlier
        self._forecast.resume(earlier, None)
        self._display = Display(self.status, self._log, bar=self._has_bar)

    def start_at(self, position: int | None) -> None:
        """Note how many bytes of the input the earlier runs have done; None if unknown."""
        with self._lock:
            self._forecast.resume(self._earlier, position)

    def watch(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Pass chunks on, and count them as read."""
        for chunk in chunks:
            with self._lock:
                self._forecast.read([row.text for row in chunk.rows], chunk.position)
            yield chunk
        with self._lock:
            self._forecast.end_reading()

    def begin(self, texts: Sequence[str]) -> None:
        """Note that the next chunk, whose texts these are, is being embedded."""
        with self._lock:
            self._in_flight.append(texts)
            self._forecast.start_clock(time.monotonic())

    def advance(self, texts: Sequence[str], count: int) -> None:
        """Count more texts of a chunk as embedded. A list that did not ``begin`` is ignored."""
        with self._lock:
            for index, begun in enumerate(self._in_flight):
                if begun is texts:
                    self._forecast.embed(index, count, time.monotonic())

    def finish(self, texts: int, tokens: int) -> None:
        """Count the oldest chunk as finished.

        Args:
            texts: How many texts of it have vectors.
            tokens: Their tokens.
        """
        with self._lock:
            del self._in_flight[0]
            self._counted = time.monotonic()
            self._forecast.finish(texts, self._counted)
            self.texts += texts
            self.tokens += tokens
            self._sample_memory()

    def complete(self) -> None:
        """Note that everything is embedded, and stop the clock."""
        with self._lock:
            self._ended = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, or took until it was complete."""
        return (self._ended or time.monotonic()) - self._started

    @property
    def rates(self) -> str:
        """Texts and tokens per second of this run. The tokens are those of finished chunks, which are known."""
        texts = (self._forecast.texts - self._earlier) / max(self.seconds, 1e-9)
        counted = (self._ended or self._counted) - self._started
        tokens = f", {self.tokens / counted:,.0f} tokens/s" if self.tokens and counted > 0 else ""
        return f"{texts:,.0f} texts/s{tokens}"

    def status(self) -> Status:
        """The texts done, the time left, and the rates."""
        with self._lock:
            forecast, total, left = self._forecast, self._forecast.total_texts, None
            share = 1.0 if self._ended else forecast.share
            if not self._ended:
                left = forecast.seconds_left(time.monotonic())
                share = None if share is None else min(share, _ALMOST)
                total = None if total is None else max(total, forecast.texts)
            of = (
                ""
                if self._ended or total is None
                else f" of {total:,}"
                if forecast.is_exact
                else f" of ~{_round(total):,}"
            )
            time_left = "" if left is None else f", {duration(left)} left"
            self._sample_memory()
            return Status(f"{forecast.texts:,}{of} texts{time_left}, {self.rates}", share)

    def assembling(self, total: int) -> "Assembling":
        """Show that the output is put together, which begins now.

        Args:
            total: Bytes that will be joined.
        """
        return Assembling(total, self._log, bar=self._has_bar)

    def sample_memory(self) -> None:
        """Measure the process's memory."""
        self._sampled = time.monotonic()
        self.peak_bytes = max(self.peak_bytes, int(psutil.Process().memory_full_info().uss))

    def _sample_memory(self) -> None:
        """Measure it unless that was done recently."""
        if time.monotonic() - self._sampled >= _SAMPLE_PERIOD:
            self.sample_memory()

    def close(self) -> None:
        """End the display, so that further output begins on a new line."""
        if self._display is not None:
            self._display.close()


class Assembling(Display):
    """Shows how far the output is put together, if that takes more than a moment.

    Args:
        total: Bytes that will be joined.
        log: As for ``Progress``.
        bar: As for ``Progress``.
    """

    def __init__(self, total: int, log: Log | None, *, bar: bool) -> None:
        self._total, self._joined, self._saving = total, 0, False
        self._started = time.monotonic()
        super().__init__(self._describe, log, bar=bar, delay=_QUICK)

    def advance(self, count: int) -> None:
        """Count more bytes as joined."""
        self._joined += count

    def save(self) -> None:
        """Note that everything is joined, and the files are being saved: the disk may still have to write them."""
        self._saving = True

    def _describe(self) -> Status:
        if self._saving:
            return Status("all parts are joined; waiting for the disk", _ALMOST)
        share = self._joined / self._total if self._total else 0.0
        seconds = time.monotonic() - self._started
        left = f", {duration(seconds / share - seconds)} left" if share else ""
        return Status(
            f"joining the parts, {self._joined / 1e6:,.0f} of {self._total / 1e6:,.0f} MB{left}", min(share, _ALMOST)
        )


def _round(count: int) -> int:
    """An estimate with three digits."""
    return round(count, 3 - len(str(count)))
