"""On event loops: the loop goes on, cancelled texts leave the queue, a full queue is waited for, progress is shown."""

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langchain_fixtures import LONG, embeddings, service

from akidb_embeddings import close_shared_services, engine_table, shared
from akidb_embeddings.engine import Engine
from akidb_embeddings.errors import InputError, OverloadError, WorkerError
from tests.conftest import FakeModel, at_once, eventually, mlx_threads

teardown_module = close_shared_services


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    """In place of the weights that this test would load; what shares it ends with the test."""
    model, before = FakeModel(dimension=384), mlx_threads()
    monkeypatch.setattr(engine_table, "_load", lambda checkpoint, memory: model)
    monkeypatch.setattr(engine_table, "_engines", {})
    monkeypatch.setattr(engine_table, "_users", {})
    monkeypatch.setattr(shared, "_services", {})
    yield model
    model.release()
    close_shared_services()
    assert eventually(lambda: mlx_threads() <= before)


@pytest.fixture
def loading(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set it to let the model load."""
    may_load, load = threading.Event(), engine_table._load

    def wait_and_load(checkpoint: Any, memory: str) -> Any:
        assert may_load.wait(LONG)
        return load(checkpoint, memory)

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
    assert engine().waiting_tokens == 0


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


# Progress


def counts(errors: str) -> list[int]:
    """The numbers of texts that a progress bar showed."""
    return [int(number) for number in re.findall(r"(\d+)/\d+ \[", errors)]


Embed = Callable[..., list[list[float]]]


def _sync(texts: list[str], **arguments: Any) -> list[list[float]]:
    return embeddings(**arguments).embed_documents(texts)


def _async(texts: list[str], **arguments: Any) -> list[list[float]]:
    return asyncio.run(embeddings(**arguments).aembed_documents(texts))


both = pytest.mark.parametrize("embed", [_sync, _async])


@both
@pytest.mark.parametrize("number", [1, 500, 5000])
def test_a_bar_counts_every_text_once(
    fake: FakeModel, capsys: pytest.CaptureFixture[str], embed: Embed, number: int
) -> None:
    assert len(embed(["fox"] * number, show_progress=True)) == number
    captured = capsys.readouterr()
    assert captured.out == ""
    shown = counts(captured.err)
    assert f"{number}/{number} [" in captured.err
    assert shown[0] == 0
    assert shown[-1] == max(shown) == number
    assert shown == sorted(shown)
    assert captured.err.endswith("\n")
    assert fake.rows


@both
def test_the_bar_is_told_of_texts_as_they_are_done(
    fake: FakeModel, monkeypatch: pytest.MonkeyPatch, embed: Embed
) -> None:
    told: list[int] = []

    class Bar:
        def __init__(self, total: int, **_: Any) -> None:
            assert total == 3000

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *exception: object) -> None:
            told.append(0)

        def update(self, number: int) -> None:
            told.append(number)

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    embed(["fox"] * 3000, show_progress=True)
    assert fake.rows
    assert sum(told) == 3000
    assert told[-1] == 0  # closed
    assert all(number > 0 for number in told[:-1])
    assert len(told) > 2


@both
def test_no_bar_unless_it_is_asked_for(fake: FakeModel, capsys: pytest.CaptureFixture[str], embed: Embed) -> None:
    embed(["fox"] * 100)
    embed(["fox"] * 100, show_progress=False)
    embeddings(show_progress=True).embed_query("fox")
    asyncio.run(embeddings(show_progress=True).aembed_query("fox"))
    assert capsys.readouterr() == ("", "")
    assert fake.rows


@both
def test_a_bar_ends_with_an_error(fake: FakeModel, capsys: pytest.CaptureFixture[str], embed: Embed) -> None:
    with pytest.raises(InputError, match=re.escape("texts[1] has 302 tokens")):
        embed(["fox", "word " * 300], show_progress=True, truncate="error")
    assert capsys.readouterr().err.endswith("\n")
    assert not fake.rows


@both
def test_a_bar_of_no_texts(fake: FakeModel, capsys: pytest.CaptureFixture[str], embed: Embed) -> None:
    assert embed([], show_progress=True) == []
    assert capsys.readouterr().out == ""
    assert not fake.rows


def test_bits_do_not_depend_on_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"stone {i} " * (i % 9) for i in range(50)]
    for embed in (_sync, _async):
        assert embed(texts, show_progress=True) == embed(texts)
    assert "50/50" in capsys.readouterr().err
