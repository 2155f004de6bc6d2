"""The log: a line a request, JSON or plain, with ids that clients may give, and never a text."""

import gzip
import json
import re
from typing import Any

import grpc
import pytest

from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.embedding_pb2_grpc import EmbeddingServiceStub
from tests.conftest import eventually, run_python
from tests.server.conftest import Running, server_process
from tests.server.rest_client import get, post


def entries(server: Running, identity: str) -> list[dict[str, Any]]:
    """The log's entries about one request; it may come after the answer."""
    assert eventually(lambda: json.dumps(identity) in server.log)  # "0" alone is in every line
    return [entry for entry in map(json.loads, server.lines) if entry.get("request_id") == identity]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/embed", {"texts": ["one", "two"]}, 200),
        ("/v1/embeddings", {"input": ["one", "two"]}, 200),
        ("/embed", {"texts": "one"}, 422),
        ("/v1/embeddings", {"input": [1]}, 400),
        ("/nothing", {}, 404),
    ],
)
def test_each_request_has_a_line_of_json(server: Running, path: str, body: dict[str, Any], status: int) -> None:
    response = post(server, path, json=body)
    assert response.status_code == status
    [entry] = entries(server, response.headers["x-request-id"])
    assert (entry["level"], entry["message"], entry["protocol"]) == ("info", "request", "http")
    assert (entry["method"], entry["outcome"]) == (f"POST {path}", str(status))
    assert 0 < entry["ms"] < 30_000
    assert entry["time"].endswith("+00:00")
    assert (entry["client"], entry["http_version"]) == ("127.0.0.1", "1.1")
    assert entry["user_agent"].startswith("python-httpx/")
    assert (entry["bytes_in"], entry["bytes_out"]) == (len(response.request.content), len(response.content))
    if status == 200:
        assert (entry["texts"], entry["tokens"], entry["truncated"]) == (2, 6, 0)
        assert entry["model"]
        assert entry["api"] == ("openai" if "v1" in path else "rest")
        assert 0 < entry["compute_ms"] < entry["ms"]
        assert 0 <= entry["queue_ms"] < entry["ms"]


def test_cut_texts_and_what_a_body_had_on_its_way_are_counted(server: Running) -> None:
    packed = gzip.compress(json.dumps({"texts": ["word " * 400, "one"]}).encode())
    response = post(server, content=packed, headers={"content-encoding": "gzip"})
    [entry] = entries(server, response.headers["x-request-id"])
    assert (entry["truncated"], entry["bytes_in"]) == (1, len(packed))


def test_pairs_and_calls_over_grpc_have_the_same_fields(server: Running) -> None:
    response = post(server, "/rerank", json={"query": "one", "texts": ["two", "three"], "raw_scores": True})
    with grpc.insecure_channel(server.target) as channel:
        client = EmbeddingServiceStub(channel)
        message = pb.EmbedRequest(texts=["one", "two"], request_id="over-grpc")
        answer = client.Embed(message)
        [streamed] = client.EmbedStream(iter([pb.EmbedRequest(texts=["one"], request_id="in-a-stream")]))
        client.Rerank(pb.RerankRequest(query="one", texts=["two"], request_id="pairs"))
    assert streamed.response.request_id == "in-a-stream"
    identities = (response.headers["x-request-id"], "over-grpc", "in-a-stream", "pairs")
    found = [entries(server, identity)[0] for identity in identities]
    assert [entry["api"] for entry in found] == ["tei", "grpc", "grpc", "grpc"]
    assert [entry["texts"] for entry in found] == [2, 2, 1, 1]
    for entry in found:
        assert entry["client"] in ("127.0.0.1", "::1")
        assert {"model", "tokens", "truncated", "queue_ms", "compute_ms", "user_agent"} <= set(entry)
    assert (found[1]["bytes_in"], found[1]["bytes_out"]) == (message.ByteSize(), answer.ByteSize())
    assert found[1]["user_agent"].startswith("grpc-python/")


def test_health_checks_are_logged_when_they_fail_alone(server: Running) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert get(server, path).status_code == 200
    refused = post(server, "/readyz", json={})
    assert refused.status_code == 405
    assert entries(server, refused.headers["x-request-id"])
    assert not re.search(r"(GET|HEAD) /(livez|readyz|metrics)", server.log)


def test_an_agent_cannot_forge_or_flood_the_log(server: Running) -> None:
    response = get(server, "/info", headers={"user-agent": ('"}\u00fc\t ' + "x" * 5000).encode("latin-1")})
    [entry] = entries(server, response.headers["x-request-id"])
    assert entry["user_agent"].startswith('"}\u00fc\t xx')
    assert len(entry["user_agent"]) == 200
    without = get(server, "/info", headers={"user-agent": ""})
    [entry] = entries(server, without.headers["x-request-id"])
    assert entry["user_agent"] == ""


FORWARDED = {"x-forwarded-for": "203.0.113.7, 198.51.100.9", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("flags", "client"),
    [
        pytest.param([], "127.0.0.1", marks=pytest.mark.long),  # anybody can send this header
        pytest.param(["--trusted-proxy", "10.0.0.0/8"], "127.0.0.1", marks=pytest.mark.long),
        (["--trusted-proxy", "127.0.0.1"], "198.51.100.9"),  # the one that the proxy has seen, not what that one said
        pytest.param(
            ["--trusted-proxy", "127.0.0.0/8", "--trusted-proxy", "198.51.100.9"],
            "203.0.113.7",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_client_behind_a_proxy_is_named_if_the_proxy_is_trusted(flags: list[str], client: str) -> None:
    with server_process("--model", BUNDLED, "--log-format", "json", *flags) as running:
        response = get(running, "/info", headers=FORWARDED)
        [entry] = entries(running, response.headers["x-request-id"])
        assert entry["client"] == client


@pytest.mark.long
def test_requests_are_not_logged_where_that_is_switched_off() -> None:
    with server_process("--model", BUNDLED, "--no-access-log") as running:
        assert post(running, json={"texts": ["one"]}).status_code == 200
        assert get(running, "/nothing").status_code == 404
        with grpc.insecure_channel(running.target) as channel:
            EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(texts=["one"]))
    assert "Shut down" in running.log
    assert "request" not in running.log.replace("requests are in flight", "")


@pytest.mark.long
def test_a_plain_line_has_what_a_person_looks_for() -> None:
    with server_process("--model", BUNDLED) as running:
        response = post(running, json={"texts": ["one", "two"]})
        identity = response.headers["x-request-id"]
        assert eventually(lambda: identity in running.log)
        [line] = [line for line in running.lines if identity in line]
    pattern = (
        r"\S+ info request protocol=http method=POST /embed outcome=200 ms=[\d.]+ client=127\.0\.0\.1 "
        rf"request_id={identity} api=rest model={BUNDLED} texts=2 tokens=6 truncated=0"
    )
    assert re.fullmatch(pattern, line), line


def test_a_clients_id_is_taken_over_if_it_is_fit_for_a_log(server: Running) -> None:
    for given in ("abc-123", "0", "A.b_c:d-" * 8):
        assert get(server, "/info", headers={"x-request-id": given}).headers["x-request-id"] == given
        assert entries(server, given)
    for given in ("", "a b", 'a"b', "a\tb", "ü", "x" * 65, "a/../b"):
        taken = get(server, "/info", headers={"x-request-id": given.encode()}).headers["x-request-id"]
        assert taken != given
        assert len(taken) == 16
        assert entries(server, taken)
    refused = post(server, content=b"{", headers={"x-request-id": "mine"})
    assert refused.json()["request_id"] == "mine"


def test_texts_are_never_in_the_log(server: Running) -> None:
    word = "Zwetschgenknödel"
    plain = "zwetschgenkn"
    bodies: list[Any] = [
        {"texts": [word]},
        {"texts": [word * 400]},
        {"texts": [word * 400], "truncate": "error"},
        {"texts": [word, 1]},
        {"texts": {word: word}},
        {word: [word]},
        {"texts": [word], "embeddings": [[1.0]]},
        {"texts": [word], "prompt": word},
        {"texts": [word], "pooling": word},
        {"texts": [word], "model": word},
        word,
    ]
    for body in bodies:
        post(server, json=body)
        response = post(server, content=json.dumps(body, ensure_ascii=False)[:-1].encode())
        post(server, "/v1/embeddings", json={"input": word, "user": word})
    assert entries(server, response.headers["x-request-id"])
    assert plain not in server.log.lower()


def test_the_plain_log_is_one_line_a_record_with_exceptions_below() -> None:
    code = """
import sys
sys.stderr = sys.stdout
from akidb_embeddings.server.observability import logs
logs.configure("plain")
logs.log_request("http", "GET /a\\nb", "200", 0.0125, request_id="abc", texts=3)
logs.LOG.info("On %s", "port 1")
try:
    1 / 0
except ZeroDivisionError:
    logs.LOG.exception("A request failed", extra={"fields": {"request_id": "abc"}})
logs.configure("json")
try:
    1 / 0
except ZeroDivisionError:
    logs.LOG.exception("A request failed", extra={"fields": {"request_id": "abc"}})
"""
    request, note, failure, *trace, last = run_python(code).splitlines()
    assert request.endswith(r" info request protocol=http method=GET /a\nb outcome=200 ms=12.5 request_id=abc texts=3")
    assert note.endswith(" info On port 1")
    assert failure.endswith(" error A request failed request_id=abc")
    assert trace[-1] == "ZeroDivisionError: division by zero"
    entry = json.loads(last)
    assert (entry["level"], entry["message"], entry["request_id"]) == ("error", "A request failed", "abc")
    assert "ZeroDivisionError" in entry["exception"]
