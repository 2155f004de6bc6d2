"""Readiness while a model fails or hangs: red for as long as requests would fail, and no longer."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.server.calls import health
from akidb_embeddings.server.calls.embed_call import EmbedCall
from akidb_embeddings.server.calls.health import Health
from tests.conftest import LONG, at_once, background, eventually
from tests.random_models import BERT, random_model
from tests.server.calls import get, metric, post
from tests.server.conftest import Running, handler_of, server_here
from tests.server.faults import MAGIC, TEXTS, Faults, is_serving, ready, unavailable
from tests.server.faults import arranged_faults as arranged_faults
from tests.server.faults import tiny_server as tiny_server
from tests.server.faults import tiny_service as tiny_service


@pytest.mark.long
def test_readiness_is_red_while_forward_passes_fail(server: Running, faults: Faults) -> None:
    assert ready(server) == (200, "")
    assert eventually(lambda: is_serving(server))
    faults.error, faults.everywhere = RuntimeError("no memory"), True
    assert unavailable(post(server.url, TEXTS))
    for _ in range(3):
        assert ready(server) == (503, "tiny: a test embedding failed")
    assert eventually(lambda: not is_serving(server))
    assert get(server.url, "/livez").status == 200
    faults.error = None
    assert ready(server) == (200, "")
    assert eventually(lambda: is_serving(server))
    assert post(server.url, TEXTS).status == 200
    assert metric(server.url, "akidb_forward_failures_total") >= 4


def test_readiness_asks_for_a_proof_after_a_restart(server: Running, faults: Faults) -> None:
    """A thread that runs again need not work again."""
    faults.error = SystemExit(3)
    assert unavailable(post(server.url, [MAGIC]))
    assert eventually(lambda: metric(server.url, "akidb_model_running") == 1)
    faults.error, faults.everywhere = RuntimeError("still broken"), True
    assert ready(server) == (503, "tiny: a test embedding failed")
    faults.error = None
    assert ready(server) == (200, "")


@pytest.mark.long
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
        assert ready(server) == (503, "tiny: a test embedding was not done after 0.3 s")
        faults.gate.set()
        assert eventually(lambda: ready(server) == (200, ""))
        assert [future.result(LONG).status for future in stuck] == [200] * len(TEXTS)


@pytest.mark.long
async def test_a_full_queue_is_no_reason_to_be_red(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless nothing leaves it."""
    monkeypatch.setattr(health, "_PROBE_SECONDS", 1.0)
    folder = random_model(tmp_path / "tiny", BERT)
    with (
        EmbeddingService(str(folder), max_queued_tokens=10) as tiny,
        handler_of({"tiny": tiny}, probe_seconds=0.001) as handler,
    ):
        faults.gate.clear()
        stuck = [asyncio.ensure_future(handler.embed(EmbedCall(["light"]), "rest"))]
        while tiny.statistics.rounds == 0:
            await asyncio.sleep(0.001)
        stuck.append(asyncio.ensure_future(handler.embed(EmbedCall(["the light " * 4]), "rest")))
        while tiny.statistics.waiting_tokens == 0:
            await asyncio.sleep(0.001)
        ready = Health(handler)
        assert await ready.readiness_problems() == []
        await asyncio.sleep(1)
        [problem] = await ready.readiness_problems()
        assert problem.startswith("tiny: texts have waited for ")
        faults.gate.set()
        await asyncio.gather(*stuck)
        assert await ready.readiness_problems() == []
