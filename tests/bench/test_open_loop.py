"""The schedule, with a clock that jumps from one event to the next: what takes a minute there takes no time here."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from bench.open_loop import Call, Outcome, offer, precise_loop, rising, sweep

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Nothing is waited for: when nobody has anything to do, it is as late as the next one wants."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        internals: Any = self
        if not internals._ready and internals._scheduled:
            self.now = max(self.now, internals._scheduled[0]._when)
        internals.__class__.__bases__[0]._run_once(self)


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def one_at_a_time(seconds: float) -> Call:
    """A server that takes so long for each query and has one hand."""
    busy = asyncio.Lock()

    async def call(index: int) -> None:
        async with busy:
            await asyncio.sleep(seconds)

    return call


def test_queries_come_on_schedule_whatever_the_server_does() -> None:
    arrivals: list[float] = []

    async def call(index: int) -> None:
        arrivals.append(asyncio.get_running_loop().time())
        await asyncio.sleep(5)

    outcome = run(offer(call, rate=10, seconds=2))
    assert arrivals == pytest.approx([i / 10 for i in range(20)])
    assert outcome.latencies == pytest.approx([5] * 20)
    assert outcome.elapsed == pytest.approx(6.9)


def test_a_slow_server_cannot_hide() -> None:
    """At half the rate that is asked of it, every query waits half a second longer than the one before."""
    outcome = run(offer(one_at_a_time(1.0), rate=2, seconds=30))
    assert outcome.latencies == pytest.approx([1 + 0.5 * i for i in range(60)])
    assert outcome.elapsed == pytest.approx(60)
    assert outcome.answered_rate == pytest.approx(1)
    assert not outcome.keeps_up


def test_what_is_sent_late_has_waited_since_its_time() -> None:
    """A call that blocks the loop delays the sending of others, and that is part of their latency."""

    async def call(index: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        if index == 0:
            loop.now += 3

    outcome = run(offer(call, rate=1, seconds=5))
    assert outcome.latencies == pytest.approx([3, 2, 1, 0, 0])


def test_errors_are_counted_and_are_no_latencies() -> None:
    async def call(index: int) -> None:
        if index % 4 == 0:
            raise TimeoutError("too late")

    outcome = run(offer(call, rate=100, seconds=0.2))
    assert (len(outcome.latencies), outcome.errors) == (15, ["TimeoutError: too late"] * 5)
    assert not outcome.keeps_up


def test_a_server_that_is_fast_enough_keeps_up() -> None:
    outcome = run(offer(one_at_a_time(0.01), rate=50, seconds=60))
    assert outcome.offered == 3000
    assert outcome.latencies == pytest.approx([0.01] * 3000)
    assert outcome.keeps_up
    assert outcome.rates(5) == pytest.approx([50] * 5, rel=0.01)


def test_the_sweep_ends_where_the_server_is_saturated() -> None:
    outcomes = run(sweep(one_at_a_time(0.01), rising(25, 2), seconds=10, hopeless=60))
    assert [outcome.rate for outcome in outcomes] == [25, 50, 100, 200]
    assert [outcome.keeps_up for outcome in outcomes] == [True, True, True, False]
    assert max(outcome.answered_rate for outcome in outcomes) == pytest.approx(100, rel=0.01)


def test_the_sweep_ends_where_nobody_would_wait() -> None:
    async def call(index: int) -> None:
        await asyncio.sleep(2)

    def rates() -> Iterator[float]:
        yield from (25, 50)

    assert [outcome.rate for outcome in run(sweep(call, rates(), seconds=100, hopeless=1))] == [25]


def test_without_answers_there_is_no_rate() -> None:
    assert Outcome(rate=50, offered=1).answered_rate == 0


def test_the_real_loop_runs_the_same() -> None:
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        outcome = runner.run(offer(one_at_a_time(0), rate=1000, seconds=0.02))
    assert len(outcome.latencies) == outcome.offered == 20
