"""What operators see of rerankers: how a server starts with them, health, metrics, log, and headers for browsers."""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from akidb_embeddings import EmbeddingConfig, EmbeddingService, RerankConfig, RerankService
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import CheckpointError, ConfigurationError, EmbeddingError, WorkerError
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.calls.health import Health
from akidb_embeddings.server.loading import Settings, open_models
from tests.cli.tools import run
from tests.conftest import FakeModel, eventually
from tests.fixtures import model_path
from tests.server.calls import stub
from tests.server.conftest import RERANKER, Running, handler_of, server_here, server_process
from tests.server.rest_client import get, post
from tests.server.test_health import problems
from tests.server.test_metrics import figures

BODY = {"query": "Zwetschgenknödel", "texts": ["one", "Zwetschgenknödel"]}
ANY = range(1000)  # every token of the tiny tokenizer


@pytest.fixture
def slow(fake: FakeModel) -> Iterator[RerankService]:
    fake.dimension = 1
    with RerankService(str(model_path("tiny-bert-reranker"))) as made:
        yield made
        fake.release()


def opened(**settings: object) -> list[str]:
    """The names of the models that a server with these settings would have, by their kinds."""
    config = ServerConfig(**settings)  # type: ignore[arg-type]
    announced: list[str] = []

    def announce(config: EmbeddingConfig | RerankConfig) -> None:
        announced.append(config.model_name)

    with open_models(Settings(config, EmbeddingConfig(model_name=BUNDLED), RerankConfig()), announce) as models:
        services = models.pool.services()
        assert len(announced) == len(services) == len(models.names)
        return [f"{type(service).__name__} {name}" for name, service in services.items()]


def test_what_is_named_is_served() -> None:
    tiny = str(model_path(RERANKER))
    assert opened() == [f"EmbeddingService {BUNDLED}"]
    assert opened(rerankers=[tiny]) == [f"RerankService {RERANKER}"]
    assert opened(models=[BUNDLED], rerankers=[tiny]) == [f"EmbeddingService {BUNDLED}", f"RerankService {RERANKER}"]


def test_a_model_of_the_other_kind_is_refused() -> None:
    with pytest.raises(EmbeddingError, match="RerankService"):
        opened(models=[str(model_path(RERANKER))])
    with pytest.raises(CheckpointError, match="is no reranker"):
        opened(rerankers=[str(model_path("tiny-bert"))])


def test_a_name_is_of_one_model() -> None:
    with pytest.raises(ConfigurationError, match="rerankers and models have") as caught:
        opened(models=[str(model_path("tiny-bert"))], rerankers=["./somewhere/tiny-bert"])
    assert caught.value.field == "rerankers"


def test_other_settings_are_of_the_section_rerank() -> None:
    rerank = RerankConfig(model_name="none", max_tokens=100, truncate="error", max_queued_tokens=5)
    config = ServerConfig(rerankers=[str(model_path(RERANKER))], max_queued_tokens=77)
    with open_models(Settings(config, EmbeddingConfig(), rerank)) as models:
        service = models.pool.services()[RERANKER]
        assert isinstance(service, RerankService)
        assert (service.max_tokens, service.config.truncate) == (100, "error")
        assert service.config.max_queued_tokens == 77


@pytest.mark.long
def test_flags_variables_and_the_file_name_rerankers(tmp_path: Path) -> None:
    file = tmp_path / "embedding_config.yaml"
    file.write_text("rerank: {max_tokens: 50}\nserver: {rerankers: [nothing]}\n", encoding="utf-8")
    first, second = model_path(RERANKER), model_path("tiny-bert-reranker")
    flags = ("--config", str(file), "--reranker", str(first), "--reranker", str(second))
    with server_process(*flags) as server:
        told = get(server, "/info").json()
    assert told["models"] == []
    assert [(one["name"], one["max_tokens"]) for one in told["rerankers"]] == [
        (RERANKER, 50),
        ("tiny-bert-reranker", 50),
    ]
    environment = {"AKIDB_SERVER_RERANKERS": str(second), "AKIDB_SERVER_MODELS": BUNDLED}
    with server_process("--config", str(file), environment=environment) as server:
        assert "Loaded tiny-bert-reranker in " in server.log
        told = get(server, "/info").json()
    assert [one["name"] for one in (*told["models"], *told["rerankers"])] == [BUNDLED, "tiny-bert-reranker"]


@pytest.mark.long
def test_the_command_line_says_what_is_wrong_with_a_reranker() -> None:
    done = run("serve", "--port", "0", "--reranker", str(model_path("tiny-bert-labels")))
    assert done.returncode == 2
    assert b"--reranker has" in done.stderr
    assert b"3 scores" in done.stderr


def test_an_idle_reranker_computes_a_test_score(slow: RerankService, fake: FakeModel) -> None:
    with server_here({"r": slow}, probe_seconds=60) as here:
        assert problems(here) == []
        assert not fake.forwards
    with server_here({"r": slow}, probe_seconds=0.01) as here:
        assert eventually(lambda: slow.statistics.idle_seconds > 0.02)
        assert problems(here) == []
        assert fake.forwards


async def test_a_reranker_that_fails_is_not_ready_until_it_computes(slow: RerankService, fake: FakeModel) -> None:
    with handler_of({"r": slow}) as handler:
        health = Health(handler)
        fake.faults = dict.fromkeys(ANY, RuntimeError("broken"))
        with pytest.raises(WorkerError):
            slow.score([("a", "b")])
        assert await health.readiness_problems() == ["r: a test score failed"]
        fake.faults = {}
        assert await asyncio.gather(*[health.readiness_problems() for _ in range(5)]) == [[]] * 5


@pytest.mark.long
def test_grpcs_health_knows_rerankers(slow: RerankService, fake: FakeModel) -> None:
    def is_serving() -> bool:
        with grpc.insecure_channel(here.target) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    with server_here({"r": slow}) as here:
        assert is_serving()
        fake.faults = dict.fromkeys(ANY, RuntimeError("broken"))
        assert post(here, "/rerank", json=BODY).status_code == 503
        assert eventually(lambda: not is_serving())
        fake.faults = {}
        assert eventually(is_serving)


def test_requests_texts_and_tokens_are_counted(bundled: EmbeddingService) -> None:
    with (
        RerankService(str(model_path(RERANKER)), max_tokens=20) as made,
        server_here({"m": bundled, "r": made}) as here,
        stub(here.target) as calls,
    ):
        pairs = [("a", "b"), ("a", "c d"), ("a", "word " * 20)]
        texts = [document for _, document in pairs]
        tokens = sum(made.score_details(pairs).token_counts)
        assert post(here, "/rerank", json={"query": "a", "texts": texts}).status_code == 200
        for path in ("/v1/rerank", "/v2/rerank"):
            assert post(here, path, json={"query": "a", "documents": texts}).status_code == 200
        assert post(here, "/rerank", json={"query": "a", "texts": texts, "model": "m"}).status_code == 404
        calls.Rerank(pb.RerankRequest(query="a", texts=texts))
        assert post(here, json={"texts": ["x", "word " * 400]}).status_code == 200
        found = figures(here)
    assert (found["akidb_requests_total", "ok", "tei"], found["akidb_requests_total", "not_found", "tei"]) == (1, 1)
    assert (found["akidb_requests_total", "ok", "cohere"], found["akidb_requests_total", "ok", "grpc"]) == (2, 1)
    assert (found["akidb_texts_total", "r"], found["akidb_tokens_total", "r"]) == (12, 4 * tokens)
    assert (found["akidb_truncated_texts_total", "r"], found["akidb_truncated_texts_total", "m"]) == (4, 1)
    assert found["akidb_model_running", "r"] == found["akidb_model_running", "m"] == 1


def test_a_request_has_a_line_in_the_log_without_its_texts(server: Running) -> None:
    cohere = {"query": BODY["query"], "documents": BODY["texts"]}
    for path, body, status in (
        ("/rerank", BODY, 200),
        ("/v2/rerank", cohere, 200),
        ("/v1/rerank", cohere | {"instruction": "Zwetschgenknödel"}, 422),
    ):
        response = post(server, path, json=body)
        assert response.status_code == status
        identity = json.dumps(response.headers["x-request-id"])
        assert eventually(lambda identity=identity: identity in server.log)  # type: ignore[misc]
        [line] = [json.loads(line) for line in server.lines if identity in line]
        assert (line["method"], line["outcome"]) == (f"POST {path}", str(status))
        if status == 200:
            assert (line["model"], line["texts"]) == (RERANKER, 2)
            assert line["tokens"] > 8
    assert "wetschgenkn" not in server.log.lower()


def test_grpcs_line_has_the_same_fields(reranker: RerankService, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "akidb_embeddings.server"),
        server_here({"r": reranker}) as here,
        stub(here.target) as calls,
    ):
        calls.Rerank(pb.RerankRequest(query="a", texts=["b", "c"], request_id="mine"))
        assert eventually(lambda: any("mine" in str(getattr(one, "fields", "")) for one in caplog.records))
    found = [getattr(one, "fields", {}) for one in caplog.records]
    [fields] = [one for one in found if one.get("request_id") == "mine"]
    assert (fields["method"], fields["outcome"], fields["model"], fields["texts"]) == ("Rerank", "ok", "r", 2)


def test_a_browsers_page_may_read_the_header(reranker: RerankService) -> None:
    with server_here({"r": reranker}, cors_origins=["https://app.example"]) as here:
        headers = {"origin": "https://app.example"}
        response = post(here, "/rerank", json=BODY, headers=headers)
        assert "x-akidb-truncated" in response.headers["access-control-expose-headers"].lower()
