"""Models load when they are asked for, each once, and stay for as long as they are told to."""

import asyncio
import math
import threading
import time
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, ModelPool, PooledModel, RerankService
from akidb_embeddings.errors import (
    CheckpointError,
    ConfigurationError,
    DeadlineError,
    InputError,
    ModelNotFoundError,
)
from akidb_embeddings.pool.model import Service
from tests.conftest import LONG, eventually
from tests.pool.conftest import NAMES, TEXTS, Opening, config, configs, embed, reranker_config, state


def test_a_model_is_loaded_by_its_first_call_and_gives_its_own_vectors(pool: ModelPool) -> None:
    assert {one.state for one in pool.states().values()} == {"unloaded"}
    for name in NAMES:
        with pool.use(name) as service, EmbeddingService(config=config(name)) as alone:
            np.testing.assert_array_equal(embed(service), alone.embed(TEXTS))
    assert {one.state for one in pool.states().values()} == {"loaded"}


async def test_the_async_twin_gives_the_same(pool: ModelPool) -> None:
    async with pool.ause(NAMES[1]) as service:
        assert isinstance(service, EmbeddingService)
        vectors = await service.aembed(TEXTS)
    with pool.use(NAMES[1]) as again:
        assert again is service
        np.testing.assert_array_equal(embed(again), vectors)


def test_a_reranker_is_a_model_like_others() -> None:
    models = {"r": PooledModel(reranker_config(), keep_alive=0), "e": PooledModel(config(NAMES[0]))}
    with ModelPool(models) as pool, RerankService(config=reranker_config()) as alone:
        assert [model.is_reranker for model in pool.models.values()] == [True, False]
        with pool.use("r") as service:
            assert isinstance(service, RerankService)
            np.testing.assert_array_equal(service.score([("a", "b")]), alone.score([("a", "b")]))
        assert eventually(lambda: state(pool, "r") == "unloaded")


def test_first_calls_at_once_share_one_load(pool: ModelPool, opening: Opening) -> None:
    opening.gate.clear()
    found: list[Service] = []

    def use() -> None:
        with pool.use(NAMES[0]) as service:
            found.append(service)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: state(pool) == "loading")
    opening.gate.set()
    for thread in threads:
        thread.join(LONG)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert opening.opened == [NAMES[0]]


def test_loading_one_model_does_not_hold_up_the_others(pool: ModelPool, opening: Opening) -> None:
    pool.load(NAMES[0])
    opening.gate.clear()
    thread = threading.Thread(target=pool.load, args=[NAMES[1]])
    thread.start()
    assert eventually(lambda: state(pool, NAMES[1]) == "loading")
    with pool.use(NAMES[0], timeout=1) as service:
        embed(service)
    opening.gate.set()
    thread.join(LONG)


def test_a_state_tells_of_memory_and_times(pool: ModelPool) -> None:
    before = pool.states()[NAMES[0]]
    assert (before.memory_bytes, before.loaded_at, before.last_used, before.loads) == (None, None, None, 0)
    begin = time.time()
    with pool.use(NAMES[0]) as service:
        within = pool.states()[NAMES[0]]
        assert within.users == 1
        assert within.memory_bytes == service.memory_bytes > 0
    after = pool.states()[NAMES[0]]
    assert after.users == 0
    assert after.loads == 1
    assert after.expires_at is None
    assert after.keep_alive == math.inf
    assert after.loaded_at is not None
    assert after.last_used is not None
    assert begin - 0.1 < after.loaded_at <= after.last_used < time.time() + 0.1
    assert repr(pool) == "ModelPool(tiny-bert: loaded, tiny-qwen3: unloaded, tiny-mpnet: unloaded)"


def test_an_idle_model_leaves_after_its_time(opening: Opening) -> None:
    models = {"short": PooledModel(config(NAMES[0]), keep_alive=0.2), "long": PooledModel(config(NAMES[1]))}
    with ModelPool(models, open_service=opening) as pool:
        pool.load("short")
        pool.load("long")
        expires_at = pool.states()["short"].expires_at
        assert expires_at is not None
        assert 0 < expires_at - time.time() <= 0.2
        with pool.use("short"):
            time.sleep(0.3)
            assert state(pool, "short") == "loaded"  # whoever uses it keeps it
        assert state(pool, "short") == "loaded"
        assert eventually(lambda: state(pool, "short") == "unloaded")
        assert state(pool, "long") == "loaded"
        pool.load("short")
        assert opening.opened == ["short", "long", "short"]


@pytest.mark.parametrize(("keep_alive", "stays"), [(0, False), (-1, True), (math.inf, True), (None, True)])
def test_a_call_says_for_how_long_its_model_stays(pool: ModelPool, keep_alive: float | None, stays: bool) -> None:
    with pool.use(NAMES[0], keep_alive=keep_alive):
        pass
    if stays:
        time.sleep(0.1)
        assert state(pool) == "loaded"
    else:
        assert eventually(lambda: state(pool) == "unloaded")


def test_the_last_call_decides(pool: ModelPool) -> None:
    with pool.use(NAMES[0], keep_alive=0), pool.use(NAMES[0], keep_alive=50):
        pass
    # The outer one ended last.
    assert eventually(lambda: state(pool) == "unloaded")


def test_a_pinned_model_stays_whatever_a_call_says() -> None:
    with ModelPool({"p": PooledModel(config(NAMES[0]), keep_alive=0, pinned=True)}) as pool:
        with pool.use("p", keep_alive=0):
            pass
        time.sleep(0.1)
        assert state(pool, "p") == "loaded"
        assert pool.unload("p")  # it leaves by name alone
        assert state(pool, "p") == "unloaded"


@pytest.mark.parametrize("keep_alive", [math.nan, True, "5m"])
def test_a_time_is_a_number(pool: ModelPool, keep_alive: float) -> None:
    with pytest.raises(ConfigurationError, match="keep_alive"), pool.use(NAMES[0], keep_alive=keep_alive):
        pass
    with pytest.raises(ConfigurationError, match="keep_alive"):
        PooledModel(config(NAMES[0]), keep_alive=keep_alive)


def test_a_load_that_fails_fails_all_that_wait_and_the_next_call_tries_again(pool: ModelPool, opening: Opening) -> None:
    opening.broken = {NAMES[0]}
    opening.gate.clear()
    errors: list[Exception] = []

    def use() -> None:
        with pytest.raises(CheckpointError) as caught, pool.use(NAMES[0]):
            pass
        errors.append(caught.value)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    opening.gate.set()
    for thread in threads:
        thread.join(LONG)
    assert len(errors) == 3
    assert (state(pool), pool.states()[NAMES[0]].problem) == ("unloaded", "tiny-bert is damaged")
    pool.load(NAMES[1])
    opening.broken = set()
    with pool.use(NAMES[0]) as service:
        embed(service)
    assert pool.states()[NAMES[0]].problem == ""


def test_an_error_that_nobody_expected_reaches_the_caller_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def explode(name: str, _: object) -> Service:
        raise ZeroDivisionError(name)

    with ModelPool(configs(), open_service=explode) as pool:
        with pytest.raises(ZeroDivisionError), pool.use(NAMES[0]):
            pass
        assert "tiny-bert could not be loaded" in caplog.text


def test_names_are_the_pools_own(pool: ModelPool) -> None:
    with pytest.raises(ModelNotFoundError, match=r"name is '/etc/passwd'; this pool has tiny-bert, tiny-qwen3"):
        pool.load("/etc/passwd")
    with pytest.raises(ModelNotFoundError):
        pool.unload("minilm-l6-v2")


async def test_a_call_that_does_not_wait_any_longer(pool: ModelPool, opening: Opening) -> None:
    opening.gate.clear()
    with (
        pytest.raises(DeadlineError, match=r"tiny-bert was not loaded within 0\.05 s"),
        pool.use(NAMES[0], timeout=0.05),
    ):
        pass
    with pytest.raises(DeadlineError):
        await pool.aload(NAMES[0], timeout=0.05)
    waiting = asyncio.ensure_future(pool.aload(NAMES[0]))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    opening.gate.set()
    await pool.aload(NAMES[0])
    assert pool.states()[NAMES[0]].users == 0
    assert opening.opened == [NAMES[0]]
    assert await pool.aunload(NAMES[0])


@pytest.mark.long
async def test_cancelled_calls_leave_no_users(pool: ModelPool) -> None:
    """Whenever the task is cancelled: before, while and after the service is handed over."""
    for step in range(30):
        task = asyncio.ensure_future(pool.aload(NAMES[0]))
        await asyncio.sleep(0.001 * step)
        task.cancel()
        await asyncio.wait([task])
        await pool.aunload(NAMES[0])  # it would wait for ever for a user that has gone
    assert pool.states()[NAMES[0]].users == 0


def test_other_models_take_the_place_of_old_ones(pool: ModelPool, opening: Opening) -> None:
    for name in NAMES:
        pool.load(name)
    other = EmbeddingService(config=config(NAMES[1])).config.with_values(normalize=False)
    with pool.use(NAMES[0]) as kept, pool.use(NAMES[2]) as removed:
        models = {
            NAMES[0]: PooledModel(config(NAMES[0]), keep_alive=7),
            NAMES[1]: PooledModel(other),
            "new": PooledModel(config("tiny-roberta")),
        }
        pool.replace(models)
        assert list(pool.models) == [NAMES[0], NAMES[1], "new"]
        embed(removed)
    with pool.use(NAMES[0]) as again:
        assert again is kept
    assert pool.states()[NAMES[0]].keep_alive == 7
    assert eventually(lambda: not removed.alive)
    with pytest.raises(ModelNotFoundError):
        pool.load(NAMES[2])
    with pool.use(NAMES[1]) as changed:
        assert changed.config == other
    pool.load("new")
    assert opening.opened == [*NAMES, NAMES[1], "new"]


@pytest.mark.parametrize("keep_alive", [-1, -0.5])
def test_a_negative_time_is_for_ever_wherever_it_is_said(keep_alive: float) -> None:
    model = PooledModel(config(NAMES[0]), keep_alive=keep_alive)
    assert model.keep_alive == math.inf
    with pytest.raises(ConfigurationError, match="keep_alive"):
        PooledModel(config(NAMES[0]), keep_alive=None)  # type: ignore[arg-type]  # the error is tested


def test_each_model_is_announced_before_its_files_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def size(_: object) -> int:
        steps.append("sized")
        return 1

    monkeypatch.setattr("akidb_embeddings.pool.pool.expected_bytes", size)
    with ModelPool(configs(), max_memory=10**9, announce=lambda one: steps.append(one.model_name)) as pool:
        pool.load(NAMES[0])
    assert steps == [config(NAMES[0]).model_name, "sized"]


@pytest.mark.parametrize("timeout", [math.nan, "5"])
async def test_a_timeout_is_a_number_of_seconds(pool: ModelPool, timeout: Any) -> None:
    for wait in (pool.load, pool.unload):
        with pytest.raises(InputError, match="timeout is"):
            wait(NAMES[0], timeout=timeout)
    with pytest.raises(InputError, match="timeout is"):
        await pool.aload(NAMES[0], timeout=timeout)


async def test_an_infinite_timeout_is_none(pool: ModelPool) -> None:
    pool.load(NAMES[0], timeout=math.inf)
    assert pool.unload(NAMES[0], timeout=1e300)
    await pool.aload(NAMES[0], timeout=math.inf)
