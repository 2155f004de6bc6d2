"""Faults of a model in a server of this process, and what the tests ask it.

The forward pass is the real one, of a tiny model with random weights, but for a magic word.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from akidb_embeddings import EmbeddingService
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.pipeline import Model
from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.vectors.finish import Vectors
from tests.conftest import LONG
from tests.random_models import BERT, random_model
from tests.server.calls import Reply, get, stub
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

    def wrap(self, start: Callable[[MLXModel, Sequence[MicroBatch]], Callable[[], list[Vectors]]]) -> object:
        def faulty(model: MLXModel, batches: Sequence[MicroBatch]) -> Callable[[], list[Vectors]]:
            assert self.gate.wait(LONG)
            rows = [(batch.ids == self.magic).any(axis=1) for batch in batches]
            if self.error and (self.everywhere or any(hit.any() for hit in rows)):
                raise self.error
            finish = start(model, batches)

            def spoil() -> list[Vectors]:
                outputs = finish()
                for hit, vectors in zip(rows, outputs, strict=True):
                    if self.spoils:
                        vectors[hit] = np.nan
                return outputs

            return spoil

        return faulty

    def wrap_load(self, load: Callable[..., Model]) -> object:
        def slow(*arguments: object) -> Model:
            assert self.loading.wait(LONG)
            return load(*arguments)

        return slow


@pytest.fixture(name="faults")
def arranged_faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    found = Faults()
    monkeypatch.setattr(MLXModel, "start", found.wrap(MLXModel.start))
    monkeypatch.setattr(engine_table, "_load", found.wrap_load(engine_table._load))
    yield found
    found.gate.set()
    found.loading.set()


@pytest.fixture(name="service")
def tiny_service(faults: Faults, tmp_path: Path) -> Iterator[EmbeddingService]:
    with EmbeddingService(str(random_model(tmp_path / "tiny", BERT))) as tiny:
        [ids] = tiny._resources.tokenizer.encode([MAGIC]).ids
        assert len(ids) == 3  # itself and two special tokens
        faults.magic = int(ids[1])
        yield tiny


@pytest.fixture(name="server")
def tiny_server(service: EmbeddingService) -> Iterator[Running]:
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
