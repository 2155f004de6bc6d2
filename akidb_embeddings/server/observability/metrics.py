"""Metrics for Prometheus: requests by outcome, the queue, the MLX thread's work, the process."""

from collections.abc import Iterable, Mapping, Sequence

import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from akidb_embeddings.pool.pool import ModelPool
from akidb_embeddings.server.observability.metrics_export import export, recorder

_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics of one server."""

    def __init__(self, pool: ModelPool) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engines(pool))
        self._registry.register(_Residence(pool))
        self._requests = Counter(
            "akidb_requests", "Requests by protocol and outcome", ["protocol", "outcome"], registry=self._registry
        )
        self._http = Counter(
            "akidb_http_responses", "HTTP responses of all paths by status", ["status"], registry=self._registry
        )
        name, text = "akidb_request_seconds", "Seconds from a request's arrival to its response"
        self._seconds = Histogram(name, text, ["protocol"], buckets=_BUCKETS, registry=self._registry)
        self._record_seconds = recorder(name, text, _BUCKETS)
        self._texts = Counter("akidb_texts", "Texts of successful requests", ["model"], registry=self._registry)
        self._truncated = Counter(
            "akidb_truncated_texts", "Texts of which only a part was read", ["model"], registry=self._registry
        )
        self._tokens = Counter("akidb_tokens", "Tokens of successful requests", ["model"], registry=self._registry)
        export(self._registry)

    def count_http_response(self, status: int) -> None:
        """Count an HTTP response; the status is 499 if the client disconnected before it."""
        self._http.labels(str(status)).inc()

    def count_request(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count a request; ``outcome`` is "ok", "cancelled" or the kind of error."""
        self._requests.labels(protocol, outcome).inc()
        self._seconds.labels(protocol).observe(seconds)
        self._record_seconds(seconds, {"protocol": protocol})

    def count_texts(self, model: str, token_counts: Sequence[int], truncated: Sequence[bool]) -> None:
        """Count the texts of a successful request, or its pairs with a query: all, the truncated ones, and tokens."""
        self._texts.labels(model).inc(len(token_counts))
        self._tokens.labels(model).inc(sum(token_counts))
        self._truncated.labels(model).inc(sum(truncated))

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _Engines(Collector):
    """The statistics of the MLX threads of the loaded models, read at each scrape."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        """The metrics of all models, and of the process."""
        gauges = {
            "akidb_model_running": ("1 while the model's thread accepts work", "running"),
            "akidb_queue_tokens": ("Tokens in the queue", "waiting_tokens"),
            "akidb_queue_age_seconds": ("Seconds that the oldest request has waited", "waiting_seconds"),
            "akidb_idle_seconds": ("Seconds since the last successful forward pass", "idle_seconds"),
        }
        counters = {
            "akidb_rounds": ("Rounds of micro-batches", "rounds"),
            "akidb_computed_texts": ("Texts that went through the model", "texts"),
            "akidb_computed_tokens": ("Tokens that went through the model, without padding", "tokens"),
            "akidb_compute_seconds": ("Seconds in forward passes", "compute_seconds"),
            "akidb_forward_failures": ("Forward passes that failed", "failures"),
            "akidb_worker_restarts": ("Restarts of the model's thread after its death", "restarts"),
        }
        found = {name: service.statistics for name, service in self._pool.services().items()}
        for kind, families in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters)):
            for name, (text, field) in families.items():
                yield _family(kind, name, text, {model: getattr(one, field) for model, one in found.items()})
        yield GaugeMetricFamily(
            "akidb_memory_bytes", "Resident memory of the process", psutil.Process().memory_info().rss
        )


class _Residence(Collector):
    """Which models are loaded, read at each scrape."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        """The metrics of all models."""
        states = self._pool.states()
        loaded = {name: state.state == "loaded" for name, state in states.items()}
        sizes = {name: state.memory_bytes or 0 if loaded[name] else 0 for name, state in states.items()}
        loads = {name: state.loads for name, state in states.items()}
        yield _family(GaugeMetricFamily, "akidb_model_loaded", "1 while the model is loaded", loaded)
        yield _family(GaugeMetricFamily, "akidb_model_memory_bytes", "What the loaded model takes", sizes)
        yield _family(CounterMetricFamily, "akidb_model_loads", "How often the model was loaded", loads)


def _family(
    kind: type[GaugeMetricFamily | CounterMetricFamily], name: str, text: str, values: Mapping[str, float]
) -> Metric:
    family = kind(name, text, labels=["model"])
    for model, value in values.items():
        family.add_metric([model], float(value))
    return family
