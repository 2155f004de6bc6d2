"""Spans of real requests, each test in a process of its own: who records spans is settled once for a process."""

import json
import re
from typing import Any

import pytest

from tests.conftest import run_python

SPANS = """
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""
SERVE = """
import json, urllib.request
import grpc
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.observability import telemetry
from akidb_embeddings.server.embedding_pb2_grpc import EmbeddingServiceStub
from akidb_embeddings import RerankService
from tests.conftest import service
from tests.fixtures import model_path
from tests.server.conftest import server_here

PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"

def rest(running, path, body=None):
    request = urllib.request.Request(running.url + path, body, {"traceparent": PARENT})
    with urllib.request.urlopen(request) as answer:
        return answer.read()

reranker = RerankService(str(model_path("tiny-bert-reranker")))
with service() as one, reranker, server_here({"minilm-l6-v2": one, "reranker": reranker}) as running:
    rest(running, "/embed", json.dumps({"texts": ["a secret"]}).encode())
    rest(running, "/rerank", json.dumps({"query": "a secret", "texts": ["a secret"]}).encode())
    rest(running, "/readyz")
    with grpc.insecure_channel(running.target) as channel:
        client = EmbeddingServiceStub(channel)
        client.Embed(pb.EmbedRequest(texts=["a secret"]), metadata=[("traceparent", PARENT)])
        client.Rerank(pb.RerankRequest(query="a secret", texts=["a secret"]))
        [answer] = client.EmbedStream(iter([pb.EmbedRequest(texts=["a secret"])]))
        assert answer.response.dimension == 384
        try:
            client.Embed(pb.EmbedRequest(pooling="max"))
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert dict(error.trailing_metadata())["x-request-id"]
        after(channel)
"""
HEALTH = """
def after(channel):
    health = health_pb2_grpc.HealthStub(channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == 1
    assert next(health.Watch(health_pb2.HealthCheckRequest(), timeout=10)).status == 1
"""
TELL = """
for span in exporter.get_finished_spans():
    print(json.dumps({
        "name": span.name, "kind": span.kind.name, "parent": span.parent and f"{span.parent.span_id:x}",
        "status": span.status.status_code.name, "attributes": str(dict(span.attributes)),
    }))
"""
KEEP = """
import logging
kept = []

class Keep(logging.Handler):
    def emit(self, record):
        kept.append(record.fields)

access = logging.getLogger("akidb_embeddings.server.access")
access.addHandler(Keep())
access.setLevel(logging.INFO)
"""
TELL_KEPT = """
print(json.dumps(kept))
"""
HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.instrumentation"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
def after(channel):
    assert telemetry.interceptors("any") == []
    telemetry.trace(after)
    print(sorted(name for name in sys.modules if name.startswith("opentelemetry.instrumentation")))
"""


@pytest.mark.long
def test_a_request_is_a_span_and_health_checks_are_none() -> None:
    spans: list[dict[str, Any]] = [json.loads(line) for line in run_python(SPANS + HEALTH + SERVE + TELL).splitlines()]
    calls = "/akidb.embedding.v1.EmbeddingService"
    found = [(span["name"], span["kind"], span["parent"], span["status"]) for span in spans]
    # Each is within the client's own span where it told of one.
    assert sorted(found, key=str) == sorted(
        [
            ("POST /embed", "SERVER", "b" * 16, "UNSET"),
            ("POST /rerank", "SERVER", "b" * 16, "UNSET"),
            (f"{calls}/Rerank", "SERVER", None, "UNSET"),
            (f"{calls}/Embed", "SERVER", "b" * 16, "UNSET"),
            (f"{calls}/EmbedStream", "SERVER", None, "UNSET"),
            (f"{calls}/Embed", "SERVER", None, "UNSET"),
        ],
        key=str,
    )
    assert "secret" not in str(spans)


@pytest.mark.long
def test_the_log_has_the_id_of_the_trace() -> None:
    kept: list[dict[str, Any]] = json.loads(run_python(SPANS + KEEP + HEALTH + SERVE + TELL_KEPT))
    found = [(entry["method"], entry["trace_id"]) for entry in kept]
    of_client = [method for method, identity in found if identity == "a" * 32]
    assert of_client == ["POST /embed", "POST /rerank", "Embed"]
    others = {identity for method, identity in found} - {"a" * 32}
    assert len(others) == 3  # the calls over gRPC whose client told of no trace
    assert all(re.fullmatch("[0-9a-f]{32}", identity) for identity in others)


@pytest.mark.long
def test_without_its_packages_nothing_is_traced() -> None:
    """Its API alone comes with newer FastAPIs, and is not ours to hide."""
    assert run_python(HIDE + SERVE) == "[]\n"
