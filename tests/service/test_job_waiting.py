"""Calls that wait: for room in a full queue, and until they are ended by a deadline, a cancelled task or an error."""

import asyncio
import gc
import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.request import VectorsFuture
from akidb_embeddings.errors import OverloadError, WorkerError
from akidb_embeddings.service import job as job_module
from akidb_embeddings.vectors.finish import Vectors
from tests.conftest import LONG, FakeModel, at_once, background, eventually, service

TOKENS = 3  # of a text of one letter: special tokens come before and after it
both_ways = pytest.mark.parametrize("way", ["sync", "async"])


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "WINDOW_TEXTS", 3)


def embed(embedder: EmbeddingService, way: str, texts: list[str], **options: Any) -> Vectors:
    return embedder.embed(texts, **options) if way == "sync" else asyncio.run(embedder.aembed(texts, **options))


def engine_of(embedder: EmbeddingService) -> Engine:
    return embedder._resources.engine


class Attempts:
    """Counts what a service submits, refused or not, and keeps the futures."""

    def __init__(self, embedder: EmbeddingService, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.futures = 0, list[VectorsFuture]()
        self._submit = engine_of(embedder).submit
        monkeypatch.setattr(engine_of(embedder), "submit", self)

    def __call__(self, *arguments: Any, **options: Any) -> VectorsFuture:
        self.count += 1
        self.futures.append(self._submit(*arguments, **options))
        return self.futures[-1]


@pytest.fixture
def full(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingService]:
    """A service with one text in work, one in the queue, and room for no other, until ``fake`` is released."""
    monkeypatch.setattr(job_module, "_POLL_SECONDS", 0.01)
    with service(max_queued_tokens=TOKENS + 1) as embedder:
        fake.hold()
        begun = background(lambda: embedder.embed(["a"]))
        fake.entered()
        queued = background(lambda: embedder.embed(["a"]))
        assert eventually(lambda: engine_of(embedder).waiting_tokens == TOKENS)
        yield embedder
        fake.release()
        if embedder.alive:
            assert begun.result(LONG).shape == queued.result(LONG).shape == (1, 384)
            assert engine_of(embedder).waiting_tokens == 0


@both_ways
def test_a_call_that_waits_goes_on_once_there_is_room(
    full: EmbeddingService, fake: FakeModel, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    attempts = Attempts(full, monkeypatch)
    waiting = background(lambda: embed(full, way, list("abcdefgh"), wait=True, timeout=LONG))
    assert eventually(lambda: attempts.count >= 3)
    assert not attempts.futures
    assert not waiting.done()
    fake.release()
    np.testing.assert_array_equal(waiting.result(LONG), full.embed(list("abcdefgh")))


@both_ways
@pytest.mark.parametrize("timeout", [0, -1, -math.inf, 0.2])
def test_waiting_ends_at_the_deadline(full: EmbeddingService, way: str, timeout: float) -> None:
    waiting = background(lambda: embed(full, way, ["b"], wait=True, timeout=timeout))
    with pytest.raises(OverloadError, match=f"{TOKENS} tokens are already queued|deadline"):
        waiting.result(5)
    assert engine_of(full).waiting_tokens == TOKENS


@both_ways
def test_without_wait_a_full_queue_is_refused_at_once(
    full: EmbeddingService, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    attempts = Attempts(full, monkeypatch)
    for options in ({}, {"wait": False}, {"timeout": LONG}):
        with pytest.raises(OverloadError, match="max_queued_tokens"):
            embed(full, way, ["b"], **options)
    assert attempts.count == 3


@both_ways
def test_a_closed_engine_ends_the_waiting(
    full: EmbeddingService, fake: FakeModel, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    attempts = Attempts(full, monkeypatch)
    waiting = background(lambda: embed(full, way, ["b"], wait=True))
    assert eventually(lambda: attempts.count >= 2)
    closing = background(full.close)
    with pytest.raises(WorkerError, match="closed"):
        waiting.result(LONG)
    fake.release()
    closing.result(LONG)


async def test_a_task_that_waits_for_room_can_be_cancelled(
    full: EmbeddingService, fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = Attempts(full, monkeypatch)
    task = asyncio.create_task(full.aembed(["b"] * 9, wait=True))
    while attempts.count < 2:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    fake.release()
    assert (await full.aembed(["c"], wait=True)).shape == (1, 384)
    assert len(fake.rows) == 3


@both_ways
def test_many_callers_wait_for_each_other(fake: FakeModel, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(job_module, "_POLL_SECONDS", 0.005)
    with service(max_queued_tokens=1) as embedder:
        at_once(lambda caller: embed(embedder, way, ["a"] * (1 + caller), wait=True), 12)
        assert len(fake.rows) == sum(range(1, 13))
        assert engine_of(embedder).waiting_tokens == 0


async def test_a_cancelled_task_cancels_its_requests(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    async with service() as embedder:
        attempts = Attempts(embedder, monkeypatch)
        fake.hold()
        task = asyncio.create_task(embedder.aembed(["a"] * 9))
        await asyncio.to_thread(fake.entered)
        while len(attempts.futures) < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [future.cancelled() for future in attempts.futures] == [True, True]
        fake.release()
        assert (await embedder.aembed(["b"])).shape == (1, 384)


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("ending", ["left", "cancelled", "timed out"])
async def test_asyncio_has_nothing_to_complain_of(
    fake: FakeModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ending: str, turns: int
) -> None:
    """It logs errors that nobody retrieved; here they are told to the caller, or meant for nobody any more."""
    caplog.set_level(logging.CRITICAL)  # a kept record would keep frames, and they what asyncio complains of
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: complaints.append(context))
    async with service() as embedder:
        embedder.embed(["fox"])
        fake.faults[fake.rows[-1][1]] = ValueError("boom")
        fake.entered()
        fake.hold()
        attempts = Attempts(embedder, monkeypatch)
        timeout = 0.05 if ending == "timed out" else None
        task = asyncio.create_task(embedder.aembed(["fox"] * 9, timeout=timeout))
        await asyncio.to_thread(fake.entered)
        if ending == "timed out":
            await asyncio.wait([task], timeout=LONG)
        fake.release()
        assert eventually(attempts.futures[0].done)  # in which time the loop hears of nothing
        for _ in range(turns):
            await asyncio.sleep(0)
        if ending == "cancelled":
            task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        ended = {"left": WorkerError, "timed out": OverloadError, "cancelled": asyncio.CancelledError | WorkerError}
        assert isinstance(outcome, ended[ending])
        for holder in (attempts.futures, fake.faults):  # asyncio complains of what is gone
            holder.clear()
        del task, outcome
        await asyncio.sleep(0.01)  # until now, the loop holds what it is at
        gc.collect()
    assert complaints == []
