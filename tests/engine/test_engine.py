"""The MLX thread: right vectors for whoever asks, on one thread, whatever fails, dies, is cancelled or closed."""

import asyncio
import random
import threading
import time
from concurrent.futures import CancelledError

import pytest

from akidb_embeddings.engine.pipeline import Model
from akidb_embeddings.errors import EmbeddingError, OverloadError, WorkerError
from tests.conftest import (
    LONG,
    FakeModel,
    Start,
    Threads,
    at_once,
    background,
    check,
    eventually,
    row,
    submit,
    vector_of,
)


def test_vectors_come_in_the_callers_order(start: Start) -> None:
    rows = [[1, 2], [9] * 40, [3], [4, 4, 4], [8] * 40, [5]]
    check(submit(start(FakeModel(streams=2)), *rows), *rows)


def test_one_thread_loads_computes_and_closes(start: Start) -> None:
    model, loaders = FakeModel(), []

    def load() -> Model:
        loaders.append(threading.current_thread())
        return model

    engine = start(load)
    at_once(lambda caller: check(submit(engine, [caller]), [caller]), 20)
    engine.close()
    assert set(model.threads) == set(loaders)
    assert threading.current_thread() not in loaders
    assert model.closed == 1


def test_what_waits_when_the_device_is_free_makes_one_batch(start: Start) -> None:
    engine = start(model := FakeModel())
    model.hold()
    first = submit(engine, [1])
    model.entered()  # an idle engine waits for nobody
    others = [submit(engine, [i, i]) for i in range(2, 7)]
    model.release()
    check(first, [1])
    for i, future in enumerate(others, start=2):
        check(future, [i, i])
    assert [[len(batch.lengths) for batch in batches] for batches in model.forwards] == [[1], [5]]


def test_a_query_goes_before_bulk_that_came_first(start: Start) -> None:
    engine = start(model := FakeModel())
    model.hold()
    bulk = submit(engine, *[[1] * 60] * 20)
    model.entered()
    query = submit(engine, [2])
    model.release()
    check(query, [2])
    check(bulk, *[[1] * 60] * 20)
    assert model.rows[1] == [2]


def test_a_failing_micro_batch_fails_only_its_own_requests(start: Start) -> None:
    engine = start(model := FakeModel(streams=2))
    model.faults[13] = ValueError("boom")
    model.hold()
    first = submit(engine, [1])
    model.entered()
    bad, good = submit(engine, [13] * 60), submit(engine, [2] * 40)
    model.release()
    with pytest.raises(WorkerError, match="boom"):
        bad.result(LONG)
    check(good, [2] * 40)
    check(first, [1])
    check(submit(engine, [3]), [3])


def test_cancelled_and_expired_texts_are_never_computed(start: Start) -> None:
    engine = start(model := FakeModel())
    model.hold()
    first = submit(engine, [1])
    model.entered()
    cancelled, expired = submit(engine, [2]), submit(engine, [3], deadline=time.monotonic() + 0.01)
    kept = submit(engine, [4], deadline=time.monotonic() + LONG)
    assert cancelled.cancel()
    time.sleep(0.02)
    model.release()
    with pytest.raises(OverloadError, match="deadline"):
        expired.result(LONG)
    check(kept, [4])
    check(first, [1])
    assert model.rows == [[1], [4]]
    assert engine.waiting_tokens == 0


def test_a_request_cancelled_in_flight_harms_nobody(start: Start) -> None:
    engine = start(model := FakeModel())
    model.hold()
    cancelled = submit(engine, *[[1] * 60] * 3)
    model.entered()
    cancelled.cancel()
    other = submit(engine, *[[2] * 60] * 10)
    model.release()
    check(other, *[[2] * 60] * 10)
    assert model.rows.count([1] * 60) == 1


def test_a_full_queue_refuses_and_says_so(start: Start) -> None:
    engine = start(model := FakeModel())
    model.hold()
    submit(engine, [1])
    model.entered()
    large = submit(engine, [2] * 50, max_waiting_tokens=10)  # an empty queue takes any request, or it never ran
    with pytest.raises(
        OverloadError, match=r"50 tokens are already queued and this request has 3; max_queued_tokens is 52"
    ):
        submit(engine, [3] * 3, max_waiting_tokens=52)
    fits = submit(engine, [3] * 3, max_waiting_tokens=53)
    assert engine.waiting_tokens == 53
    large.cancel()
    room = submit(engine, [4] * 50, max_waiting_tokens=53)  # what was cancelled takes no room
    model.release()
    check(fits, [3] * 3)
    check(room, [4] * 50)


def test_a_request_without_texts_does_not_wait_for_ever(start: Start) -> None:
    assert len(submit(start(FakeModel())).result(5)) == 0


def test_close_ends_the_round_in_flight_and_fails_what_waits(start: Start, threads: Threads) -> None:
    engine = start(model := FakeModel())
    model.hold()
    begun = submit(engine, [1])
    model.entered()
    waiting = [submit(engine, [2]), submit(engine, *[[3] * 60] * 20)]
    closing = background(engine.close)
    for future in waiting:
        with pytest.raises(WorkerError, match="closed while this request waited"):
            future.result(LONG)
    with pytest.raises(WorkerError, match="closed"):
        submit(engine, [4])
    model.release()
    closing.result(LONG)
    check(begun, [1])
    assert (model.closed, model.rows, engine.alive, threads()) == (1, [[1]], False, 0)


def test_closing_twice_at_once_and_from_a_callback(start: Start) -> None:
    engine = start(model := FakeModel())
    submit(engine, [1]).add_done_callback(lambda _: engine.close())
    at_once(lambda _: engine.close(), 8)
    engine.close()
    assert model.closed == 1


def test_a_callback_that_raises_does_not_stop_the_thread(start: Start) -> None:
    engine = start(FakeModel())
    future = submit(engine, [1])
    future.add_done_callback(lambda _: 1 / 0)
    check(future, [1])
    check(submit(engine, [2]), [2])


@pytest.mark.parametrize("death", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
def test_a_dead_thread_fails_what_was_in_flight_and_is_restarted(
    start: Start, threads: Threads, death: BaseException
) -> None:
    loaded = [FakeModel(), FakeModel()]
    models = iter(loaded)
    engine = start(lambda: next(models))
    loaded[0].faults[13] = death
    loaded[0].hold()
    lost = submit(engine, *[[13] * 60] * 2)
    loaded[0].entered()
    waiting = [submit(engine, [2]), submit(engine, *[[3] * 60] * 10)]
    loaded[0].release()
    with pytest.raises(WorkerError, match=type(death).__name__):
        lost.result(LONG)
    check(waiting[0], [2])
    check(waiting[1], *[[3] * 60] * 10)
    assert loaded[0].rows == [[13] * 60]
    assert (engine.alive, engine.waiting_tokens) == (True, 0)
    assert eventually(lambda: threads() == 1)


def test_deaths_in_a_row_end_the_restarts_and_everything_that_waits(start: Start, threads: Threads) -> None:
    loads, go = list[int](), threading.Event()

    def load() -> Model:
        loads.append(len(loads))
        assert go.wait(LONG)
        model = FakeModel()
        model.faults[13] = SystemExit("worn out")
        return model

    engine = start(load)
    lost = [submit(engine, [13] * 60) for _ in range(5)]
    go.set()
    for future in lost:
        with pytest.raises(WorkerError, match="worn out"):
            future.result(LONG)
    with pytest.raises(WorkerError, match=r"could not be restarted.*worn out"):
        submit(engine, [1])
    assert eventually(lambda: not threads())
    assert (len(loads), engine.alive) == (3, False)


def test_a_model_that_gives_too_few_vectors_fails_its_requests_only(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(model := FakeModel())
    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", lambda batches: [])
        assert isinstance(submit(engine, [1]).exception(LONG), WorkerError)
    check(submit(engine, [2]), [2])


def test_closing_while_a_dead_thread_is_restarted_leaves_none(start: Start, threads: Threads) -> None:
    model, go = FakeModel(), threading.Event()
    model.faults[13] = SystemExit()
    models = iter([model])

    def load() -> Model:
        for first in models:
            return first
        assert go.wait(LONG)
        return FakeModel()

    engine = start(load)
    closer = threading.Thread(target=engine.close, daemon=True)

    def close_meanwhile(_: object) -> None:
        closer.start()
        assert eventually(lambda: not engine.alive)
        time.sleep(0.1)  # the closer joins the dying thread

    model.hold()
    submit(engine, [13]).add_done_callback(close_meanwhile)
    model.release()
    assert eventually(lambda: not engine.alive)
    closer.join(0.5)
    left = 0 if closer.is_alive() else threads()
    go.set()
    closer.join(LONG)
    assert (left, threads()) == (0, 0)


def test_many_callers_with_faults_get_the_right_vectors_or_an_error(start: Start) -> None:
    """Sixteen threads, an event loop, cancellations, deadlines, failures, NaN and two deaths, all at once."""
    model = FakeModel(streams=2)
    model.faults |= {1: ValueError("boom"), 2: SystemExit(3)}
    model.spoilt.add(3)
    engine = start(model)

    def rows_of(generator: random.Random) -> list[list[int]]:
        texts = generator.choice([1, 1, 1, 40])
        return [[generator.randint(10, 999)] * generator.randint(1, 40) for _ in range(texts)]

    def call(seed: int) -> int:
        generator, right = random.Random(seed), 0
        for turn in range(25):
            rows = rows_of(generator)
            if generator.random() < 0.1:
                rows[0] = [generator.choice([1, 3])]
            elif turn == 12 and seed in {4, 8}:
                rows[0] = [2]
            impatient = generator.random() < 0.1
            future = submit(engine, *rows, deadline=time.monotonic() + 0.001 if impatient else None)
            if generator.random() < 0.1:
                future.cancel()
            try:
                check(future, *rows)
                right += 1
            except (EmbeddingError, CancelledError):
                continue
        return right

    async def call_async() -> int:
        tasks = [asyncio.wrap_future(submit(engine, [i, i])) for i in range(100, 150)]
        vectors = await asyncio.gather(*tasks, return_exceptions=True)
        expected = [vector_of(row(i, i)) for i in range(100, 150)]
        return sum(
            not isinstance(a, BaseException) and bool((a == b).all()) for a, b in zip(vectors, expected, strict=True)
        )

    loop = background(lambda: asyncio.run(call_async()))
    assert sum(at_once(call, 16)) > 200
    assert loop.result(LONG) > 25
    check(submit(engine, [5]), [5])
    assert engine.waiting_tokens == 0
