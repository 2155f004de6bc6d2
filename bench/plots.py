"""The report's plots, as SVG to put into a page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Curve

LATENCIES, AGAINST_RATE, AGAINST_BATCH, OVER_TIME = (
    "latency distribution",
    "latency against rate",
    "throughput against batch size",
    "footprint over time",
)


@dataclass(frozen=True)
class _Axes:
    x: str
    y: str
    logarithmic: str = ""
    marked: bool = True


_AXES: Mapping[str, _Axes] = {
    LATENCIES: _Axes("latency, ms", "share of queries, %", "x", marked=False),
    AGAINST_RATE: _Axes("queries offered a second", "latency from the scheduled arrival, ms", "xy"),
    AGAINST_BATCH: _Axes("texts in a call", "texts a second", "x"),
    OVER_TIME: _Axes("seconds", "footprint, MB", marked=False),
}


def draw_plots(curves: Sequence[Curve]) -> list[str]:
    """An ``<svg>`` for each plot that has curves."""
    return [
        _draw(plot, axes, [curve for curve in curves if curve.plot == plot])
        for plot, axes in _AXES.items()
        if any(curve.plot == plot for curve in curves)
    ]


def _draw(title: str, axes: _Axes, curves: Sequence[Curve]) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    # Text stays text, small and searchable. The salt keeps names apart between plots that share a page.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "font.family": "sans-serif"}):
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        plane = figure.add_subplot()
        for curve in curves:
            plane.plot(curve.x, curve.y, label=curve.label, marker="o" if axes.marked else "", markersize=3)
        plane.set(title=title, xlabel=axes.x, ylabel=axes.y)
        plane.set_ylim(bottom=None if "y" in axes.logarithmic else 0)
        for name in axes.logarithmic:
            plane.set(**{f"{name}scale": "log"})
            axis = getattr(plane, f"{name}axis")
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        plane.grid(visible=True, alpha=0.3)
        plane.legend(fontsize=7)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    # Without the XML declaration and the document type, which have no place inside a page.
    return file.getvalue()[file.getvalue().index("<svg") :]
