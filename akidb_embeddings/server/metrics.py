"""What Prometheus charts: requests by outcome, the queue, the MLX thread's work, the process."""

from collections.abc import Iterable, Mapping

import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from akidb_embeddings.service.service import EmbeddingService

_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """One server's figures."""

    def __init__(self, services: Mapping[str, EmbeddingService]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engines(services))
        self._requests = Counter(
            "akidb_requests", "Requests by protocol and outcome", ["protocol", "outcome"], registry=self._registry
        )
        self._http = Counter(
            "akidb_http_responses", "Answers over HTTP by status, of every path", ["status"], registry=self._registry
        )
        self._seconds = Histogram(
            "akidb_request_seconds",
            "Seconds from a request's arrival to its answer",
            ["protocol"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._texts = Counter("akidb_texts", "Texts answered", ["model"], registry=self._registry)
        self._tokens = Counter("akidb_tokens", "Tokens answered", ["model"], registry=self._registry)

    def http(self, status: int) -> None:
        """Count an answer over HTTP; 499: the client left before."""
        self._http.labels(str(status)).inc()

    def request(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count a request; ``outcome`` is "ok", "cancelled" or the kind of its refusal."""
        self._requests.labels(protocol, outcome).inc()
        self._seconds.labels(protocol).observe(seconds)

    def texts(self, model: str, texts: int, tokens: int) -> None:
        """Count what was answered."""
        self._texts.labels(model).inc(texts)
        self._tokens.labels(model).inc(tokens)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


class _Engines(Collector):
    """The MLX threads' own counts, looked at when somebody asks."""

    def __init__(self, services: Mapping[str, EmbeddingService]) -> None:
        self._services = services

    def collect(self) -> Iterable[Metric]:
        """Every model's figures, and the process's."""
        gauges = {
            "akidb_model_running": ("1 while the model's thread takes work", "running"),
            "akidb_queue_tokens": ("Tokens that wait", "waiting_tokens"),
            "akidb_queue_age_seconds": ("How long the oldest request waits", "waiting_seconds"),
            "akidb_idle_seconds": ("Since the last forward pass that succeeded", "idle_seconds"),
        }
        counters = {
            "akidb_rounds": ("Rounds of micro-batches", "rounds"),
            "akidb_computed_texts": ("Texts that went through the model", "texts"),
            "akidb_computed_tokens": ("Tokens that went through the model, without padding", "tokens"),
            "akidb_compute_seconds": ("Seconds in forward passes", "compute_seconds"),
            "akidb_forward_failures": ("Forward passes that failed", "failures"),
            "akidb_worker_restarts": ("Restarts of the model's thread after its death", "restarts"),
        }
        found = {name: service.statistics for name, service in self._services.items()}
        for name, (text, field) in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            for model, statistics in found.items():
                gauge.add_metric([model], float(getattr(statistics, field)))
            yield gauge
        for name, (text, field) in counters.items():
            counter = CounterMetricFamily(name, text, labels=["model"])
            for model, statistics in found.items():
                counter.add_metric([model], float(getattr(statistics, field)))
            yield counter
        yield GaugeMetricFamily(
            "akidb_memory_bytes", "Resident memory of the process", psutil.Process().memory_info().rss
        )
