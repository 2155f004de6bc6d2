"""Engines shared between equal configurations: loaded once, replaced when stale or dead, freed with the last user."""

import logging
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.digest import digest
from akidb_embeddings.checkpoint.safetensors import Location
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.engine.pipeline import Model
from akidb_embeddings.engine.table import acquire_engine, release_engine
from akidb_embeddings.errors import CheckpointError, WorkerError
from tests.conftest import LONG, FakeModel, Start, Threads, at_once, background, check, eventually, submit


class Loader:
    """Stands in for loading a model: counts, waits while ``gate`` is closed, and fails while there is an ``error``."""

    def __init__(self) -> None:
        self.models, self.gate = list[FakeModel](), threading.Event()
        self.error: BaseException | None = None
        self.gate.set()

    def __call__(self, checkpoint: Checkpoint, memory: str, compute: str) -> Model:
        assert self.gate.wait(LONG)
        if self.error:
            raise self.error
        self.models.append(FakeModel())
        return self.models[-1]


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch, threads: object) -> Iterator[Loader]:
    monkeypatch.setattr(engine_table, "_load", loader := Loader())
    monkeypatch.setattr(engine_table, "_engines", {})
    monkeypatch.setattr(engine_table, "_users", {})
    yield loader
    loader.gate.set()
    for engine in list(engine_table._users):
        engine.close()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Any:
    return model_in(tmp_path / "model")


def model_in(folder: Path, content: bytes = b"weights") -> Any:
    """As much of a checkpoint as the table looks at."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    tensors = {"a": Location(folder / "model.safetensors", "a", (1,), "F32")}
    made = SimpleNamespace(path=folder, tensors=tensors, config={}, after_encoder=(), adapter=None)
    made.folder = SimpleNamespace(path=folder, steps=[], adapter=None)
    made._digest = digest(made.folder)
    made.file_versions = MethodType(BaseCheckpoint.file_versions, made)
    made.check_versions = MethodType(BaseCheckpoint.check_versions, made)
    return made


def test_equal_configurations_share_an_engine(loader: Loader, checkpoint: Any) -> None:
    first, second = acquire_engine(checkpoint, "fast"), acquire_engine(checkpoint, "fast")
    assert first is second
    release_engine(first)
    check(submit(second, [1]), [1])
    release_engine(second)
    assert [model.closed for model in loader.models] == [1]
    assert (engine_table._engines, engine_table._users) == ({}, {})


def test_other_memory_is_another_engine(loader: Loader, checkpoint: Any) -> None:
    engines = [acquire_engine(checkpoint, memory) for memory in ("fast", "compact")]
    assert engines[0] is not engines[1]
    release_engine(engines[0])
    check(submit(engines[1], [1]), [1])


def test_a_link_to_the_folder_is_the_same_model(loader: Loader, checkpoint: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(checkpoint.path)
    tensors = {"a": Location(tmp_path / "link" / "model.safetensors", "a", (1,), "F32")}
    linked = SimpleNamespace(**vars(checkpoint) | {"path": tmp_path / "link", "tensors": tensors})
    assert acquire_engine(checkpoint, "fast") is acquire_engine(linked, "fast")  # type: ignore[arg-type]


def test_other_arithmetic_is_another_engine(loader: Loader, checkpoint: Any) -> None:
    engines = [acquire_engine(checkpoint, "fast", compute) for compute in ("fast", "strict")]
    assert engines[0] is not engines[1]
    assert len(loader.models) == 2
    for engine in engines:
        release_engine(engine)


def test_a_folder_that_was_written_anew_is_loaded_anew(loader: Loader, checkpoint: Any) -> None:
    old = acquire_engine(checkpoint, "fast")
    new = acquire_engine(model_in(checkpoint.path, b"other weights"), "fast")
    assert new is not old
    check(submit(old, [1]), [1])
    check(submit(new, [1]), [1])
    release_engine(old)
    assert acquire_engine(checkpoint, "fast") is new


def test_weights_of_the_same_size_written_later_are_loaded_anew(loader: Loader, checkpoint: Any) -> None:
    old = acquire_engine(checkpoint, "fast")
    file = checkpoint.path / "model.safetensors"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert acquire_engine(checkpoint, "fast") is not old


def test_a_released_engine_is_not_handed_out(loader: Loader, checkpoint: Any) -> None:
    first = acquire_engine(checkpoint, "fast")
    release_engine(first)
    second = acquire_engine(checkpoint, "fast")
    assert (first.alive, second.alive, len(loader.models)) == (False, True, 2)


def test_an_engine_dead_for_good_is_replaced(loader: Loader, checkpoint: Any) -> None:
    dead = acquire_engine(checkpoint, "fast")
    loader.models[0].faults[13] = SystemExit()
    loader.error = OSError("gone")
    assert isinstance(submit(dead, [13]).exception(LONG), WorkerError)
    assert eventually(lambda: not dead.alive)
    loader.error = None
    new = acquire_engine(checkpoint, "fast")
    check(submit(new, [1]), [1])
    release_engine(dead)
    assert acquire_engine(checkpoint, "fast") is new


@pytest.mark.parametrize(
    ("error", "told"), [(CheckpointError("bad"), CheckpointError), (SystemExit("bad"), WorkerError)]
)
def test_a_failed_load_is_told_to_all_who_wait_and_tried_anew(
    loader: Loader, threads: Threads, checkpoint: Any, error: BaseException, told: type[Exception]
) -> None:
    loader.error = error
    loader.gate.clear()
    waiting = [background(lambda: acquire_engine(checkpoint, "fast")) for _ in range(4)]
    assert eventually(lambda: sum(engine_table._users.values()) == 4)
    assert threads() == 1
    loader.gate.set()
    for waiter in waiting:
        with pytest.raises(told, match="bad"):
            waiter.result(LONG)
    assert (engine_table._engines, engine_table._users) == ({}, {})
    loader.error = None
    check(submit(acquire_engine(checkpoint, "fast"), [1]), [1])


def test_a_dead_thread_does_not_load_what_was_written_meanwhile(loader: Loader, checkpoint: Any) -> None:
    """Its vectors would be another model's, under the first one's name."""
    engine = acquire_engine(checkpoint, "fast")
    loader.models[0].faults[13] = SystemExit()
    model_in(checkpoint.path, b"other weights")
    with pytest.raises(WorkerError):
        submit(engine, [13]).result(LONG)
    assert eventually(lambda: not engine.alive)
    with pytest.raises(WorkerError, match="have changed since the model was opened"):
        submit(engine, [1])
    assert len(loader.models) == 1
    release_engine(engine)


@pytest.mark.parametrize("change", ["touch", "chmod", "link", "copy"])
def test_a_dead_thread_loads_equal_files_again(loader: Loader, checkpoint: Any, change: str) -> None:
    """As after a backup, or another download of the same revision."""
    engine, file = acquire_engine(checkpoint, "fast"), checkpoint.path / "model.safetensors"
    if change == "touch":
        os.utime(file)
    elif change == "chmod":
        file.chmod(0o640)
    elif change == "link":
        os.link(file, checkpoint.path / "other")
    else:
        (checkpoint.path / "other").write_bytes(file.read_bytes())
        (checkpoint.path / "other").replace(file)
    loader.models[0].faults[13] = SystemExit()
    with pytest.raises(WorkerError):
        submit(engine, [13]).result(LONG)
    check(submit(engine, [1]), [1])
    assert len(loader.models) == 2
    release_engine(engine)


def test_many_threads_acquire_and_release(loader: Loader, checkpoint: Any) -> None:
    def use(caller: int) -> None:
        for turn in range(20):
            engine = acquire_engine(checkpoint, "fast")
            check(submit(engine, [caller, turn]), [caller, turn])
            release_engine(engine)

    at_once(use, 16)
    assert all(model.closed == 1 for model in loader.models)
    assert (engine_table._engines, engine_table._users) == ({}, {})


def test_a_result_in_between_forgives_a_death(start: Start) -> None:
    engine = start(model := FakeModel())
    model.faults[13] = SystemExit()
    for turn in range(6):
        assert isinstance(submit(engine, [13]).exception(LONG), WorkerError)
        check(submit(engine, [turn]), [turn])


def test_a_thread_that_dies_while_it_is_closed_has_no_successor(start: Start, threads: Threads) -> None:
    loaded: list[FakeModel] = []

    def load() -> Model:
        loaded.append(FakeModel())
        loaded[-1].faults[13] = SystemExit()
        loaded[-1].hold()
        return loaded[-1]

    engine = start(load)
    lost = submit(engine, [13])
    assert eventually(lambda: loaded)
    loaded[0].entered()
    closing = background(engine.close)
    assert eventually(lambda: not engine.alive)
    loaded[0].release()
    closing.result(LONG)
    assert isinstance(lost.exception(LONG), WorkerError)
    assert (threads(), len(loaded)) == (0, 1)


def test_a_successor_that_cannot_be_started_ends_what_waits(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system gives a process no more threads."""

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    engine = start(model := FakeModel())
    model.faults[13] = SystemExit()
    model.hold()
    lost, waiting = submit(engine, [13]), submit(engine, *[[1] * 60] * 9)
    model.entered()
    monkeypatch.setattr(engine, "_start", refuse)
    model.release()
    for future in (lost, waiting):
        assert isinstance(future.exception(5), WorkerError)
    with pytest.raises(WorkerError):
        submit(engine, [1])


def test_closing_while_the_model_loads(start: Start) -> None:
    go, model = threading.Event(), FakeModel()

    def load() -> Model:
        assert go.wait(LONG)
        return model

    engine = start(load)
    waiting = submit(engine, [1])
    closing = background(engine.close)
    with pytest.raises(WorkerError):
        waiting.result(LONG)
    go.set()
    closing.result(LONG)
    assert model.closed == 1


@pytest.mark.parametrize("error", [OSError("gone"), SystemExit("gone")])
def test_a_successor_that_cannot_load_ends_what_waits(start: Start, error: BaseException) -> None:
    model = FakeModel()
    model.faults[13] = SystemExit()
    sources: Iterator[Any] = iter([model])

    def load() -> Model:
        for source in sources:
            return source  # type: ignore[no-any-return]
        raise error

    engine = start(load)
    model.hold()
    lost, waiting = submit(engine, [13]), submit(engine, *[[1] * 60] * 9)
    model.release()
    assert isinstance(lost.exception(LONG), WorkerError)
    with pytest.raises(WorkerError, match="gone"):
        waiting.result(LONG)
    with pytest.raises(WorkerError, match="gone"):
        submit(engine, [1])


@pytest.mark.parametrize(
    ("error", "told"), [(CheckpointError("bad"), CheckpointError), (SystemExit("bad"), WorkerError)]
)
def test_a_model_that_does_not_load_is_an_error_for_all_who_wait(
    start: Start, error: BaseException, told: type[Exception]
) -> None:
    go = threading.Event()

    def load() -> Model:
        assert go.wait(LONG)
        raise error

    engine = start(load)
    queued = submit(engine, [1])
    waiters = [background(engine.wait_until_loaded) for _ in range(4)]
    go.set()
    for waiter in waiters:
        with pytest.raises(told, match="bad"):
            waiter.result(LONG)
    with pytest.raises(WorkerError, match="bad"):
        queued.result(LONG)
    assert not engine.alive


def test_a_dead_model_is_out_of_memory_before_its_successor_loads(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # kept records would keep the frames of the death, and they the model
    models: list[weakref.ref[FakeModel]] = []
    at_load: list[FakeModel | None] = []

    def load() -> Model:
        at_load.extend(model() for model in models)
        model = FakeModel()
        model.faults[13] = SystemExit()
        models.append(weakref.ref(model))
        return model

    engine = start(load)
    assert isinstance(submit(engine, [13]).exception(LONG), WorkerError)
    check(submit(engine, [1]), [1])
    assert at_load == [None]
