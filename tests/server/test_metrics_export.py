"""OpenTelemetry's metrics are Prometheus's: each test in a process of its own, where the SDK's provider is set once."""

import json
from typing import Any

import pytest

from akidb_embeddings import ModelPool
from akidb_embeddings.server.observability import metrics_export
from akidb_embeddings.server.observability.metrics import Metrics
from tests.conftest import run_python

PROVIDE = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))

def exported():
    data = reader.get_metrics_data()
    return [metric for of in (data.resource_metrics if data else []) for scope in of.scope_metrics
            if scope.scope.name == "akidb_embeddings" for metric in scope.metrics]
"""
SERVE = """
import gc, json, time, urllib.request, weakref
from prometheus_client.parser import text_string_to_metric_families
from akidb_embeddings import RerankService
from tests.conftest import service
from tests.fixtures import model_path
from tests.server.conftest import server_here

def ask(running, path, body=None):
    with urllib.request.urlopen(urllib.request.Request(running.url + path, body)) as answer:
        return answer.read().decode()

def scraped(running):
    return [[family.name, family.type, sample.name, sample.labels, sample.value]
            for family in text_string_to_metric_families(ask(running, "/metrics")) for sample in family.samples]

def use(running):
    ask(running, "/embed", json.dumps({"texts": ["one", "two"]}).encode())
    ask(running, "/rerank", json.dumps({"query": "one", "texts": ["two"]}).encode())
    try:
        ask(running, "/embed", b'{"texts": []}')
        ask(running, "/nothing")
    except urllib.error.HTTPError:
        pass
    time.sleep(0.2)  # a response is counted after it was sent

def served():
    return server_here({"minilm-l6-v2": one, "reranker": reranker})

reranker = RerankService(str(model_path("tiny-bert-reranker")))
one = service()
"""
TELL = """
with served() as running:
    use(running)
    points = []
    for metric in exported():
        for point in metric.data.data_points:
            value = getattr(point, "value", None)
            if value is None:
                value = [point.count, point.sum, list(point.bucket_counts), list(point.explicit_bounds)]
            monotonic = getattr(metric.data, "is_monotonic", None)
            points.append([metric.name, metric.unit, monotonic, dict(point.attributes), value])
    print(json.dumps({"scraped": scraped(running), "exported": points}))  # in this order: a scrape counts itself
"""
# What goes on by itself.
MOVING = {"akidb_idle_seconds", "akidb_memory_bytes"}


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_python(PROVIDE + SERVE + TELL).splitlines()[-1])
    return found


def key(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def test_every_counter_and_gauge_has_the_value_that_is_scraped(told: dict[str, Any]) -> None:
    expected = {
        (family, key(labels)): value
        for family, kind, name, labels, value in told["scraped"]
        if kind in ("counter", "gauge") and not name.endswith("_created")
    }
    found = {
        (name, key(labels)): value for name, _, _, labels, value in told["exported"] if not isinstance(value, list)
    }
    assert len(expected) > 20
    assert set(found) == set(expected)
    for one, value in expected.items():
        if one[0] in MOVING:
            assert found[one] == pytest.approx(value, rel=0.5, abs=5)
        else:
            assert found[one] == value, one


def test_every_histogram_has_the_counts_that_are_scraped(told: dict[str, Any]) -> None:
    names = {family for family, kind, *_ in told["scraped"] if kind == "histogram"}
    found = {(name, key(labels)): value for name, _, _, labels, value in told["exported"] if isinstance(value, list)}
    assert {name for name, _ in found} == names == {"akidb_request_seconds"}
    for (family, labels), (count, total, buckets, bounds) in found.items():
        own = [row for row in told["scraped"] if row[0] == family and key(row[3]).__contains__(labels[0])]
        cumulative = {row[3]["le"]: row[4] for row in own if row[2].endswith("_bucket")}
        assert [float(bound) for bound in cumulative] == [*bounds, float("inf")]
        assert list(cumulative.values()) == [sum(buckets[: n + 1]) for n in range(len(buckets))]
        assert [row[4] for row in own if row[2].endswith("_count")] == [count]
        assert [row[4] for row in own if row[2].endswith("_sum")] == [pytest.approx(total)]


def test_kinds_and_units_fit_the_names(told: dict[str, Any]) -> None:
    kinds = {family: kind for family, kind, *_ in told["scraped"]}
    for name, unit, is_monotonic, _, _ in told["exported"]:
        assert is_monotonic is (True if kinds[name] == "counter" else None)
        assert unit == {"seconds": "s", "bytes": "By"}.get(name.rpartition("_")[2], "")


@pytest.mark.long
def test_a_server_that_is_gone_is_neither_exported_nor_kept() -> None:
    code = """
with served() as running:
    use(running)
    kept = weakref.ref(running.handler.metrics)
    assert exported()
del running
gc.collect()
assert kept() is None
assert not [metric for metric in exported() if metric.name != "akidb_request_seconds"]
with served() as running:  # another in the same process: no instrument is made twice
    use(running)
    [metric] = [metric for metric in exported() if metric.name == "akidb_texts"]
    assert sum(point.value for point in metric.data.data_points) == 3
"""
    run_python(PROVIDE + SERVE + code)


def test_without_opentelemetry_the_metrics_are_prometheus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer FastAPIs bring its API, so that it cannot be hidden from a whole server."""

    def fail() -> None:
        raise AssertionError("an instrument is made")

    monkeypatch.setattr(metrics_export, "is_installed", lambda _: False)
    monkeypatch.setattr(metrics_export, "_meter", fail)
    metrics_export.recorder.cache_clear()
    try:
        with ModelPool({}) as pool:
            metrics = Metrics(pool)
            metrics.count_request("rest", "ok", 0.5)
            shown = metrics.render().decode()
    finally:
        metrics_export.recorder.cache_clear()
    assert 'akidb_request_seconds_sum{protocol="rest"} 0.5' in shown
