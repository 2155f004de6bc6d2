"""What REST refuses: the right status, kind, field and limit for each reason, and an answer for the next request."""

import logging
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.server.calls.handler import Handler
from tests.conftest import LONG, FakeModel, background, eventually, service
from tests.server.conftest import Running, server_here, service_of
from tests.server.rest_client import chunks, client, get, post, refused

CLS = 101  # the token that every text of the bundled tokenizer begins with
ENDPOINTS = [("/embed", "texts", ["x"]), ("/v1/embeddings", "input", "x")]


@pytest.fixture
def slow(fake: FakeModel) -> Iterator[EmbeddingService]:
    """A service that computes when the fake model does."""
    with service(max_queued_tokens=10) as made:
        yield made
        fake.release()


@pytest.mark.parametrize(
    ("content", "status", "kind", "field"),
    [
        ("", 400, "malformed", None),
        ("{", 400, "malformed", None),
        ('["texts"]', 400, "malformed", None),
        ("null", 400, "malformed", None),
        ("{}", 422, "invalid", "texts"),
        ('{"texts": null}', 422, "invalid", "texts"),
        ('{"texts": "Hello"}', 422, "invalid", "texts"),
        ('{"texts": ["a", 1]}', 422, "invalid", "texts[1]"),
        ('{"texts": ["a"], "pooling": "max"}', 422, "invalid", "pooling"),
        ('{"texts": ["a"], "normalize": "yes"}', 422, "invalid", "normalize"),
        ('{"texts": ["a"], "normalize": 1}', 422, "invalid", "normalize"),
        ('{"texts": ["a"], "dimensions": 0}', 422, "invalid", "dimensions"),
        ('{"texts": ["a"], "dimensions": "5"}', 422, "invalid", "dimensions"),
        ('{"texts": ["a"], "dimensions": 385}', 422, "invalid", "dimensions"),
        ('{"texts": ["a"], "truncate": "start"}', 422, "invalid", "truncate"),
        ('{"texts": ["a"], "prompt": "poem"}', 422, "invalid", "prompt"),
        ('{"texts": ["a"], "embeddings": [["x"]]}', 422, "invalid", "embeddings[0][0]"),
        ('{"texts": ["a"], "normalise": true}', 422, "invalid", "normalise"),
        (r'{"texts": ["a", "\ud83e\udd8a", "b\ud83e"], "x": "\ud83e"}', 422, "invalid", "texts[2]"),
        (r'{"texts": ["\udd8a\ud83e"]}', 422, "invalid", "texts[0]"),
        (r'{"texts": ["a"], "prompt": "\ud83e"}', 422, "invalid", "prompt"),
        (r'{"texts": ["a"], "\ud83e": "\ud83e"}', 400, "malformed", None),
        (r'{"texts": ["\ud83e"', 400, "malformed", None),
        (r'["\ud83e"]', 400, "malformed", None),
        ('{"texts": ["a"], "model": "gpt"}', 404, "not_found", "model"),
        ('{"texts": ["a"], "model": "/etc"}', 404, "not_found", "model"),
    ],
)
def test_a_body_is_refused_by_what_is_wrong_with_it(
    server: Running, content: str, status: int, kind: str, field: str | None
) -> None:
    refused(post(server, content=content), status, kind, field)


@pytest.mark.parametrize(
    "word", ["the limit is 7", "max_queued_tokens is 7", "; this model gives 7", "texts[7] {prompt}", "prompt_name is"]
)
def test_nothing_is_read_out_of_a_clients_words(server: Running, word: str) -> None:
    told = refused(post(server, json={"texts": ["a"], "prompt": word}), 422, "invalid", "prompt")
    assert "limit" not in told
    assert told["error"] == f"prompt is {word!r}; this model has 'document', 'query'. Or give prompt_text=TEXT."
    told = refused(post(server, json={"texts": ["a"], "model": word}), 404, "not_found", "model")
    assert "limit" not in told


def test_a_refusal_tells_what_would_have_been_right(server: Running) -> None:
    told = refused(post(server, json={"texts": ["a"], "normalise": True}), 422, "invalid", "normalise")
    assert "normalize" in told["error"]
    told = refused(post(server, json={"texts": ["a"], "dimensions": 400}), 422, "invalid", "dimensions")
    assert told["limit"] == 384
    told = refused(post(server, json={"texts": ["a"] * 2049}), 422, "invalid", "texts")
    assert told["limit"] == 2048
    assert "2049 texts; max_texts is 2048" in told["error"]


def test_an_unknown_path_or_method_is_refused_in_the_same_form(server: Running) -> None:
    for path in ("/nothing", "/embed/", "/v1/nothing", "/v2", "/%ff%00%0a"):
        refused(get(server, path), 404, "not_found")
    for path in ("/embed", "/v1/embeddings"):
        response = get(server, path)
        refused(response, 405, "method_not_allowed")
        assert response.headers["allow"] == "POST"
    for path in ("/info", "/v1/models", "/v1/models/x", "/docs"):
        response = post(server, path, json={})
        refused(response, 405, "method_not_allowed")
        assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("size", [1001, 300_000, 8_000_000])
@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings"])
def test_a_body_that_is_too_large_is_refused_declared_or_not(bundled: EmbeddingService, size: int, path: str) -> None:
    with server_here({"m": bundled}, max_body_bytes=1000) as here:
        for content in (b" " * size, chunks(1 + size // 100, 100)):
            response = post(here, path, content=content)
            told = refused(response, 413, "too_large", "max_body_bytes")
            assert "1000" in str(told)
            assert response.headers["connection"] == "close"  # what is left of the body is nobody's request
        assert post(here, content=b'{"texts": ["x"]}'.ljust(1000)).status_code == 200


def test_a_body_that_does_not_come_is_given_up(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, request_seconds=0.2) as here:
        address = urlsplit(here.url)
        with socket.create_connection((str(address.hostname), int(address.port or 0)), LONG) as silent:
            silent.sendall(b"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
            assert silent.recv(20).startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize(("path", "name", "value"), ENDPOINTS)
class TestOverload:
    def test_too_many_requests_at_once(
        self, slow: EmbeddingService, fake: FakeModel, path: str, name: str, value: Any
    ) -> None:
        with server_here({"m": slow}, max_concurrent_requests=1) as here:
            fake.hold()
            first = background(lambda: post(here, path, json={name: value}))
            fake.entered()
            _overloaded(post(here, path, json={name: value}), "max_concurrent_requests", 1)
            assert get(here, "/info").status_code == 200  # what needs no model is answered all the same
            fake.release()
            assert first.result(LONG).status_code == 200
            assert post(here, path, json={name: value}).status_code == 200

    def test_a_queue_that_is_too_old(
        self, slow: EmbeddingService, fake: FakeModel, path: str, name: str, value: Any
    ) -> None:
        with server_here({"m": slow}, max_queue_seconds=0.05) as here:
            fake.hold()
            accepted = [background(lambda: post(here, path, json={name: value}))]
            fake.entered()
            accepted.append(background(lambda: post(here, path, json={name: value})))
            assert eventually(lambda: slow.statistics.waiting_seconds > 0.05)
            _overloaded(post(here, path, json={name: value}), "max_queue_seconds", 0.05)
            fake.release()
            assert [one.result(LONG).status_code for one in accepted] == [200, 200]
            assert post(here, path, json={name: value}).status_code == 200

    def test_too_many_tokens_in_the_queue(
        self, slow: EmbeddingService, fake: FakeModel, path: str, name: str, value: Any
    ) -> None:
        with server_here({"m": slow}) as here:
            fake.hold()
            accepted = [background(lambda: post(here, path, json={name: value}))]
            fake.entered()
            accepted += [background(lambda: post(here, path, json={name: value})) for _ in range(3)]  # 9 tokens
            assert eventually(lambda: slow.statistics.waiting_tokens == 9)
            _overloaded(post(here, path, json={name: value}), "max_queued_tokens", 10)
            fake.release()
            assert [one.result(LONG).status_code for one in accepted] == [200] * 4
            assert post(here, path, json={name: value}).status_code == 200

    def test_a_server_that_ends(
        self, slow: EmbeddingService, fake: FakeModel, path: str, name: str, value: Any
    ) -> None:
        with server_here({"m": slow}) as here:
            assert here.handler
            here.handler.draining = True
            response = post(here, path, json={name: value})
            refused(response, 503, "unavailable")
            assert response.headers["retry-after"] == "1"
            assert not fake.forwards

    def test_the_time_for_a_request_is_over(
        self, slow: EmbeddingService, fake: FakeModel, path: str, name: str, value: Any
    ) -> None:
        with server_here({"m": slow}, request_seconds=0.2) as here:
            fake.hold()
            first = background(lambda: post(here, path, json={name: value}))
            fake.entered()
            refused(post(here, path, json={name: value}), 504, "deadline")  # in the queue
            refused(first.result(LONG), 504, "deadline")  # in the model
            fake.release()
            assert eventually(lambda: post(here, path, json={name: value}).status_code == 200)
            assert not slow.statistics.waiting_tokens
            assert len(fake.rows) == 2  # what waited in vain was never computed


@pytest.mark.parametrize(("path", "name", "value"), ENDPOINTS)
class TestFailure:
    def test_the_model_fails(self, slow: EmbeddingService, fake: FakeModel, path: str, name: str, value: Any) -> None:
        with server_here({"m": slow}) as here:
            fake.faults = {CLS: RuntimeError("a secret")}
            response = post(here, path, json={name: value})
            refused(response, 503, "unavailable")
            assert "secret" not in response.text
            fake.faults = {}
            assert post(here, path, json={name: value}).status_code == 200

    def test_the_model_gives_no_numbers(
        self, slow: EmbeddingService, fake: FakeModel, path: str, name: str, value: Any
    ) -> None:
        with server_here({"m": slow}) as here:
            fake.spoilt = {CLS}
            told = refused(post(here, path, json={name: value}), 500, "internal", f"{name}[0]")
            assert f"NaN or infinity for {name}[0]" in str(told)

    def test_an_error_that_nobody_foresaw_is_in_the_log_and_not_in_the_answer(
        self,
        slow: EmbeddingService,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        path: str,
        name: str,
        value: Any,
    ) -> None:
        with server_here({"m": slow}) as here, caplog.at_level(logging.ERROR, "akidb_embeddings.server"):
            monkeypatch.setattr(service_of(here, "m"), "aencode", _fail)
            response = post(here, path, json={name: value})
            refused(response, 500, "internal")
            assert "secret" not in response.text
            [record] = [record for record in caplog.records if record.getMessage() == "A request failed"]
            assert record.fields == {"request_id": response.headers["x-request-id"]}  # type: ignore[attr-defined]
            assert "ZeroDivisionError: a secret" in caplog.text


@pytest.mark.parametrize("path", ["/info", "/readyz", "/metrics", "/v1/models"])
def test_an_endpoint_that_fails_is_an_error_in_the_same_form(
    slow: EmbeddingService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with server_here({"m": slow}) as here, client(here) as connection:
        monkeypatch.setattr(Handler, "info", _fail)
        monkeypatch.setattr("akidb_embeddings.server.calls.health.Health.readiness_problems", _fail)
        monkeypatch.setattr("akidb_embeddings.server.observability.metrics.generate_latest", _fail)
        monkeypatch.setattr("akidb_embeddings.server.dialects.openai.handler_of", _fail)
        response = connection.get(path)
        refused(response, 500, "internal")
        assert "secret" not in response.text
        assert eventually(lambda: "A request failed" in caplog.text)  # it may be written after the answer
        [record] = [record for record in caplog.records if record.getMessage() == "A request failed"]
        assert record.fields == {"request_id": response.headers["x-request-id"]}  # type: ignore[attr-defined]
        assert connection.get("/livez").status_code == 200


def _fail(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a secret")


def _overloaded(response: Any, field: str, limit: float) -> None:
    told = refused(response, 429, "overloaded", field)
    assert int(response.headers["retry-after"]) >= 1
    assert str(limit) in (told["error"] if "error" in told else told["message"])
    assert told.get("limit", limit) == limit
