import math
import statistics

import numpy as np
import pytest

from bench.summary import distribution, percentile, summarize

SAMPLES = [5.0, 1.0, 9.0, 2.0, 2.0, 40.0, 3.5]


@pytest.mark.parametrize("percent", [0, 1, 25, 50, 90, 95, 99, 100])
def test_percentiles_are_numpys(percent: float) -> None:
    assert percentile(SAMPLES, percent) == pytest.approx(float(np.percentile(SAMPLES, percent)))
    assert percentile([7.0], percent) == 7


def test_no_samples() -> None:
    assert math.isnan(percentile([], 50))
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_a_summary_has_median_tails_and_spread() -> None:
    found = summarize(SAMPLES)
    assert (found.count, found.low, found.p50, found.high) == (7, 1, 3.5, 40)
    assert found.mean == pytest.approx(statistics.mean(SAMPLES))
    assert found.deviation == pytest.approx(statistics.stdev(SAMPLES))
    assert found.p50 <= found.p95 <= found.p99 <= found.p999 <= found.high
    assert summarize([3.0]).deviation == 0


def test_a_distribution_rises_from_the_lowest_to_the_highest() -> None:
    values, shares = distribution(SAMPLES)
    assert (values[0], values[-1], shares[0], shares[-1]) == (1, 40, 0, 100)
    assert values == sorted(values)
