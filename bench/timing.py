"""Timing a function on many arguments with pytest-benchmark, so that its own table and JSON have the figures too."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

Argument = TypeVar("Argument")


def timed(
    benchmark: BenchmarkFixture,
    function: Callable[[Argument], object],
    arguments: Sequence[Argument],
    group: str,
    before: Callable[[], object] = lambda: None,
) -> list[float]:
    """Seconds of ``function`` on each of the arguments, in their order; ``before`` each, something that is not timed.

    Skips the test where timing is disabled.
    """
    benchmark.group = group
    pedantic: Callable[..., object] = benchmark.pedantic
    remaining = iter(arguments)

    def setup() -> tuple[tuple[Argument], dict[str, object]]:
        before()
        return (next(remaining),), {}

    pedantic(function, setup=setup, rounds=len(arguments))
    if benchmark.stats is None:
        pytest.skip("timing is disabled (--benchmark-disable)")
    return [float(seconds) for seconds in benchmark.stats.stats.data]
