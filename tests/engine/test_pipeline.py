"""Micro-batches on a device that computes while the thread goes on: order, overlap, failures, shapes."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.engine.scheduler import BUSY_TOKENS
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.vectors.finish import Vectors
from tests.conftest import LONG, FakeModel, Start, check, eventually, row, submit, vector_of


class Device(FakeModel):
    """A model that computes only when its vectors are asked for, as a GPU may; the log tells what came when."""

    def __init__(self, ahead: int = 1, few_shapes: bool = False, tokens_per_batch: int = 16) -> None:
        super().__init__(tokens_per_batch=tokens_per_batch)
        self.ahead, self.few_shapes, self.is_gpu, self.obeys_batch_size = ahead, few_shapes, True, False
        self.log: list[tuple[str, int]] = []
        self.shapes: list[tuple[int, ...]] = []
        self.begin_faults: set[int] = set()

    def start(self, batches: Sequence[MicroBatch]) -> Callable[[], list[Vectors]]:
        number = int(batches[0].ids[0, 0])
        if number in self.begin_faults:
            raise RuntimeError("no graph")
        self.log.append(("start", number))
        self.shapes += [batch.ids.shape for batch in batches]

        def finish() -> list[Vectors]:
            self.log.append(("read", number))
            return self.forward(batches)

        return finish


def three_batches(start: Start, model: Device) -> list[tuple[str, int]]:
    """The log of a request whose texts take three micro-batches."""
    rows = [[number] * 16 for number in (1, 2, 3)]
    check(submit(start(model), *rows), *rows)
    return model.log


def test_the_next_micro_batch_starts_before_the_last_is_read(start: Start) -> None:
    log = three_batches(start, Device())
    assert log == [("start", 1), ("start", 2), ("read", 1), ("start", 3), ("read", 2), ("read", 3)]


def test_the_speed_is_known_while_queries_come(start: Start) -> None:
    """They make the micro-batches of lists as small as ``BUSY_TOKENS``."""
    engine = start(Device(tokens_per_batch=8 * BUSY_TOKENS))
    for _ in range(3):
        submit(engine, [1]).result(LONG)
        submit(engine, *[[2] * 512] * (2 * BUSY_TOKENS // 512)).result(LONG)
    assert engine.statistics.tokens_per_second


def test_without_ahead_each_is_read_before_the_next(start: Start) -> None:
    log = three_batches(start, Device(ahead=0))
    assert log == [("start", 1), ("read", 1), ("start", 2), ("read", 2), ("start", 3), ("read", 3)]


def test_the_last_micro_batch_is_read_without_another_request(start: Start) -> None:
    engine = start(Device())
    for number in range(1, 4):
        check(submit(engine, [number]), [number])


@pytest.mark.parametrize("where", ["start", "read"])
def test_a_micro_batch_that_fails_between_others_fails_its_requests_only(start: Start, where: str) -> None:
    model = Device()
    if where == "start":
        model.begin_faults = {2}
    else:
        model.faults = {2: RuntimeError("no memory")}
    engine = start(model)
    model.hold()
    futures = [submit(engine, [number] * 16) for number in (1, 2, 3)]
    model.release()
    check(futures[0], [1] * 16)
    with pytest.raises(WorkerError, match="no graph" if where == "start" else "no memory"):
        futures[1].result(LONG)
    check(futures[2], [3] * 16)
    assert engine.statistics.failures == 1
    assert engine.statistics.texts == 2


def test_a_thread_that_dies_fails_what_is_on_the_device_and_serves_again(start: Start) -> None:
    model = Device()
    engine = start(model)
    model.faults = {1: SystemExit("driver gone")}
    model.hold()
    futures = [submit(engine, [number] * 16) for number in (1, 2)]
    model.release()
    for future in futures:
        with pytest.raises(WorkerError, match="died"):
            future.result(LONG)
    check(submit(engine, [3]), [3])


def test_closing_reads_what_was_started(start: Start) -> None:
    model = Device()
    engine = start(model)
    model.hold()
    future = submit(engine, [1] * 16)
    model.entered()
    closing = threading.Thread(target=engine.close)
    closing.start()
    model.release()
    check(future, [1] * 16)
    closing.join(LONG)
    assert model.closed == 1


def test_batch_size_does_not_starve_a_gpu(start: Start) -> None:
    rows = [[number, 1] for number in range(1, 9)]
    model = Device(tokens_per_batch=64)
    check(submit(start(model), *rows, max_rows=1), *rows)
    assert model.shapes == [(8, 8)]


def test_texts_are_rounded_up_to_few_shapes_and_their_vectors_stay_theirs(start: Start) -> None:
    model = Device(few_shapes=True, tokens_per_batch=96)
    engine = start(model)
    for count in (1, 2, 3, 5, 8, 11, 12):
        rows = [[count, number, 7] for number in range(1, count + 1)]
        check(submit(engine, *rows), *rows)
    # Powers of two, and as many as a micro-batch may have.
    assert model.shapes == [(1, 8), (2, 8), (4, 8), (8, 8), (8, 8), (12, 8), (12, 8)]
    assert engine.statistics.texts == 1 + 2 + 3 + 5 + 8 + 11 + 12


def test_a_gpu_warms_up_when_nothing_waits_and_says_so(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = Device(few_shapes=True)
    engine = start(model)
    engine.wait_until_loaded()  # before that, nobody knows that it is a GPU
    assert not engine.statistics.warming_up
    engine.warm_up("mean")
    assert eventually(lambda: not engine.statistics.warming_up)
    shapes = set(model.shapes)
    assert {(1, 8), (1, 64), (2, 8), (32, 64)} <= shapes
    assert eventually(lambda: "Warmed up in" in caplog.text)
    assert engine.statistics.warm_up_seconds > 0
    assert engine.statistics.texts == 0
    engine.warm_up("mean")
    check(submit(engine, [1]), [1])
    assert set(model.shapes) == shapes


def test_a_request_goes_before_the_rest_of_the_warm_up(start: Start) -> None:
    model = Device(few_shapes=True)
    engine = start(model)
    model.hold()
    engine.warm_up("mean")
    model.entered()
    future = submit(engine, [5, 6])
    model.release()
    check(future, [5, 6])
    numbers = [number for what, number in model.log if what == "start"]
    assert numbers.index(5) == 1


def test_a_warm_up_that_fails_harms_nobody(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    model = Device(few_shapes=True)
    model.begin_faults = {0}
    engine = start(model)
    engine.warm_up("mean")
    assert eventually(lambda: "Warming up failed" in caplog.text)
    check(submit(engine, [5]), [5])
    assert "Warmed up" not in caplog.text


def test_a_cpu_does_not_warm_up(start: Start) -> None:
    """Nor does it say so while it computes the first texts."""
    engine = start(model := FakeModel())
    model.hold()
    future = submit(engine, [5])
    model.entered()
    engine.warm_up("mean")
    assert not engine.statistics.warming_up
    model.release()
    check(future, [5])
    check(submit(engine, [6]), [6])  # the thread had nothing to do in between
    assert len(model.forwards) == 2


def test_a_gpu_is_kept_warm_for_as_long_as_asked(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akidb_embeddings.engine.idle._KEEP_WARM_INTERVAL", 0.005)
    model = Device()
    engine = start(model)
    rows = [row(5)]
    vectors = engine.submit(rows, pooling="mean", max_rows=1, max_waiting_tokens=100, keep_warm=0.2).result(LONG)
    np.testing.assert_array_equal(vectors, [vector_of(rows[0])])
    assert eventually(lambda: len(model.forwards) > 3)
    count = 0

    def has_stopped() -> bool:
        nonlocal count
        before, count = count, len(model.forwards)
        threading.Event().wait(0.05)
        return before == count == len(model.forwards)

    assert eventually(has_stopped)


def test_a_gpu_may_rest_without_being_asked(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akidb_embeddings.engine.idle._KEEP_WARM_INTERVAL", 0.001)
    model = Device()
    check(submit(start(model), [5]), [5])
    threading.Event().wait(0.1)
    assert len(model.forwards) == 1


@pytest.mark.parametrize("alone", [True, False])
def test_micro_batches_of_a_request_that_is_alone_say_so(start: Start, alone: bool) -> None:
    """Their vectors must not depend on other programs either: they decide how many threads a product has."""
    model = FakeModel()
    future = start(model).submit([row(1, 2)], pooling="mean", max_rows=8, max_waiting_tokens=100, alone=alone)
    future.result(LONG)
    assert [[batch.alone for batch in batches] for batches in model.forwards] == [[alone]]


def test_statistics_tell_the_threads(start: Start) -> None:
    model = FakeModel()
    engine = start(model)
    assert (engine.statistics.lone_threads, engine.statistics.thread_drops) == (0, 0)
    model.lone_threads, model.thread_drops = 1, 3
    check(submit(engine, [1]), [1])
    assert (engine.statistics.lone_threads, engine.statistics.thread_drops) == (1, 3)
