"""The metrics of Prometheus for OpenTelemetry, too, if its API is installed: the same names, labels and values.

Its SDK decides whether anything is exported, and where to; without one, this costs nothing.
"""

import functools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from akidb_embeddings import __version__
from akidb_embeddings.extras import is_installed

Record = Callable[[float, Mapping[str, str]], None]
# By the end of a metric's name. Exporters to Prometheus add a unit's name only where it is not there already.
_UNITS = {"_seconds": "s", "_bytes": "By"}


class _Exported:
    """What is exported: of several servers in a process, the one that was made last.

    Instruments exist once for a process, and outlive the server: they must not keep its models.
    """

    registry: Callable[[], CollectorRegistry | None] = staticmethod(lambda: None)
    observed: ClassVar[set[str]] = set()


def export(registry: CollectorRegistry) -> None:
    """Have OpenTelemetry observe a registry's counters and gauges.

    Histograms cannot be observed, only recorded: ``recorder`` does that.
    """
    if not is_installed("opentelemetry.metrics"):
        return
    _Exported.registry = weakref.ref(registry)
    for family in registry.collect():
        if family.name not in _Exported.observed and family.type in ("counter", "gauge"):
            _Exported.observed.add(family.name)
            create = getattr(_meter(), f"create_observable_{family.type}")
            create(family.name, [functools.partial(_observe, family.name)], _unit(family.name), family.documentation)


@functools.cache
def recorder(name: str, text: str, buckets: Sequence[float]) -> Record:
    """What records the values of a histogram, given their labels.

    Args:
        name: Its name.
        text: Its description.
        buckets: The upper bounds of its buckets, without infinity.
    """
    if not is_installed("opentelemetry.metrics"):
        return _record_nothing
    histogram = _meter().create_histogram(name, _unit(name), text, explicit_bucket_boundaries_advisory=buckets)
    record: Record = histogram.record
    return record


def _record_nothing(value: float, labels: Mapping[str, str]) -> None:
    """Record nothing."""


def _observe(name: str, _: object) -> Iterable[Any]:
    from opentelemetry.metrics import Observation

    registry = _Exported.registry()
    for family in registry.collect() if registry else ():
        if family.name == name:
            yield from (Observation(sample.value, dict(sample.labels)) for sample in _values(family))


def _values(family: Metric) -> Iterable[Any]:
    """The samples that have the metric's values, and not the time at which it was made."""
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return (sample for sample in family.samples if sample.name == name)


def _unit(name: str) -> str:
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")


@functools.cache
def _meter() -> Any:
    from opentelemetry import metrics

    return metrics.get_meter("akidb_embeddings", __version__)
