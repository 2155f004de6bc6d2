"""Models that fail, die or give NaN while clients are connected: who is told what, and who does not notice."""

import time
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.server.calls import embed_call
from akidb_embeddings.server.dialects import rest
from tests.conftest import LONG, at_once, background, eventually
from tests.random_models import BERT, random_model
from tests.server.calls import Client, get, metric, post
from tests.server.conftest import Running, server_here
from tests.server.faults import MAGIC, TEXTS, Faults, check_answer, grpc_code, is_serving, ready, unavailable
from tests.server.faults import arranged_faults as arranged_faults
from tests.server.faults import tiny_server as tiny_server
from tests.server.faults import tiny_service as tiny_service


def test_a_forward_pass_that_fails_fails_only_its_own_requests(
    server: Running, service: EmbeddingService, faults: Faults
) -> None:
    faults.error = ValueError("boom")
    faults.gate.clear()
    first = background(lambda: post(server.url, ["first"]))
    assert eventually(lambda: service.statistics.rounds == 1)
    bad = background(lambda: post(server.url, [MAGIC, "light"], pooling="cls"))  # another pooling, another pass
    good = [background(partial(post, server.url, [text])) for text in TEXTS]
    assert server.handler
    handler = server.handler
    assert eventually(lambda: handler.in_flight == 2 + len(TEXTS))
    faults.gate.set()
    assert unavailable(bad.result(LONG))
    assert "boom" not in str(bad.result().body)
    for future, text in zip([first, *good], ["first", *TEXTS], strict=True):
        check_answer(future.result(LONG), service, text)
    assert grpc_code(server, MAGIC) is grpc.StatusCode.UNAVAILABLE
    assert ready(server) == (200, "")  # a trial showed that the model works


@pytest.mark.long
def test_a_thread_that_dies_loses_only_what_it_had_and_comes_back(
    server: Running, service: EmbeddingService, faults: Faults
) -> None:
    faults.error = SystemExit(3)
    faults.gate.clear()
    lost = background(lambda: post(server.url, [MAGIC]))
    assert eventually(lambda: service.statistics.rounds == 1)
    waiting = [background(partial(post, server.url, [text])) for text in TEXTS]
    assert server.handler
    handler = server.handler
    assert eventually(lambda: handler.in_flight == 1 + len(TEXTS))
    faults.loading.clear()  # so that the time without a thread can be looked at
    faults.gate.set()
    assert unavailable(lost.result(LONG))
    assert ready(server) == (503, "tiny: its thread has died and is being restarted")
    assert metric(server.url, "akidb_model_running") == 0
    assert eventually(lambda: not is_serving(server))
    late = background(lambda: post(server.url, ["evening"]))
    assert eventually(lambda: handler.in_flight == 1 + len(TEXTS))
    faults.loading.set()
    for future, text in zip([*waiting, late], [*TEXTS, "evening"], strict=True):
        check_answer(future.result(LONG), service, text)
    assert ready(server) == (200, "")
    assert eventually(lambda: is_serving(server))
    assert metric(server.url, "akidb_worker_restarts_total") == 1
    assert metric(server.url, "akidb_model_running") == 1


@pytest.mark.long
def test_a_model_that_keeps_dying_is_given_up_and_its_neighbour_is_not(
    service: EmbeddingService, faults: Faults, tmp_path: Path
) -> None:
    folder = random_model(tmp_path / "other", BERT | {"hidden_size": 32}, seed=6)
    with EmbeddingService(str(folder)) as neighbour, server_here({"tiny": service, "other": neighbour}) as server:
        faults.error = SystemExit("worn out")
        while service.alive:  # three deaths without an answer in between; a trial of its health may be one
            assert unavailable(post(server.url, [MAGIC]))
        begin = time.monotonic()
        assert unavailable(post(server.url, ["light"]))
        assert grpc_code(server, "light") is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - begin < 5
        assert ready(server) == (503, "tiny: its thread has died permanently")
        assert get(server.url, "/livez").status == 503  # a new process is the only cure
        assert eventually(lambda: not is_serving(server))
        assert metric(server.url, "akidb_worker_restarts_total") >= 2
        faults.error = None
        assert unavailable(post(server.url, ["light"]))
        check_answer(post(server.url, ["light"], model="other"), neighbour, "light")


def test_nan_is_an_error_that_names_the_text(server: Running, service: EmbeddingService, faults: Faults) -> None:
    faults.spoils = True
    reply = post(server.url, ["light", "sugar", MAGIC])
    assert (reply.status, reply.body["type"], reply.body["field"]) == (500, "internal", "texts[2]")
    assert "NaN or infinity for texts[2]" in reply.body["error"]
    given = [[0.5] * service.dimension, None]
    reply = post(server.url, ["light", MAGIC], embeddings=given)  # the model saw one text, the client sent two
    assert (reply.status, reply.body["field"]) == (500, "texts[1]")
    with Client(server.url) as client:
        reply = client.post("/v1/embeddings", {"input": [MAGIC]})
    assert (reply.status, reply.body["error"]["type"]) == (500, "server_error")
    assert grpc_code(server, "light", MAGIC) is grpc.StatusCode.INTERNAL
    check_answer(post(server.url, ["light", "sugar"]), service, "light", "sugar")
    assert metric(server.url, "akidb_worker_restarts_total") == 0


@pytest.mark.long
def test_clients_of_a_model_that_fails_now_and_then_get_right_vectors_or_503(
    server: Running, service: EmbeddingService, faults: Faults
) -> None:
    expected = service.embed(TEXTS)
    faults.error = ValueError("boom")
    end = time.monotonic() + 2

    def client(number: int) -> dict[int, int]:
        statuses: dict[int, int] = {}
        with Client(server.url) as connection:
            while time.monotonic() < end:
                text = MAGIC if number == 0 else TEXTS[number % len(TEXTS)]
                reply = connection.post("/embed", {"texts": [text]})
                statuses[reply.status] = statuses.get(reply.status, 0) + 1
                assert reply.status == 200 or unavailable(reply)
                if reply.status == 200:
                    assert text != MAGIC
                    np.testing.assert_allclose(
                        reply.body["embeddings"][0], expected[number % len(TEXTS)], rtol=0, atol=1e-5
                    )
        return statuses

    counts = at_once(client, 12)
    assert set(counts[0]) == {503}
    assert all(one.get(200, 0) > 5 for one in counts[1:]), counts
    assert ready(server) == (200, "")


def is_told(caplog: pytest.LogCaptureFixture, identity: str) -> bool:
    """Whether the log has the secret under a request's id."""
    records = [record for record in caplog.records if identity in str(getattr(record, "fields", ""))]
    return any("a secret" in caplog.handler.format(record) for record in records)


def test_errors_that_nobody_foresaw_tell_nothing(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(embed_call, "compute", fail)
        within = post(server.url, ["light"])
        assert grpc_code(server, "light") is grpc.StatusCode.INTERNAL
    monkeypatch.setattr(rest, "vectors_response", fail)
    after = post(server.url, ["light"])
    for reply in (within, after):
        assert (reply.status, reply.body["type"]) == (500, "internal")
        assert "secret" not in str(reply.body)
        assert eventually(partial(is_told, caplog, reply.body["request_id"]), 5)
