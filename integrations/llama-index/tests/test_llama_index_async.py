"""MLXEmbedding on event loops and many threads: nothing blocks, nothing is left behind, all get their vectors."""

import asyncio
import gc
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import TextNode
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index_helpers import MODEL, TEXTS
from llama_index_helpers import fake_model as fake_model
from llama_index_helpers import no_settings as no_settings

from akidb_embeddings import EmbeddingService, InputError, WorkerError, shared_service
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.engine.engine import Engine
from tests.conftest import LONG, FakeModel, at_once, background
from tests.fixtures import model_path


def engine() -> Engine:
    """The only one there is."""
    [only] = engine_table._users
    return only


async def until(condition: Any) -> None:
    """Wait on the loop, which has to run for it."""
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.005)


def waits(embedding: MLXEmbedding) -> int:
    return shared_service(embedding.config)._resources.engine.waiting_tokens


# The loop


async def test_the_loop_runs_while_the_model_is_loaded(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load(*_: Any) -> FakeModel:
        begun.set()
        assert go_on.wait(LONG), "the loop did not run"
        return fake

    monkeypatch.setattr(engine_table, "_load", load)
    embedding = MLXEmbedding(MODEL)
    calls = [
        embedding.aget_query_embedding("a"),
        embedding.aget_text_embedding("a"),
        embedding.aget_text_embedding_batch(["a", "b"]),
        embedding.acall([TextNode(text="a")]),
        MLXEmbedding(MODEL).aget_text_embedding("a"),
    ]
    tasks = [asyncio.create_task(call) for call in calls]
    await until(begun.is_set)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    go_on.set()
    await asyncio.gather(*tasks)


async def test_the_loop_runs_while_a_batch_is_computed(fake: FakeModel) -> None:
    embedding = MLXEmbedding(MODEL)
    await embedding.aget_text_embedding("a")
    fake.hold()
    batch = asyncio.create_task(embedding.aget_text_embedding_batch([f"text {number}" for number in range(3000)]))
    await until(lambda: waits(embedding) > 1000)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not batch.done()
    fake.release()
    assert len(await batch) == 3000


async def test_a_query_need_not_wait_for_a_batch(fake: FakeModel) -> None:
    embedding = MLXEmbedding(MODEL)
    await embedding.aget_text_embedding("a")
    fake.hold()
    batch = asyncio.create_task(embedding.aget_text_embedding_batch([f"text {number}" for number in range(1000)]))
    await until(lambda: len(fake.forwards) == 2)
    query = asyncio.create_task(embedding.aget_query_embedding("quick"))
    before = waits(embedding)
    await until(lambda: waits(embedding) > before)
    fake.release()
    await asyncio.gather(query, batch)
    [tokens] = shared_service(embedding.config)._resources.tokenizer.encode(["quick"]).ids
    assert fake.rows.index(tokens.tolist()) < 50 < len(fake.rows)  # most of the batch came later


async def test_big_batches_are_tokenized_off_the_loop(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = MLXEmbedding(MODEL)
    tokenizer: Any = type(shared_service(embedding.config)._resources.tokenizer)
    encode, threads = tokenizer.encode, list[threading.Thread]()

    def noting(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return encode(*arguments)

    monkeypatch.setattr(tokenizer, "encode", noting)
    await embedding.aget_text_embedding_batch([f"text {number} " * 20 for number in range(500)])
    assert threads
    assert threading.current_thread() not in threads


# Cancelling, and errors


async def test_a_cancelled_batch_leaves_the_queue(fake: FakeModel) -> None:
    embedding = MLXEmbedding(MODEL)
    await embedding.aget_text_embedding("a")
    fake.hold()
    batch = asyncio.create_task(embedding.aget_text_embedding_batch([f"text {number}" for number in range(1000)]))
    await until(lambda: waits(embedding) > 1000)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    fake.release()
    await embedding.aget_text_embedding("b")
    await until(lambda: waits(embedding) == 0)
    assert len(fake.rows) < 50  # the texts that were being computed, and the single ones


@pytest.mark.parametrize("workers", [1, 2, None])
async def test_a_cancelled_batch_of_many_slices_leaves_no_trace(fake: FakeModel, workers: int | None) -> None:
    embedding = MLXEmbedding(MODEL, embed_batch_size=8, num_workers=workers)
    await embedding.aget_text_embedding("a")
    fake.hold()
    with warnings.catch_warnings(record=True) as caught:  # of coroutines that were never awaited
        warnings.simplefilter("always")
        batch = asyncio.create_task(embedding.aget_text_embedding_batch([f"text {number}" for number in range(400)]))
        await until(lambda: len(fake.forwards) == 2)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        fake.release()
        await embedding.aget_text_embedding("b")
        await until(lambda: waits(embedding) == 0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        del batch
        gc.collect()
    assert len(fake.rows) < 50
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("workers", [1, 2, None])
async def test_a_failed_batch_of_many_slices_leaves_no_trace(fake: FakeModel, workers: int | None) -> None:
    embedding = MLXEmbedding(MODEL, embed_batch_size=8, num_workers=workers)
    await embedding.aget_text_embedding("a")
    fake.hold()
    texts: list[Any] = ["\ud800", *[f"text {number}" for number in range(399)]]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(InputError, match="surrogate"):
            await embedding.aget_text_embedding_batch(texts)
        await asyncio.sleep(0.05)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        fake.release()
        gc.collect()
    assert not tasks  # which would go on with texts that nobody waits for
    assert [str(warning.message) for warning in caught] == []


async def test_a_failed_forward_pass_is_an_error_of_its_callers_alone(fake: FakeModel) -> None:
    embedding = MLXEmbedding(MODEL)
    [tokens] = shared_service(embedding.config)._resources.tokenizer.encode(["faulty"]).ids
    fake.faults[int(tokens[1])] = RuntimeError("out of memory")
    with pytest.raises(WorkerError, match="out of memory"):
        await embedding.aget_text_embedding("faulty")
    with pytest.raises(WorkerError, match="out of memory"):
        embedding.get_text_embedding_batch(["a", "faulty"])
    assert len(await embedding.aget_text_embedding("sound")) == 384


async def test_a_call_that_is_cancelled_while_the_model_is_loaded(
    fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def load(*_: Any) -> FakeModel:
        begun.set()
        assert go_on.wait(LONG)
        return fake

    monkeypatch.setattr(engine_table, "_load", load)
    embedding = MLXEmbedding(MODEL)
    task = asyncio.create_task(embedding.aget_text_embedding("a"))
    await until(begun.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert len(await embedding.aget_text_embedding("a")) == 384
    assert len(engine_table._users) == 1


def test_a_loop_that_ended_is_no_hindrance_to_the_next(fake: FakeModel) -> None:
    embedding = MLXEmbedding(MODEL)
    vectors = [asyncio.run(embedding.aget_text_embedding("a")) for _ in range(3)]
    assert vectors == [embedding.get_text_embedding("a")] * 3
    assert engine().alive


# A queue with little room


@pytest.mark.parametrize("workers", [2, None])
async def test_a_large_batch_waits_for_room(fake: FakeModel, workers: int | None) -> None:
    texts = [f"text {number}" for number in range(200)]
    expected = MLXEmbedding(MODEL).get_text_embedding_batch(texts)
    embedding = MLXEmbedding(MODEL, embed_batch_size=8, num_workers=workers, max_queued_tokens=16)
    assert await embedding.aget_text_embedding_batch(texts) == expected
    assert embedding.get_text_embedding_batch(texts) == expected


async def test_callers_wait_for_each_others_room(fake: FakeModel) -> None:
    embedding = MLXEmbedding(MODEL, max_queued_tokens=4)
    expected = embedding.get_text_embedding("a")
    fake.hold()
    tasks = [asyncio.create_task(embedding.aget_text_embedding("a")) for _ in range(10)]
    tasks += [asyncio.create_task(embedding.aget_query_embedding("a")) for _ in range(10)]
    threads = [background(lambda: embedding.get_query_embedding("a")) for _ in range(4)]
    await until(lambda: waits(embedding) > 0)
    fake.release()
    assert await asyncio.gather(*tasks) == [expected] * 20
    assert [thread.result(LONG) for thread in threads] == [expected] * 4


# Many at once, on the real thing


@pytest.mark.long
def test_threads_and_a_loop_at_once() -> None:
    embedding = MLXEmbedding(MODEL, query_prompt="query: ", embed_batch_size=4)
    with EmbeddingService(MODEL, query_prompt="query: ") as core:
        documents, queries = core.embed_documents(TEXTS), core.embed_queries(TEXTS)

    def on_a_thread(caller: int) -> None:
        if caller % 2:
            np.testing.assert_allclose(embedding.get_text_embedding_batch(TEXTS), documents, atol=1e-5)
        for text, expected in zip(TEXTS, queries, strict=True):
            np.testing.assert_allclose(embedding.get_query_embedding(text), expected, atol=1e-5)

    async def on_a_loop() -> None:
        got = await asyncio.gather(*[embedding.aget_query_embedding(text) for text in TEXTS])
        np.testing.assert_allclose(got, queries, atol=1e-5)
        for batch in await asyncio.gather(*[embedding.aget_text_embedding_batch(TEXTS) for _ in range(4)]):
            np.testing.assert_allclose(batch, documents, atol=1e-5)

    loop = background(lambda: asyncio.run(on_a_loop()))
    at_once(on_a_thread, 6)
    loop.result(LONG)


def test_a_first_use_by_many_at_once_loads_one_model(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[object] = []

    def load(*arguments: object) -> FakeModel:
        loads.append(arguments)
        return fake

    monkeypatch.setattr(engine_table, "_load", load)
    loop = background(lambda: asyncio.run(asyncio.wait_for(MLXEmbedding(MODEL).aget_text_embedding_batch(TEXTS), LONG)))
    vectors = at_once(lambda caller: MLXEmbedding(MODEL).get_text_embedding_batch(TEXTS), 8)
    assert vectors == [loop.result(LONG)] * 8
    assert len(loads) == 1


async def test_objects_of_several_models_at_once() -> None:
    names = ["tiny-bert", "tiny-bert-cls", "tiny-qwen3"]
    embeddings = [MLXEmbedding(model_path(name)) for name in names]
    expected = [[one.get_text_embedding(text) for text in TEXTS] for one in embeddings]
    got = await asyncio.gather(*[one.aget_text_embedding_batch(TEXTS) for one in embeddings])
    for one, two in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
