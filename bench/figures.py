"""What the suite has measured: figures with their spread, curves for the plots, remarks; collected by a recorder."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.summary import Summary, distribution, summarize


@dataclass(frozen=True)
class Figure:
    """One row of the report. ``summary`` is None for what is absent or was not measured; ``note`` then says why."""

    group: str
    name: str
    unit: str
    summary: Summary | None
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """One line of the plot called ``plot``: points ``(x[i], y[i])``."""

    plot: str
    label: str
    x: list[float]
    y: list[float]


@dataclass
class Recorder:
    """Where the tests put what they find, in the order in which they find it."""

    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def figure(self, group: str, name: str, unit: str, samples: Sequence[float], note: str = "") -> Summary:
        """Add a figure from its samples, one at least."""
        summary = summarize(samples)
        self.figures.append(Figure(group, name, unit, summary, note))
        return summary

    def absent(self, group: str, name: str, note: str) -> None:
        """Add a row for what could not be measured, and why."""
        self.figures.append(Figure(group, name, "", None, note))

    def point(self, plot: str, label: str, x: float, y: float) -> None:
        """Add a point to a curve, which begins with its first point."""
        for curve in self.curves:
            if (curve.plot, curve.label) == (plot, label):
                curve.x.append(x)
                curve.y.append(y)
                return
        self.curves.append(Curve(plot, label, [x], [y]))

    def distribution(self, plot: str, label: str, samples: Sequence[float]) -> None:
        """Add the curve of how the samples are distributed."""
        self.curves.append(Curve(plot, label, *distribution(samples)))


def find(figures: Sequence[Figure], group: str, name: str) -> Summary | None:
    """The summary of a figure; None where it was not measured."""
    return next((figure.summary for figure in figures if (figure.group, figure.name) == (group, name)), None)
