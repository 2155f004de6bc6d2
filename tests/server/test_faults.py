"""Models that fail, die, hang or give NaN while clients are connected: who is told what, and when it is over.

The forward pass is the real one, of a tiny model with random weights, but for a magic word.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from akidb_embeddings import EmbeddingService, engine_table
from akidb_embeddings.engine import Model
from akidb_embeddings.model import MLXEmbeddingModel
from akidb_embeddings.planner import MicroBatch
from akidb_embeddings.server import desk as desk_module
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server import health, rest
from akidb_embeddings.server.desk import Desk, Question
from akidb_embeddings.server.health import Health
from akidb_embeddings.server.metrics import Metrics
from akidb_embeddings.server.settings import ServerConfig
from akidb_embeddings.vectors import Vectors
from tests.conftest import LONG, at_once, background, eventually
from tests.random_models import BERT, random_model
from tests.server.calls import Client, Reply, get, metric, post, stub
from tests.server.conftest import Running, server_here

MAGIC = "football"
TEXTS = ["light", "the computer", "names of plants", "sugar and memory", "evening", "good words first"]


class Faults:
    """What befalls forward passes over the magic word, or all of them: ``error`` is raised, ``spoils`` gives NaN.

    While ``gate`` is closed a forward pass stays inside; while ``loading`` is, a model that is loaded anew.
    """

    def __init__(self) -> None:
        self.magic = -1
        self.error: BaseException | None = None
        self.everywhere = self.spoils = False
        self.gate, self.loading = threading.Event(), threading.Event()
        self.gate.set()
        self.loading.set()

    def wrap(self, forward: Callable[[MLXEmbeddingModel, Sequence[MicroBatch]], list[Vectors]]) -> object:
        def faulty(model: MLXEmbeddingModel, batches: Sequence[MicroBatch]) -> list[Vectors]:
            assert self.gate.wait(LONG)
            rows = [(batch.ids == self.magic).any(axis=1) for batch in batches]
            if self.error and (self.everywhere or any(hit.any() for hit in rows)):
                raise self.error
            outputs = forward(model, batches)
            for hit, vectors in zip(rows, outputs, strict=True):
                if self.spoils:
                    vectors[hit] = np.nan
            return outputs

        return faulty

    def wrap_load(self, load: Callable[..., Model]) -> object:
        def slow(*arguments: object) -> Model:
            assert self.loading.wait(LONG)
            return load(*arguments)

        return slow


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    found = Faults()
    monkeypatch.setattr(MLXEmbeddingModel, "forward", found.wrap(MLXEmbeddingModel.forward))
    monkeypatch.setattr(engine_table, "_load", found.wrap_load(engine_table._load))
    yield found
    found.gate.set()
    found.loading.set()


@pytest.fixture
def service(faults: Faults, tmp_path: Path) -> Iterator[EmbeddingService]:
    with EmbeddingService(str(random_model(tmp_path / "tiny", BERT))) as tiny:
        [ids] = tiny._resources.tokenizer.encode([MAGIC]).ids
        assert len(ids) == 3  # itself and two special tokens
        faults.magic = int(ids[1])
        yield tiny


@pytest.fixture
def server(service: EmbeddingService) -> Iterator[Running]:
    with server_here({"tiny": service}, drain_seconds=2) as running:
        yield running


def ready(server: Running) -> tuple[int, str]:
    """The status of ``/readyz`` and the problem that it names."""
    reply = get(server.url, "/readyz")
    assert reply.body["status"] == ("ready" if reply.status == 200 else "not ready")
    return reply.status, " ".join(reply.body["problems"])


def is_serving(server: Running) -> bool:
    """What gRPC's standard health service says."""
    with grpc.insecure_channel(server.target) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=LONG)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def grpc_code(server: Running, *texts: str) -> grpc.StatusCode:
    """The status of a call that is refused."""
    with stub(server.target) as calls, pytest.raises(grpc.RpcError) as caught:
        calls.Embed(pb.EmbedRequest(texts=texts), timeout=LONG)
    code: grpc.StatusCode = caught.value.code()
    return code


def check_answer(reply: Reply, service: EmbeddingService, *texts: str) -> None:
    assert reply.status == 200, reply.body
    np.testing.assert_allclose(reply.body["embeddings"], service.embed(texts), rtol=0, atol=1e-5)


def unavailable(reply: Reply) -> bool:
    return (reply.status, reply.body["type"]) == (503, "unavailable")


def test_a_forward_pass_that_fails_fails_only_its_own_requests(
    server: Running, service: EmbeddingService, faults: Faults
) -> None:
    faults.error = ValueError("boom")
    faults.gate.clear()
    first = background(lambda: post(server.url, ["first"]))
    assert eventually(lambda: service.statistics.rounds == 1)
    bad = background(lambda: post(server.url, [MAGIC, "light"], pooling="cls"))  # another pooling, another pass
    good = [background(partial(post, server.url, [text])) for text in TEXTS]
    assert server.desk
    desk = server.desk
    assert eventually(lambda: desk.in_flight == 2 + len(TEXTS))
    faults.gate.set()
    assert unavailable(bad.result(LONG))
    assert "boom" not in str(bad.result().body)
    for future, text in zip([first, *good], ["first", *TEXTS], strict=True):
        check_answer(future.result(LONG), service, text)
    assert grpc_code(server, MAGIC) is grpc.StatusCode.UNAVAILABLE
    assert ready(server) == (200, "")  # a trial showed that the model works


def test_readiness_is_red_while_forward_passes_fail(server: Running, faults: Faults) -> None:
    assert ready(server) == (200, "")
    assert eventually(lambda: is_serving(server))
    faults.error, faults.everywhere = RuntimeError("no memory"), True
    assert unavailable(post(server.url, TEXTS))
    for _ in range(3):
        assert ready(server) == (503, "tiny: a trial computation failed")
    assert eventually(lambda: not is_serving(server))
    assert get(server.url, "/livez").status == 200
    faults.error = None
    assert ready(server) == (200, "")
    assert eventually(lambda: is_serving(server))
    assert post(server.url, TEXTS).status == 200
    assert metric(server.url, "akidb_forward_failures_total") >= 4


def test_a_thread_that_dies_loses_only_what_it_had_and_comes_back(
    server: Running, service: EmbeddingService, faults: Faults
) -> None:
    faults.error = SystemExit(3)
    faults.gate.clear()
    lost = background(lambda: post(server.url, [MAGIC]))
    assert eventually(lambda: service.statistics.rounds == 1)
    waiting = [background(partial(post, server.url, [text])) for text in TEXTS]
    assert server.desk
    desk = server.desk
    assert eventually(lambda: desk.in_flight == 1 + len(TEXTS))
    faults.loading.clear()  # so that the time without a thread can be looked at
    faults.gate.set()
    assert unavailable(lost.result(LONG))
    assert ready(server) == (503, "tiny: its thread died and is restarted")
    assert metric(server.url, "akidb_model_running") == 0
    assert eventually(lambda: not is_serving(server))
    late = background(lambda: post(server.url, ["evening"]))
    assert eventually(lambda: desk.in_flight == 1 + len(TEXTS))
    faults.loading.set()
    for future, text in zip([*waiting, late], [*TEXTS, "evening"], strict=True):
        check_answer(future.result(LONG), service, text)
    assert ready(server) == (200, "")
    assert eventually(lambda: is_serving(server))
    assert metric(server.url, "akidb_worker_restarts_total") == 1
    assert metric(server.url, "akidb_model_running") == 1


def test_readiness_asks_for_a_proof_after_a_restart(server: Running, faults: Faults) -> None:
    """A thread that runs again need not work again."""
    faults.error = SystemExit(3)
    assert unavailable(post(server.url, [MAGIC]))
    assert eventually(lambda: metric(server.url, "akidb_model_running") == 1)
    faults.error, faults.everywhere = RuntimeError("still broken"), True
    assert ready(server) == (503, "tiny: a trial computation failed")
    faults.error = None
    assert ready(server) == (200, "")


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
        assert ready(server) == (503, "tiny: its thread died for good")
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


def test_a_model_that_hangs_turns_readiness_red(
    service: EmbeddingService, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither dead nor failing: its thread is there, and texts wait for it in vain."""
    monkeypatch.setattr(health, "_PROBE_SECONDS", 0.3)
    service.embed(["light"])
    with server_here({"tiny": service}, probe_seconds=0.1, drain_seconds=2) as server:
        faults.gate.clear()
        stuck = [background(partial(post, server.url, [text])) for text in TEXTS]
        assert eventually(lambda: ready(server)[0] == 503, 10)
        assert [status for status, _ in at_once(lambda _: ready(server), 8)] == [503] * 8
        assert ready(server) == (503, "tiny: a trial computation was not done after 0.3 s")
        faults.gate.set()
        assert eventually(lambda: ready(server) == (200, ""))
        assert [future.result(LONG).status for future in stuck] == [200] * len(TEXTS)


async def test_a_full_queue_is_no_reason_to_be_red(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless nothing leaves it."""
    monkeypatch.setattr(health, "_PROBE_SECONDS", 1.0)
    folder = random_model(tmp_path / "tiny", BERT)
    with EmbeddingService(str(folder), max_queued_tokens=10) as tiny:
        desk = Desk(ServerConfig(probe_seconds=0.001), {"tiny": tiny}, Metrics({"tiny": tiny}))
        faults.gate.clear()
        stuck = [asyncio.ensure_future(desk.answer(Question(["light"]), "rest"))]
        while tiny.statistics.rounds == 0:
            await asyncio.sleep(0.001)
        stuck.append(asyncio.ensure_future(desk.answer(Question(["the light " * 4]), "rest")))
        while tiny.statistics.waiting_tokens == 0:
            await asyncio.sleep(0.001)
        ready = Health(desk)
        assert await ready.problems() == []
        await asyncio.sleep(1)
        [problem] = await ready.problems()
        assert problem.startswith("tiny: texts wait for ")
        faults.gate.set()
        await asyncio.gather(*stuck)
        assert await ready.problems() == []


def is_told(caplog: pytest.LogCaptureFixture, identity: str) -> bool:
    """Whether the log has the secret under a request's id."""
    records = [record for record in caplog.records if identity in str(getattr(record, "facts", ""))]
    return any("a secret" in caplog.handler.format(record) for record in records)


def test_errors_that_nobody_foresaw_tell_nothing(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(desk_module, "_encode", fail)
        within = post(server.url, ["light"])
        assert grpc_code(server, "light") is grpc.StatusCode.INTERNAL
    monkeypatch.setattr(rest, "json_response", fail)
    after = post(server.url, ["light"])
    for reply in (within, after):
        assert (reply.status, reply.body["type"]) == (500, "internal")
        assert "secret" not in str(reply.body)
        assert eventually(partial(is_told, caplog, reply.body["request_id"]), 5)
