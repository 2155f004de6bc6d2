"""How far a call is: told while a window is in work, each text once, and whatever the caller does with the news."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.engine.request import VectorsFuture
from akidb_embeddings.errors import NonFiniteVectorError, OverloadError
from akidb_embeddings.service import job as job_module
from akidb_embeddings.vectors.finish import Vectors
from tests.conftest import LONG, FakeModel, Start, at_once, background, eventually, row, service
from tests.service.test_job_waiting import Attempts, both_ways, embed, engine_of


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "WINDOW_TEXTS", 3)
    monkeypatch.setattr(job_module, "_POLL_SECONDS", 0.01)


class Stepping(FakeModel):
    """Computes micro-batches only as far as it is allowed to."""

    def __init__(self, steps: int, **options: Any) -> None:
        super().__init__(dimension=384, **options)
        self.steps = threading.Semaphore(steps)

    def forward(self, batches: Any) -> list[Vectors]:
        assert self.steps.acquire(timeout=LONG)
        return super().forward(batches)


@pytest.fixture
def stepping(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stepping]:
    """Make the model of this test's services one that takes a step at a time."""

    def make(steps: int, **options: Any) -> Stepping:
        model = Stepping(steps, **options)
        monkeypatch.setattr(engine_table, "_load", lambda checkpoint, memory, compute: model)
        return model

    return make


@both_ways
@pytest.mark.parametrize(("tokens", "batch_size", "streams"), [(8, 32, 1), (64, 1, 1), (64, 1, 2)])
@pytest.mark.parametrize("texts", [1, 3, 8])
def test_every_step_of_a_window_is_told_before_the_next(
    stepping: Callable[..., Stepping], way: str, tokens: int, batch_size: int, streams: int, texts: int
) -> None:
    """The model takes a step only once the one before was told of, so what is told late never comes to an end."""
    model = stepping(1, tokens_per_batch=tokens, streams=streams)
    told: list[int] = []

    def progress(done: int) -> None:
        told.append(done)
        model.steps.release()

    with service(batch_size=batch_size) as embedder:
        done = background(lambda: embed(embedder, way, ["a"] * texts, progress=progress))
        assert done.result(LONG).shape == (texts, 384)
    assert sum(told) == texts
    assert min(told) >= 1
    assert streams > 1 or max(told) == 1


@both_ways
@pytest.mark.parametrize("letters", [1, 200])
def test_progress_tells_of_each_text_once(
    fake: FakeModel, monkeypatch: pytest.MonkeyPatch, way: str, letters: int
) -> None:
    """Small requests are served one after the other, large ones in turns; others' texts are none of it."""
    monkeypatch.setattr(job_module, "_POLL_SECONDS", 0.0001)
    fake.tokens_per_batch = 256

    def told(caller: int) -> list[int]:
        steps: list[int] = []
        embed(embedder, way, [" a" * letters] * caller, progress=steps.append, wait=True)
        return steps

    with service() as embedder:
        for caller, steps in enumerate(at_once(told, 8)):
            assert sum(steps) == caller
            assert all(step >= 1 for step in steps)


@both_ways
def test_no_texts_are_no_progress(fake: FakeModel, way: str) -> None:
    told: list[int] = []
    with service() as embedder:
        embed(embedder, way, [], progress=told.append, wait=True, timeout=0)
    assert told == []


@both_ways
def test_progress_is_told_on_the_callers_own_thread(stepping: Callable[..., Stepping], way: str) -> None:
    model = stepping(1, tokens_per_batch=8)
    threads: list[threading.Thread] = []

    def progress(done: int) -> None:
        threads.append(threading.current_thread())
        model.steps.release()

    def call() -> threading.Thread:
        embed(embedder, way, ["a"] * 5, progress=progress)
        return threading.current_thread()

    with service() as embedder:
        own = background(call).result(LONG)
    assert threads == [own] * 5


def test_progress_may_embed_too(stepping: Callable[..., Stepping]) -> None:
    model = stepping(1, tokens_per_batch=8)
    shapes: list[tuple[int, ...]] = []

    def progress(done: int) -> None:
        model.steps.release(8)
        shapes.append(embedder.embed(["b"]).shape)

    with service() as embedder:
        assert background(lambda: embedder.embed(["a"] * 4, progress=progress)).result(LONG).shape == (4, 384)
    assert set(shapes) == {(1, 384)}


@both_ways
@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), OverloadError("mine"), NonFiniteVectorError(99, 5)])
def test_progress_that_raises_within_a_window_ends_the_call(
    stepping: Callable[..., Stepping], monkeypatch: pytest.MonkeyPatch, way: str, error: Exception
) -> None:
    model = stepping(1, tokens_per_batch=8)

    def progress(done: int) -> None:
        raise error

    with service() as embedder:
        attempts = Attempts(embedder, monkeypatch)
        outcome = background(lambda: embed(embedder, way, ["a"] * 6, progress=progress)).exception(LONG)
        assert outcome is error
        assert [future.cancelled() for future in attempts.futures] == [True, True]
        model.steps.release(10)
        assert embedder.embed(["b"]).shape == (1, 384)
        assert engine_of(embedder).waiting_tokens == 0
        assert len(model.rows) <= 3  # the one told of, the one in work meanwhile, and b


@both_ways
def test_a_deadline_is_kept_between_steps(stepping: Callable[..., Stepping], way: str) -> None:
    model = stepping(1, tokens_per_batch=8)
    told: list[int] = []
    with service() as embedder:
        call = background(lambda: embed(embedder, way, ["a"] * 6, progress=told.append, timeout=0.5))
        try:
            with pytest.raises(OverloadError, match="deadline"):
                call.result(LONG / 2)
        finally:
            model.steps.release(10)
        assert embedder.embed(["b"]).shape == (1, 384)
        assert sum(told) <= 1
        assert len(model.rows) <= 3


@both_ways
def test_progress_stops_at_an_error(fake: FakeModel, way: str) -> None:
    told: list[int] = []
    with service() as embedder:
        embedder.embed(["fox"])
        fake.spoilt.add(fake.rows[-1][1])
        with pytest.raises(NonFiniteVectorError, match=r"texts\[4\]"):
            embed(embedder, way, ["a"] * 4 + ["fox"] + ["a"] * 4, progress=told.append)
    assert 3 <= sum(told) <= 5


def test_a_future_counts_what_was_delivered(start: Start) -> None:
    model = Stepping(0, tokens_per_batch=8)
    engine = start(model)

    def delivered(future: VectorsFuture, count: int) -> bool:
        return future.delivered == count

    def submit() -> VectorsFuture:
        return engine.submit([row(1), row(2), row(3)], pooling="mean", max_rows=32, max_waiting_tokens=100)

    future, other = submit(), submit()
    for step in (1, 2, 3):
        assert future.delivered == step - 1
        model.steps.release()
        assert eventually(partial(delivered, future, step))
        assert other.delivered == 0
    assert len(future.result(LONG)) == 3
    model.steps.release(3)
    assert len(other.result(LONG)) == other.delivered == 3
