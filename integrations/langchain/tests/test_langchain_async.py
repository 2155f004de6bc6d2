"""On event loops: the loop goes on, cancelled texts leave the queue, and a full queue is waited for."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langchain_fixtures import LONG, embeddings, service
from langchain_fixtures import fake_model as fake_model

from akidb_embeddings import close_shared_services
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.errors import OverloadError, WorkerError
from tests.conftest import FakeModel, at_once

teardown_module = close_shared_services


@pytest.fixture
def loading(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
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


CALLS: dict[str, Callable[[], Awaitable[object]]] = {
    "documents": lambda: embeddings().aembed_documents(["word " * 200] * 500),
    "documents with progress": lambda: embeddings(show_progress=True).aembed_documents(["word " * 200] * 500),
    "query": lambda: embeddings().aembed_query("word " * 2000),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_the_loop_goes_on_while_the_model_loads_and_computes(
    fake: FakeModel, loading: threading.Event, call: Callable[[], Awaitable[object]]
) -> None:
    fake.hold()
    task = asyncio.ensure_future(call())
    await turns()
    assert not task.done()
    loading.set()
    await asyncio.to_thread(fake.entered)
    await turns()
    assert not task.done()
    fake.release()
    assert await asyncio.wait_for(task, LONG)


@pytest.mark.long
async def test_the_loop_goes_on_under_many_documents() -> None:
    task = asyncio.create_task(embeddings().aembed_documents(["word " * 250] * 20))
    count = 0
    while not task.done():
        await asyncio.sleep(0.001)
        count += 1
    assert len(task.result()) == 20
    assert count > 10


def test_one_object_serves_loops_and_threads_at_once() -> None:
    ours = embeddings()
    expected = ours.embed_documents(["fox", "stone"])

    async def on_a_loop() -> list[list[list[float]]]:
        return await asyncio.gather(*[ours.aembed_documents(["fox", "stone"]) for _ in range(5)])

    for several in at_once(lambda _: asyncio.run(on_a_loop()), 4):
        for vectors in several:
            assert vectors[0] == pytest.approx(expected[0], abs=1e-5)
            assert vectors[1] == pytest.approx(expected[1], abs=1e-5)


# Cancelling


async def test_cancelling_takes_the_texts_out_of_the_queue(fake: FakeModel) -> None:
    fake.hold()
    first = asyncio.create_task(embeddings().aembed_documents(["first"]))
    await asyncio.to_thread(fake.entered)
    cancelled = asyncio.create_task(embeddings().aembed_documents(["stone"] * 1000))
    query = asyncio.create_task(embeddings().aembed_query("stone " * 9))
    await until(lambda: engine().waiting_tokens == 3 * 1000 + 11)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    fake.release()
    [vector] = await asyncio.wait_for(first, LONG)
    assert len(vector) == len(await asyncio.wait_for(query, LONG)) == 384
    assert len(await embeddings().aembed_documents(["last"])) == 1
    assert sorted(map(len, fake.rows)) == [3, 3, 11]
    await until(lambda: engine().waiting_tokens == 0)  # the thread drops it when it looks for the next round


async def test_cancelling_ends_the_wait_for_room(fake: FakeModel) -> None:
    ours = embeddings(max_queued_tokens=1)
    fake.hold()
    first = asyncio.create_task(ours.aembed_documents(["first"]))
    await asyncio.to_thread(fake.entered)
    second = asyncio.create_task(ours.aembed_documents(["second"]))
    await until(lambda: engine().waiting_tokens)
    third = asyncio.create_task(ours.aembed_documents(["third one"]))
    await turns()
    third.cancel()
    with pytest.raises(asyncio.CancelledError):
        await third
    fake.release()
    assert len(await asyncio.wait_for(asyncio.gather(first, second), LONG)) == 2
    assert [len(row) for row in fake.rows] == [3, 3]


async def test_cancelling_one_task_while_the_model_loads_harms_no_other(
    fake: FakeModel, loading: threading.Event
) -> None:
    ours = embeddings()
    tasks = [asyncio.create_task(ours.aembed_documents([text])) for text in ("one", "two", "three")]
    await turns()
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    loading.set()
    assert len(await asyncio.wait_for(asyncio.gather(*tasks[1:]), LONG)) == 2
    assert len(fake.rows) == 2
    assert len(engine_table._users) == 1


# A full queue


@pytest.mark.long
async def test_a_full_queue_is_waited_for(fake: FakeModel) -> None:
    ours = embeddings(max_queued_tokens=1)
    texts = [["stone " * (1 + i), f"fox {i}"] for i in range(20)]
    fake.hold()
    tasks = [asyncio.create_task(ours.aembed_documents(pair)) for pair in texts]
    queries = [asyncio.create_task(ours.aembed_query(text)) for text, _ in texts[:3]]
    await asyncio.to_thread(fake.entered)
    await until(lambda: engine().waiting_tokens)
    with service(max_queued_tokens=1) as impatient, pytest.raises(OverloadError):
        await impatient.aembed_documents(["stone"])
    fake.release()
    vectors = await asyncio.wait_for(asyncio.gather(*tasks), LONG)
    assert vectors == [await ours.aembed_documents(pair) for pair in texts]
    assert await asyncio.wait_for(asyncio.gather(*queries), LONG) == [pair[0] for pair in vectors[:3]]


def test_a_full_queue_is_waited_for_by_threads(fake: FakeModel) -> None:
    ours = embeddings(max_queued_tokens=1)

    def embed(caller: int) -> list[list[float]]:
        return [*ours.embed_documents(["stone " * caller, "fox"]), ours.embed_query(f"fox {caller}")]

    assert at_once(embed, 8) == [embed(caller) for caller in range(8)]


async def test_a_text_that_the_model_fails_on_fails_its_call_alone(fake: FakeModel) -> None:
    ours = embeddings(max_queued_tokens=1)
    with service() as theirs:
        theirs.embed(["stone"])
        fake.faults[fake.rows[0][1]] = RuntimeError("out of memory")
    calls = [ours.aembed_documents([text]) for text in ("fox", "stone", "river")]
    fox, stone, river = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(stone, WorkerError)
    assert "out of memory" in str(stone)
    assert isinstance(fox, list)
    assert isinstance(river, list)
