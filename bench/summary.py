"""Samples in a few numbers: median, tails and spread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """What a figure and its spread are made of; ``deviation`` is the sample's standard deviation, 0 for one sample."""

    count: int
    mean: float
    deviation: float
    low: float
    p50: float
    p95: float
    p99: float
    p999: float
    high: float


def percentile(samples: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of the samples lie, between two samples in proportion. NaN without samples."""
    if not samples:
        return math.nan
    ordered = sorted(samples)
    place = percent / 100 * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def summarize(samples: Sequence[float]) -> Summary:
    """The samples' summary. ValueError without any: a figure that was not measured is no figure."""
    if not samples:
        raise ValueError("no samples to summarize")
    mean = math.fsum(samples) / len(samples)
    squares = math.fsum((sample - mean) ** 2 for sample in samples)
    return Summary(
        count=len(samples),
        mean=mean,
        deviation=math.sqrt(squares / (len(samples) - 1)) if len(samples) > 1 else 0.0,
        low=min(samples),
        p50=percentile(samples, 50),
        p95=percentile(samples, 95),
        p99=percentile(samples, 99),
        p999=percentile(samples, 99.9),
        high=max(samples),
    )


def distribution(samples: Sequence[float]) -> tuple[list[float], list[float]]:
    """The share of samples (percent) at or below each value, at so few points that a plot stays small."""
    steps = [0, 1, 2, 5, *range(10, 95, 5), 95, 96, 97, 98, 99, 99.5, 99.9, 100]
    return [percentile(samples, step) for step in steps], [float(step) for step in steps]
