"""The reranker on event loops: the loop goes on, cancelled documents leave the queue, a full queue is waited for."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_fixtures import LONG
from langchain_fixtures import fake_model as fake_model
from langchain_rerank_fixtures import QUERY, documents, ranking, reranker

from akidb_embeddings import close_shared_rerankers
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.engine.engine import Engine
from tests.conftest import FakeModel, at_once

teardown_module = close_shared_rerankers


@pytest.fixture(name="scores")
def fake_scores(fake: FakeModel) -> FakeModel:
    """A model whose scores are the numbers of tokens."""
    fake.dimension = 1
    return fake


@pytest.fixture
def loading(scores: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set it to let the model load."""
    may_load, load = threading.Event(), engine_table._load

    def wait_and_load(*arguments: Any) -> Any:
        assert may_load.wait(LONG)
        return load(*arguments)

    monkeypatch.setattr(engine_table, "_load", wait_and_load)
    yield may_load
    may_load.set()


def engine() -> Engine:
    [only] = engine_table._users
    return only


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition without blocking the loop."""
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.002)


async def turns(count: int = 20) -> None:
    """So many turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0.001)


MANY = documents(["word " * 200] * 300)


async def test_the_loop_goes_on_while_the_model_loads_and_computes(scores: FakeModel, loading: threading.Event) -> None:
    scores.hold()
    task = asyncio.create_task(reranker(top_n=5).acompress_documents(MANY, QUERY))
    await turns()
    assert not task.done()
    loading.set()
    await asyncio.to_thread(scores.entered)
    await turns()
    assert not task.done()
    scores.release()
    assert len(await asyncio.wait_for(task, LONG)) == 5


async def test_calls_hold_no_threads(scores: FakeModel) -> None:
    """More calls than a thread pool has threads wait at the same time: the base class would run each in one."""
    before = threading.active_count()
    scores.hold()
    first = asyncio.create_task(reranker().arerank(["first"], QUERY))
    await asyncio.to_thread(scores.entered)
    tasks = [asyncio.create_task(reranker().acompress_documents(documents(["a"]), QUERY)) for _ in range(100)]
    await until(lambda: engine().waiting_tokens == 100 * 10)
    assert threading.active_count() <= before + 3  # the MLX thread, and two that loaded the model and waited above
    scores.release()
    await asyncio.wait_for(asyncio.gather(first, *tasks), LONG)


async def test_cancelling_takes_the_documents_out_of_the_queue(scores: FakeModel) -> None:
    scores.hold()
    first = asyncio.create_task(reranker().acompress_documents(documents(["first"]), "a"))
    await asyncio.to_thread(scores.entered)
    cancelled = asyncio.create_task(reranker().acompress_documents(documents(["a"] * 1000), "a"))
    await until(lambda: engine().waiting_tokens == 1000 * 5)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    scores.release()
    assert len(await asyncio.wait_for(first, LONG)) == 1
    assert len(await reranker().acompress_documents(documents(["last"]), "a")) == 1
    assert len(scores.rows) == 2


@pytest.mark.long
async def test_a_full_queue_is_waited_for(scores: FakeModel) -> None:
    ours = reranker(max_queued_tokens=1)
    given = [documents(["a " * (1 + at), "a"]) for at in range(20)]
    scores.hold()
    tasks = [asyncio.create_task(ours.acompress_documents(one, "a")) for one in given]
    await asyncio.to_thread(scores.entered)
    await until(lambda: engine().waiting_tokens)
    scores.release()
    found = await asyncio.wait_for(asyncio.gather(*tasks), LONG)
    assert [ranking(one) for one in found] == [[(0, 5.0 + at), (1, 5.0)] for at in range(20)]
    assert at_once(lambda at: ranking(ours.compress_documents(given[at], "a")), 8) == [
        [(0, 5.0 + at), (1, 5.0)] for at in range(8)
    ]


def test_a_loop_that_ended_is_no_hindrance_to_the_next(scores: FakeModel) -> None:
    ours = reranker()
    for _ in range(3):
        assert ranking(asyncio.run(ours.acompress_documents(documents(["a"]), "a"))) == [(0, 5.0)]
    assert engine().alive


async def test_a_document_that_the_model_fails_on_fails_its_call_alone(scores: FakeModel) -> None:
    ours = reranker(max_queued_tokens=1)  # so that no two share a micro-batch
    for text in ("fox", "river", "stone"):
        await ours.arerank([text], "a")
    fault = next(token for token in scores.rows[2] if token not in scores.rows[0] + scores.rows[1])
    scores.faults[fault] = RuntimeError("out of memory")
    calls = [ours.acompress_documents([Document(text)], "a") for text in ("fox", "stone", "river")]
    fox, stone, river = await asyncio.gather(*calls, return_exceptions=True)
    assert "out of memory" in str(stone)
    assert isinstance(fox, list)
    assert isinstance(river, list)
