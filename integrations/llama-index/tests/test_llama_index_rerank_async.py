"""The reranker on event loops and many threads: nothing blocks, nothing is left behind, all get their scores."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import NodeWithScore
from llama_index_helpers import fake_model as fake_model
from llama_index_helpers import no_settings as no_settings
from llama_index_rerank_helpers import QUERY, nodes, ranking, reranker

from akidb_embeddings import WorkerError, close_shared_rerankers
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.engine.engine import Engine
from tests.conftest import LONG, FakeModel, at_once

teardown_module = close_shared_rerankers


@pytest.fixture(name="scores")
def fake_scores(fake: FakeModel) -> FakeModel:
    """A model whose scores are the numbers of tokens."""
    fake.dimension = 1
    return fake


@pytest.fixture
def loading(scores: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set it to let the model load."""
    may_load = threading.Event()

    def wait_and_load(*_: Any) -> FakeModel:
        assert may_load.wait(LONG), "the loop did not run"
        return scores

    monkeypatch.setattr(engine_table, "_load", wait_and_load)
    yield may_load
    may_load.set()


def engine() -> Engine:
    """The only one there is."""
    [only] = engine_table._users
    return only


async def until(condition: Callable[[], object]) -> None:
    """Wait on the loop, which has to run for it."""
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.002)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0.001)


async def test_the_loop_runs_while_the_model_is_loaded_and_computes(
    scores: FakeModel, loading: threading.Event
) -> None:
    scores.hold()
    task = asyncio.create_task(reranker(top_n=5).apostprocess_nodes(nodes(["word " * 200] * 300), query_str=QUERY))
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
    first = asyncio.create_task(reranker().apostprocess_nodes(nodes(["first"]), query_str=QUERY))
    await asyncio.to_thread(scores.entered)
    tasks = [asyncio.create_task(reranker().apostprocess_nodes(nodes(["a"]), query_str=QUERY)) for _ in range(100)]
    await until(lambda: engine().waiting_tokens == 100 * 10)
    assert threading.active_count() <= before + 3  # the MLX thread, and two that loaded the model and waited above
    scores.release()
    await asyncio.wait_for(asyncio.gather(first, *tasks), LONG)


async def test_cancelling_takes_the_nodes_out_of_the_queue(scores: FakeModel) -> None:
    scores.hold()
    first = asyncio.create_task(reranker().apostprocess_nodes(nodes(["first"]), query_str="a"))
    await asyncio.to_thread(scores.entered)
    cancelled = asyncio.create_task(reranker().apostprocess_nodes(nodes(["a"] * 1000), query_str="a"))
    await until(lambda: engine().waiting_tokens == 1000 * 5)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    scores.release()
    assert len(await asyncio.wait_for(first, LONG)) == 1
    assert len(await reranker().apostprocess_nodes(nodes(["last"]), query_str="a")) == 1
    assert len(scores.rows) == 2


async def test_a_full_queue_is_waited_for(scores: FakeModel) -> None:
    ours = reranker(max_queued_tokens=1)
    given = [nodes(["a " * (1 + at), "a"]) for at in range(20)]
    expected = [[(0, 5.0 + at), (1, 5.0)] for at in range(20)]
    scores.hold()
    tasks = [asyncio.create_task(ours.apostprocess_nodes(one, query_str="a")) for one in given]
    await asyncio.to_thread(scores.entered)
    await until(lambda: engine().waiting_tokens)
    scores.release()
    assert [ranking(one) for one in await asyncio.wait_for(asyncio.gather(*tasks), LONG)] == expected
    found = at_once(lambda at: ranking(ours.postprocess_nodes(given[at], query_str="a")), 8)
    assert found == expected[:8]


async def test_a_failed_forward_pass_is_an_error_of_its_callers_alone(scores: FakeModel) -> None:
    ours = reranker()
    for text in ("sound", "faulty"):
        ours.postprocess_nodes(nodes([text]), query_str="a")
    fault = next(token for token in scores.rows[1] if token not in scores.rows[0])
    scores.faults[fault] = RuntimeError("out of memory")
    with pytest.raises(WorkerError, match="out of memory"):
        await ours.apostprocess_nodes(nodes(["faulty"]), query_str="a")
    assert len(await ours.apostprocess_nodes(nodes(["sound"]), query_str="a")) == 1


def test_a_loop_that_ended_is_no_hindrance_to_the_next(scores: FakeModel) -> None:
    ours = reranker()
    for _ in range(3):
        assert ranking(asyncio.run(ours.apostprocess_nodes(nodes(["a"]), query_str="a"))) == [(0, 5.0)]
    assert engine().alive


def test_threads_and_loops_at_once() -> None:
    expected: Any = ranking(reranker(top_n=None).postprocess_nodes(nodes(), query_str=QUERY))

    def check(found: Sequence[NodeWithScore]) -> None:
        got: Any = dict(ranking(found))
        np.testing.assert_allclose([got[at] for at, _ in expected], [score for _, score in expected], atol=1e-5)

    async def on_a_loop() -> None:
        calls = [reranker(top_n=None).apostprocess_nodes(nodes(), query_str=QUERY) for _ in range(5)]
        for found in await asyncio.gather(*calls):
            check(found)

    def on_a_thread(caller: int) -> None:
        if caller % 2:
            asyncio.run(on_a_loop())
        else:
            check(reranker(top_n=None).postprocess_nodes(nodes(), query_str=QUERY))

    at_once(on_a_thread, 8)
