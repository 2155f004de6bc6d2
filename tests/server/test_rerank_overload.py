"""Scores that are refused, over REST and gRPC, where the server has too much to do or the model fails."""

import logging
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from akidb_embeddings import RerankService
from akidb_embeddings.server import embedding_pb2 as pb
from tests.conftest import LONG, FakeModel, background, eventually
from tests.fixtures import model_path
from tests.server.calls import stub
from tests.server.conftest import server_here, service_of
from tests.server.rest_client import get, post, refused
from tests.server.test_rerank_refusals import CODE, ENDPOINTS, TEI, status_of

PAIR = 5  # tokens of the pair ("x", "x")


@pytest.fixture
def slow(fake: FakeModel) -> Iterator[RerankService]:
    """A reranker that computes when the fake model does."""
    fake.dimension = 1
    with RerankService(str(model_path("tiny-bert-reranker")), max_queued_tokens=18) as made:
        yield made
        fake.release()


@pytest.mark.parametrize(("path", "body"), ENDPOINTS)
class TestOverload:
    def test_too_many_requests_at_once(
        self, slow: RerankService, fake: FakeModel, path: str, body: dict[str, Any]
    ) -> None:
        with server_here({"m": slow}, max_concurrent_requests=1) as here:
            fake.hold()
            first = background(lambda: post(here, path, json=body))
            fake.entered()
            _overloaded(post(here, path, json=body), "max_concurrent_requests", 1)
            assert get(here, "/info").status_code == 200
            fake.release()
            assert first.result(LONG).status_code == 200
            assert post(here, path, json=body).status_code == 200

    def test_a_queue_that_is_too_old(
        self, slow: RerankService, fake: FakeModel, path: str, body: dict[str, Any]
    ) -> None:
        with server_here({"m": slow}, max_queue_seconds=0.05) as here:
            fake.hold()
            accepted = [background(lambda: post(here, path, json=body))]
            fake.entered()
            accepted.append(background(lambda: post(here, path, json=body)))
            assert eventually(lambda: slow.statistics.waiting_seconds > 0.05)
            _overloaded(post(here, path, json=body), "max_queue_seconds", 0.05)
            fake.release()
            assert [one.result(LONG).status_code for one in accepted] == [200, 200]

    def test_too_many_tokens_in_the_queue(
        self, slow: RerankService, fake: FakeModel, path: str, body: dict[str, Any]
    ) -> None:
        with server_here({"m": slow}) as here:
            fake.hold()
            accepted = [background(lambda: post(here, path, json=body))]
            fake.entered()
            accepted += [background(lambda: post(here, path, json=body)) for _ in range(3)]
            assert eventually(lambda: slow.statistics.waiting_tokens == 3 * PAIR)
            _overloaded(post(here, path, json=body), "max_queued_tokens", 18)
            fake.release()
            assert [one.result(LONG).status_code for one in accepted] == [200] * 4

    def test_a_server_that_ends(self, slow: RerankService, fake: FakeModel, path: str, body: dict[str, Any]) -> None:
        with server_here({"m": slow}) as here:
            assert here.handler
            here.handler.draining = True
            refused(post(here, path, json=body), 503, "unavailable")
            assert not fake.forwards

    def test_the_time_for_a_request_is_over(
        self, slow: RerankService, fake: FakeModel, path: str, body: dict[str, Any]
    ) -> None:
        with server_here({"m": slow}, request_seconds=0.2) as here:
            fake.hold()
            first = background(lambda: post(here, path, json=body))
            fake.entered()
            refused(post(here, path, json=body), 504, "deadline")
            refused(first.result(LONG), 504, "deadline")
            fake.release()
            assert eventually(lambda: post(here, path, json=body).status_code == 200)
            assert len(fake.rows) == 2  # what waited in vain was never computed


@pytest.mark.parametrize(("path", "body"), ENDPOINTS)
class TestFailure:
    def test_the_model_fails(self, slow: RerankService, fake: FakeModel, path: str, body: dict[str, Any]) -> None:
        with server_here({"m": slow}) as here:
            fake.faults = dict.fromkeys(range(1000), RuntimeError("a secret"))
            response = post(here, path, json=body)
            refused(response, 503, "unavailable")
            assert "secret" not in response.text
            fake.faults = {}
            assert post(here, path, json=body).status_code == 200

    def test_the_model_gives_no_numbers(
        self, slow: RerankService, fake: FakeModel, path: str, body: dict[str, Any]
    ) -> None:
        name = "texts" if path == "/rerank" else "documents"
        with server_here({"m": slow}) as here:
            fake.spoilt = set(range(1000))
            told = refused(post(here, path, json=body), 500, "internal", f"{name}[0]")
            assert f"NaN or infinity for {name}[0]" in str(told)

    def test_an_error_that_nobody_foresaw_is_in_the_log_and_not_in_the_answer(
        self,
        slow: RerankService,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        path: str,
        body: dict[str, Any],
    ) -> None:
        with server_here({"m": slow}) as here, caplog.at_level(logging.ERROR, "akidb_embeddings.server"):
            monkeypatch.setattr(service_of(here, "m"), "ascore_details", _fail)
            response = post(here, path, json=body)
            refused(response, 500, "internal")
            assert "secret" not in response.text
            assert "ZeroDivisionError: a secret" in caplog.text


def test_grpc_is_refused_likewise(slow: RerankService, fake: FakeModel) -> None:
    request = pb.RerankRequest(query="x", texts=["x"], request_id="mine")
    with server_here({"m": slow}, max_concurrent_requests=1) as here, stub(here.target) as calls:
        fake.hold()
        first = calls.Rerank.future(request, timeout=LONG)
        fake.entered()
        assert status_of(calls.Rerank.future(request, timeout=LONG)) is CODE.RESOURCE_EXHAUSTED
        fake.release()
        assert len(first.result(LONG).scores) == 1
        fake.hold()
        assert status_of(calls.Rerank.future(request, timeout=0.2)) is CODE.DEADLINE_EXCEEDED
        fake.release()
        assert eventually(lambda: here.handler is not None and not here.handler.in_flight)
        fake.faults = dict.fromkeys(range(1000), RuntimeError("a secret"))
        assert status_of(calls.Rerank.future(request, timeout=LONG)) is CODE.UNAVAILABLE
        fake.faults = {}
        fake.spoilt = set(range(1000))
        call = calls.Rerank.future(request, timeout=LONG)
        assert status_of(call) is CODE.INTERNAL
        assert "texts[0]" in call.details()


def test_the_pairs_of_a_client_that_leaves_leave_the_queue(slow: RerankService, fake: FakeModel) -> None:
    with server_here({"m": slow}) as here:
        fake.hold()
        first = background(lambda: post(here, "/rerank", json=TEI))
        fake.entered()
        address = urlsplit(here.url)
        body = b'{"query": "x", "texts": ["leaves", "leaves too"]}'
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as leaving:
            leaving.sendall(b"POST /rerank HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert eventually(lambda: slow.statistics.waiting_tokens)
        assert eventually(lambda: here.handler is not None and here.handler.in_flight == 1)
        figures = get(here, "/metrics").text
        assert 'akidb_requests_total{outcome="cancelled",protocol="tei"} 1.0' in figures
        fake.release()
        assert first.result(LONG).status_code == 200
        assert eventually(lambda: not slow.statistics.waiting_tokens)
        assert len(fake.rows) == 1


def _fail(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a secret")


def _overloaded(response: Any, field: str, limit: float) -> None:
    told = refused(response, 429, "overloaded", field)
    assert int(response.headers["retry-after"]) >= 1
    assert told["limit"] == limit
