"""The log: a line a request, JSON or plain, with ids that clients may give, and never a text."""

import json
from typing import Any

import pytest

from tests.conftest import eventually, run_python
from tests.server.conftest import Running
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
    if status == 200:
        assert (entry["texts"], entry["tokens"]) == (2, 6)
        assert entry["model"]


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
from akidb_embeddings.server import logs
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
