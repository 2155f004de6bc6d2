"""Health: alive while the process answers; ready if requests would succeed, tried after idleness and failures."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.server.calls.health import Health
from tests.conftest import FakeModel, eventually, service
from tests.server.conftest import Running, handler_of, server_here, service_of
from tests.server.rest_client import get, post

CLS = 101  # the token that every text of the bundled tokenizer begins with


@pytest.fixture
def slow(fake: FakeModel) -> Iterator[EmbeddingService]:
    with service() as made:
        yield made
        fake.release()


def problems(server: Running) -> list[str]:
    """Why the server is not ready, with the status that belongs to it."""
    response = get(server, "/readyz")
    body: dict[str, Any] = response.json()
    ready = response.status_code == 200
    assert (response.status_code, body["status"]) == ((200, "ready") if ready else (503, "not ready"))
    assert ready == (not body["problems"])
    found: list[str] = body["problems"]
    return found


def test_a_server_that_works_is_alive_and_ready(server: Running) -> None:
    assert get(server, "/livez").json() == {"status": "alive", "problems": []}
    assert problems(server) == []


def test_readiness_is_looked_at_while_busy_and_tried_when_idle(slow: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"m": slow}, probe_seconds=60) as here:
        assert problems(here) == []
        assert not fake.forwards
    with server_here({"m": slow}, probe_seconds=0.01) as here:
        assert problems(here) == []
        assert fake.forwards
        before = len(fake.forwards)
        assert eventually(lambda: slow.statistics.idle_seconds > 0.02)
        assert problems(here) == []
        assert len(fake.forwards) > before


async def test_many_who_ask_at_once_cause_one_computation(slow: EmbeddingService, fake: FakeModel) -> None:
    with handler_of({"m": slow}, probe_seconds=0.2) as handler:
        health = Health(handler)
        await asyncio.sleep(0.3)
        assert await asyncio.gather(*[health.readiness_problems() for _ in range(10)]) == [[]] * 10
    assert len(fake.forwards) == 1


async def test_after_a_failure_the_model_is_tried_until_it_computes(slow: EmbeddingService, fake: FakeModel) -> None:
    with handler_of({"m": slow}) as handler:
        health = Health(handler)
        fake.faults = {CLS: RuntimeError("broken")}
        with pytest.raises(WorkerError):
            slow.embed(["x"])
        for forwards in (2, 3):
            assert await health.readiness_problems() == ["m: a test embedding failed"]
            assert len(fake.forwards) == forwards
        fake.faults = {}
        for _ in range(3):  # nothing new fails, so nothing more is tried
            assert await health.readiness_problems() == []
            assert len(fake.forwards) == 4


def test_a_model_that_fails_is_not_ready_until_it_computes_again(slow: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"m": slow}) as here:
        fake.faults = {CLS: RuntimeError("broken")}
        assert post(here, json={"texts": ["x"]}).status_code == 503
        for _ in range(2):
            assert problems(here) == ["m: a test embedding failed"]
        assert get(here, "/livez").status_code == 200
        fake.faults = {}
        assert problems(here) == []
        assert post(here, json={"texts": ["x"]}).status_code == 200


def test_a_model_whose_thread_died_for_good_is_not_ready(slow: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"m": slow}) as here:
        fake.faults = {CLS: SystemExit("dead")}
        assert eventually(lambda: post(here, json={"texts": ["x"]}).status_code == 503 and not slow.alive)
        assert problems(here) == ["m: its thread has died permanently"]
        assert get(here, "/livez").json() == {"status": "not alive", "problems": ["m: its thread has died permanently"]}
        assert post(here, json={"texts": ["x"]}).status_code == 503


def test_a_model_whose_thread_was_restarted_is_ready_again(slow: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"m": slow}) as here:
        fake.faults = {CLS: SystemExit("dead")}
        assert post(here, json={"texts": ["x"]}).status_code == 503
        fake.faults = {}
        assert eventually(lambda: problems(here) == [])
        assert post(here, json={"texts": ["x"]}).status_code == 200
        assert slow.statistics.restarts == 1


def test_a_server_that_ends_is_alive_and_not_ready(slow: EmbeddingService) -> None:
    with server_here({"m": slow}) as here:
        assert here.handler
        here.handler.draining = True
        assert problems(here) == ["the server is shutting down"]
        assert get(here, "/livez").status_code == 200


def test_one_model_of_several_is_enough_to_be_not_ready(
    slow: EmbeddingService, fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow.with_options() as other, server_here({"bad": other, "good": slow}, probe_seconds=0.001) as here:
        monkeypatch.setattr(service_of(here, "bad"), "aencode", _fail)
        assert eventually(lambda: slow.statistics.idle_seconds > 0.001)
        assert problems(here) == ["bad: a test embedding failed"]


async def _fail(*_: object, **__: object) -> None:
    raise WorkerError("broken")
