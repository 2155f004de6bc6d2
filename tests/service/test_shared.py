"""One service per configuration and process: loaded once, for threads and event loops alike, replaced when over."""

import asyncio
import copy
import dataclasses
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import CheckpointError, ConfigurationError, WorkerError
from akidb_embeddings.service.shared import ashared_service, shared_service
from tests.conftest import LONG, FakeModel, Making, at_once, background, eventually, submit
from tests.fixtures import BUNDLED, copy_model

SOON = 5.0  # seconds; for what must not wait


def config(**values: Any) -> EmbeddingConfig:
    return EmbeddingConfig(**{"model_name": str(BUNDLED)} | values)


def test_equal_configurations_have_one_service(making: Making, tmp_path: Path) -> None:
    first = shared_service(config())
    assert first.embed(["a"]).shape == (1, 384)
    for equal in (config(), copy.deepcopy(config()), pickle.loads(pickle.dumps(config())), config().with_values()):
        assert shared_service(equal) is first
    assert shared_service(config(cache_dir=tmp_path)) is shared_service(config(cache_dir=str(tmp_path))) is not first
    assert len(making.begun) == 2


def test_sixteen_threads_at_once_load_once(making: Making) -> None:
    making.gate.clear()
    together = threading.Barrier(17)

    def ask(_: int) -> EmbeddingService:
        together.wait(LONG)
        return shared_service(config())

    asked = background(lambda: at_once(ask, 16))
    together.wait(LONG)
    assert eventually(lambda: making.begun)
    making.gate.set()
    assert {id(one) for one in asked.result(LONG)} == {id(shared_service(config()))}
    assert len(making.begun) == 1


def test_other_settings_are_another_service_on_the_same_weights(making: Making) -> None:
    first, second = shared_service(config()), shared_service(config(dimensions=8, untrained_dimensions=True))
    assert (first.dimension, second.dimension) == (384, 8)
    assert first._resources.engine is second._resources.engine


@pytest.mark.parametrize("values", [{}, {"max_tokens": 100}, {"normalize": True}, {"normalize": False}], ids=str)
def test_equal_configurations_have_one_service_whatever_set_them(
    making: Making, tmp_path: Path, values: dict[str, Any]
) -> None:
    one = config(**values)
    (tmp_path / "all.yaml").write_text(yaml.safe_dump({"embedding": one.to_dict()}), encoding="utf-8")
    first = shared_service(one)
    for equal in (
        EmbeddingConfig(**one.to_dict()),
        EmbeddingConfig.from_yaml(tmp_path / "all.yaml"),
        EmbeddingConfig.resolve(**one.to_dict()),
        dataclasses.replace(one),
    ):
        assert shared_service(equal) is first
    assert len(making.begun) == 1


@pytest.mark.parametrize("refused_first", [False, True])
def test_a_limit_that_is_set_is_another_configuration_than_the_models(making: Making, refused_first: bool) -> None:
    """Without a limit it is the model's 256; one beyond that is refused, and neither is taken for the other."""
    too_much, as_the_model = config(max_tokens=512), config()
    assert too_much != as_the_model
    if not refused_first:
        shared_service(as_the_model)
    with pytest.raises(ConfigurationError, match="max_tokens is 512"):
        shared_service(too_much)
    assert shared_service(as_the_model).settings.max_tokens == 256


def test_normalization_that_is_set_computes_with_the_same_weights(making: Making) -> None:
    as_the_model, normalized = shared_service(config()), shared_service(config(normalize=True))
    assert normalized is not as_the_model
    assert normalized.settings == as_the_model.settings
    assert normalized._resources.engine is as_the_model._resources.engine


def test_a_relative_folder_is_the_one_it_means_now(
    making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another working directory, the same words name another model."""
    for name in ("tiny-bert", "tiny-bert-cls"):
        (tmp_path / name).mkdir()
        copy_model(name, tmp_path / name / "model")
    relative = EmbeddingConfig(model_name="./model")
    for name in ("tiny-bert", "tiny-bert-cls"):
        monkeypatch.chdir(tmp_path / name)
        assert shared_service(relative).checkpoint.path == tmp_path / name / "model"


def test_a_loaded_service_outlives_its_folder(making: Making, tmp_path: Path) -> None:
    config = EmbeddingConfig(model_name=str(copy_model("tiny-bert", tmp_path / "model")))
    first = shared_service(config)
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    assert shared_service(config) is first


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CheckpointError("bad"), CheckpointError),
        (KeyboardInterrupt("bad"), WorkerError),
        (SystemExit("bad"), WorkerError),
    ],
)
def test_a_failed_load_is_told_to_all_who_wait_and_tried_anew(
    making: Making, error: BaseException, told: type[Exception]
) -> None:
    making.error = error
    making.gate.clear()
    loading = background(lambda: shared_service(config()))
    assert eventually(lambda: making.begun)
    waiting = [background(lambda: shared_service(config())) for _ in range(8)]
    time.sleep(0.2)  # until they wait; one that comes later tries again
    making.gate.set()
    assert loading.exception(LONG) is error
    for waiter in waiting:
        assert isinstance(waiter.exception(LONG), told)
        assert "bad" in str(waiter.exception())
    assert len(making.begun) == 1
    making.error = None
    assert shared_service(config()).alive


def test_one_that_its_holder_closed_is_replaced(making: Making, fake: FakeModel) -> None:
    with shared_service(config()) as first:
        pass
    assert (first.alive, fake.closed) == (False, 1)
    second = shared_service(config())
    assert second.alive
    assert shared_service(config()) is second is not first


def test_one_whose_engine_died_for_good_is_replaced(
    making: Making, fake: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*arguments: object) -> None:
        raise OSError("gone")

    first = shared_service(config())
    fake.faults[13] = SystemExit()
    with monkeypatch.context() as patch:
        patch.setattr(engine_table, "_load", gone)
        assert isinstance(submit(first._resources.engine, [13]).exception(LONG), WorkerError)
        assert eventually(lambda: not first.alive)
        with pytest.raises(OSError, match="gone"):
            shared_service(config())
    second = shared_service(config())
    assert second is not first
    assert second.embed(["a"]).shape == (1, 384)
    first.close()


def test_one_whose_engine_recovered_is_kept(making: Making, fake: FakeModel) -> None:
    first = shared_service(config())
    fake.faults[13] = SystemExit()
    assert isinstance(submit(first._resources.engine, [13]).exception(LONG), WorkerError)
    assert first.embed(["a"]).shape == (1, 384)
    assert shared_service(config()) is first


async def test_the_loop_runs_while_a_service_loads(making: Making) -> None:
    making.gate.clear()
    task = asyncio.create_task(ashared_service(config()))
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert await asyncio.to_thread(eventually, lambda: making.begun)
    assert not task.done()
    making.gate.set()
    assert await task is shared_service(config())
    assert await ashared_service(config()) is await task
    assert len(making.begun) == 1


async def test_a_cancelled_call_leaves_a_load_that_others_use(making: Making) -> None:
    making.gate.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ashared_service(config()), 0.05)
    waiting = asyncio.create_task(ashared_service(config()))
    also = asyncio.create_task(ashared_service(config()))
    assert await asyncio.to_thread(eventually, lambda: making.begun)
    await asyncio.sleep(0.01)
    also.cancel()
    with pytest.raises(asyncio.CancelledError):
        await also
    making.gate.set()
    assert (await (await waiting).aembed(["a"])).shape == (1, 384)
    assert await ashared_service(config()) is await waiting
    assert len(making.begun) == 1


def test_many_tasks_on_many_loops_load_once(making: Making) -> None:
    async def ask() -> set[int]:
        return {id(one) for one in await asyncio.gather(*[ashared_service(config()) for _ in range(50)])}

    assert set().union(*at_once(lambda _: asyncio.run(ask()), 4)) == {id(shared_service(config()))}
    assert len(making.begun) == 1


async def test_a_failed_load_is_told_to_tasks_too(making: Making) -> None:
    making.error = CheckpointError("bad")
    outcomes = await asyncio.gather(*[ashared_service(config()) for _ in range(20)], return_exceptions=True)
    assert all(isinstance(outcome, CheckpointError) for outcome in outcomes)
    making.error = None
    assert (await ashared_service(config())).alive


async def test_tasks_that_wait_for_a_load_leave_the_loops_threads_to_others(making: Making) -> None:
    """The default executor has few: a loaded service tokenizes there, and must not wait for another's download."""
    loaded = await ashared_service(config())
    making.gate.clear()
    waiting = [asyncio.create_task(ashared_service(config(dimensions=8, untrained_dimensions=True))) for _ in range(50)]
    while len(making.begun) < 2:
        await asyncio.sleep(0.001)
    try:
        vectors = await asyncio.wait_for(loaded.aembed(["word " * 1000]), SOON)
    finally:
        making.gate.set()
        await asyncio.gather(*waiting)
    assert vectors.shape == (1, 384)
