"""What Prometheus reads: requests by outcome, queue and work of the models, the process."""

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from akidb_embeddings import EmbeddingService
from akidb_embeddings.registry import BUNDLED
from tests.conftest import LONG, FakeModel, background, eventually, service
from tests.server.conftest import Running, server_here
from tests.server.rest_client import get, post

Figures = dict[tuple[str, ...], float]


def figures(server: Running) -> Figures:
    """Every sample by its name and its labels' values."""
    response = get(server, "/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


@pytest.fixture
def slow(fake: FakeModel) -> Iterator[EmbeddingService]:
    with service() as made:
        yield made
        fake.release()


def test_requests_are_counted_by_protocol_outcome_and_status(slow: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"m": slow}, max_texts=3) as here:
        for texts in (["one"], ["two", "three"]):
            assert post(here, json={"texts": texts}).status_code == 200
        assert post(here, "/v1/embeddings", json={"input": "four"}).status_code == 200
        assert post(here, json={"texts": ["x"] * 4}).status_code == 422
        assert post(here, json={"texts": ["x"], "model": "other"}).status_code == 404
        assert post(here, content=b"{").status_code == 400
        assert post(here, "/nothing").status_code == 404
        fake.faults = {101: RuntimeError("broken")}
        assert post(here, json={"texts": ["five"]}).status_code == 503
        found = figures(here)
    assert found["akidb_requests_total", "ok", "rest"] == 2
    assert found["akidb_requests_total", "ok", "openai"] == 1
    assert found["akidb_requests_total", "invalid", "rest"] == 1
    assert found["akidb_requests_total", "not_found", "rest"] == 1
    assert found["akidb_requests_total", "unavailable", "rest"] == 1
    assert found["akidb_request_seconds_count", "rest"] == 5
    assert found["akidb_request_seconds_sum", "rest"] > 0
    assert {key[1]: value for key, value in found.items() if key[0] == "akidb_http_responses_total"} == {
        "200": 3,
        "400": 1,
        "404": 2,
        "422": 1,
        "503": 1,
    }
    assert found["akidb_texts_total", "m"] == 4
    assert found["akidb_tokens_total", "m"] == 12
    assert found["akidb_computed_texts_total", "m"] == 4
    assert found["akidb_computed_tokens_total", "m"] == 12
    assert found["akidb_rounds_total", "m"] >= 4  # gRPC's health may have tried the model after its failure
    assert found["akidb_forward_failures_total", "m"] >= 1
    assert found["akidb_worker_restarts_total", "m"] == 0
    assert found["akidb_model_running", "m"] == 1


def test_the_queue_is_seen_while_it_waits(slow: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"m": slow}) as here:
        empty = figures(here)
        assert (empty["akidb_queue_tokens", "m"], empty["akidb_queue_age_seconds", "m"]) == (0, 0)
        fake.hold()
        accepted = [background(lambda: post(here, json={"texts": ["x"]}))]
        fake.entered()
        accepted.append(background(lambda: post(here, json={"texts": ["x", "y"]})))
        assert eventually(lambda: figures(here)["akidb_queue_tokens", "m"] == 6)
        first, second = figures(here), figures(here)
        assert 0 < first["akidb_queue_age_seconds", "m"] < second["akidb_queue_age_seconds", "m"]
        assert first["akidb_idle_seconds", "m"] < second["akidb_idle_seconds", "m"]
        fake.release()
        assert [one.result(LONG).status_code for one in accepted] == [200, 200]
        after = figures(here)
        assert after["akidb_queue_tokens", "m"] == 0
        assert after["akidb_idle_seconds", "m"] < second["akidb_idle_seconds", "m"]


def test_each_model_has_its_own_figures(slow: EmbeddingService) -> None:
    with service(dimensions=8, untrained_dimensions=True) as small, server_here({"a": slow, "b/c": small}) as here:
        post(here, json={"texts": ["x"], "model": "b/c"})
        found = figures(here)
        assert found["akidb_texts_total", "b/c"] == 1
        assert ("akidb_texts_total", "a") not in found
        assert found["akidb_model_running", "a"] == found["akidb_model_running", "b/c"] == 1


def test_the_process_is_measured(server: Running) -> None:
    post(server, json={"texts": ["x"]})
    found = figures(server)
    assert 2e7 < found["akidb_memory_bytes",] < 1e10
    assert found["akidb_compute_seconds_total", BUNDLED] > 0
