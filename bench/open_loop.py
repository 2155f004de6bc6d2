"""Arrivals on a fixed schedule, whatever the server does, and latency counted from the scheduled arrival.

A closed loop, in which the next query waits for the last one's answer, asks a slow server less often and so hides how
slow it is. Here queries keep coming, and one that could only be sent late has waited all the same.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from bench.summary import percentile

Call = Callable[[int], Awaitable[object]]


@dataclass
class Outcome:
    """One run at ``rate`` queries a second. ``latencies`` (seconds) are those of the answered; ``answers`` the times
    (seconds) of their answers, and ``elapsed`` that of the last answer, from the first arrival."""

    rate: float
    offered: int
    elapsed: float = 0.0
    latencies: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def answered_rate(self) -> float:
        """Answers a second, from the first arrival to the last answer."""
        return len(self.latencies) / self.elapsed if self.elapsed else 0.0

    @property
    def keeps_up(self) -> bool:
        """Whether answers come as fast as queries: no errors, and the last not far behind the schedule's end."""
        return not self.errors and self.answered_rate >= 0.9 * self.rate

    def rates(self, stretches: int = 5) -> list[float]:
        """Answers a second in each of so many equal stretches of the run."""
        length = self.elapsed / stretches
        places = [min(int(answer / length), stretches - 1) for answer in self.answers]
        return [places.count(stretch) / length for stretch in range(stretches)]


async def offer(call: Call, rate: float, seconds: float) -> Outcome:
    """Call ``call(i)`` at ``i / rate`` seconds for so many seconds, then wait for all answers.

    What a call raises counts as an error and its latency does not count.
    """
    loop = asyncio.get_running_loop()
    outcome = Outcome(rate, offered=max(1, round(rate * seconds)))
    start = loop.time()

    async def one(index: int) -> None:
        try:
            await call(index)
        except Exception as error:
            outcome.errors.append(f"{type(error).__name__}: {error}")
        else:
            outcome.answers.append(loop.time() - start)
            outcome.latencies.append(outcome.answers[-1] - index / rate)

    async with asyncio.TaskGroup() as tasks:
        for index in range(outcome.offered):
            await asyncio.sleep(max(0.0, start + index / rate - loop.time()))
            tasks.create_task(one(index))
    outcome.elapsed = loop.time() - start
    return outcome


async def sweep(call: Call, rates: Iterator[float], seconds: float, hopeless: float) -> list[Outcome]:
    """One run at each rate, until one does not keep up, or its median latency (seconds) is hopeless."""
    outcomes = []
    for rate in rates:
        outcomes.append(await offer(call, rate, seconds))
        if not outcomes[-1].keeps_up or percentile(outcomes[-1].latencies, 50) > hopeless:
            break
    return outcomes


def rising(first: float, factor: float) -> Iterator[float]:
    """``first`` and each further rate ``factor`` times the one before, without end."""
    rate = first
    while True:
        yield rate
        rate *= factor


def precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop that wakes on time: with epoll, the default on Linux, it does so up to a millisecond late."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())
