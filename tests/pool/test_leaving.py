"""Models leave once nobody uses them any more, and a pool ends with all of them."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from numpy.typing import NDArray

from akidb_embeddings import ModelPool
from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.errors import (
    DeadlineError,
    ModelNotFoundError,
    WorkerError,
)
from akidb_embeddings.pool.model import Service
from tests.conftest import LONG, background, eventually, mlx_threads, run_python
from tests.pool.conftest import NAMES, Opening, config, configs, embed, reranker_config, state


def test_unloading_waits_for_those_who_use_the_model(pool: ModelPool) -> None:
    assert not pool.unload(NAMES[0])
    with pool.use(NAMES[0]) as service:
        unloading = threading.Thread(target=pool.unload, args=[NAMES[0]])
        unloading.start()
        assert eventually(lambda: state(pool) == "unloading")
        embed(service)
    unloading.join(LONG)
    assert state(pool) == "unloaded"
    assert not service.alive


def test_a_call_for_a_model_that_is_leaving_loads_it_again(pool: ModelPool) -> None:
    with pool.use(NAMES[0]) as first:
        unloading = threading.Thread(target=pool.unload, args=[NAMES[0]])
        unloading.start()
        assert eventually(lambda: state(pool) == "unloading")
        found: list[Service] = []

        def use() -> None:
            with pool.use(NAMES[0]) as service:
                embed(service)
                found.append(service)

        later = threading.Thread(target=use)
        later.start()
        time.sleep(0.05)
        assert not found
    unloading.join(LONG)
    later.join(LONG)
    assert found
    assert found[0] is not first


def test_a_call_that_waits_for_a_model_that_is_removed(pool: ModelPool, opening: Opening) -> None:
    before = mlx_threads()
    opening.gate.clear()
    errors: list[Exception] = []

    def use() -> None:
        with pytest.raises(ModelNotFoundError) as caught, pool.use(NAMES[0]):
            pass
        errors.append(caught.value)

    thread = threading.Thread(target=use)
    thread.start()
    assert eventually(lambda: state(pool) == "loading")
    pool.replace(configs(NAMES[1]))
    thread.join(LONG)
    assert errors
    opening.gate.set()
    assert eventually(lambda: opening.opened == [NAMES[0]] and mlx_threads() == before)


def test_who_waits_for_a_model_gets_the_one_that_takes_its_place(opening: Opening) -> None:
    """As after SIGHUP, while a model loads whose section in the file has changed."""
    other = config(NAMES[1])
    with ModelPool(configs(NAMES[0]), open_service=opening) as pool:
        opening.gate.clear()

        def use() -> object:
            with pool.use(NAMES[0]) as service:
                assert pool.states()[NAMES[0]].users
                return service.config

        waiting = [background(use) for _ in range(3)]
        assert eventually(lambda: state(pool) == "loading")
        pool.replace({NAMES[0]: other})
        opening.gate.set()
        assert [one.result(LONG) for one in waiting] == [other] * 3
        assert pool.states()[NAMES[0]].users == 0
        assert opening.opened == [NAMES[0]] * 2


def test_who_waits_for_embeddings_does_not_get_a_reranker(opening: Opening) -> None:
    with ModelPool(configs(NAMES[0]), open_service=opening) as pool:
        opening.gate.clear()
        waiting = background(lambda: pool.load(NAMES[0]))
        assert eventually(lambda: state(pool) == "loading")
        pool.replace({NAMES[0]: reranker_config()})
        with pytest.raises(ModelNotFoundError):
            waiting.result(LONG)
        opening.gate.set()


def test_closing_ends_everything(opening: Opening) -> None:
    before = mlx_threads()
    pool = ModelPool(configs(), open_service=opening)
    pool.load(NAMES[0])
    opening.gate.clear()
    errors: list[Exception] = []

    def use() -> None:
        with pytest.raises(WorkerError) as caught, pool.use(NAMES[1]):
            pass
        errors.append(caught.value)

    thread = threading.Thread(target=use)
    thread.start()
    assert eventually(lambda: state(pool, NAMES[1]) == "loading")
    pool.close()
    pool.close()
    thread.join(LONG)
    assert errors
    with pytest.raises(WorkerError, match="closed"):
        pool.load(NAMES[0])
    opening.gate.set()
    assert eventually(lambda: mlx_threads() <= before)
    assert eventually(lambda: not {"akidb-load", "akidb-unload"} & {thread.name for thread in threading.enumerate()})


def test_whoever_closes_waits_until_the_models_are_closed(pool: ModelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the second one: a program that went on to its end would do so while MLX computes."""
    ends, start = threading.Event(), MLXModel.start

    def late(self: MLXModel, batches: Sequence[MicroBatch]) -> Callable[[], list[NDArray[np.float32]]]:
        computing.set()
        assert ends.wait(LONG)
        return start(self, batches)

    def use() -> None:
        with pool.use(NAMES[0]) as service:
            embed(service)

    pool.load(NAMES[0])
    computing = threading.Event()
    monkeypatch.setattr(MLXModel, "start", late)
    with ThreadPoolExecutor() as threads:
        call = threads.submit(use)
        assert computing.wait(LONG)
        closing = [threads.submit(pool.close) for _ in range(2)]
        assert not wait(closing, 0.2).done
        ends.set()
        assert not wait(closing, LONG).not_done
        assert isinstance(call.exception(LONG), WorkerError | None)


def test_a_call_that_has_given_up_loads_nothing_again(pool: ModelPool, opening: Opening) -> None:
    with pool.use(NAMES[0]):
        unloading = threading.Thread(target=pool.unload, args=[NAMES[0]])
        unloading.start()
        assert eventually(lambda: state(pool) == "unloading")
        with pytest.raises(DeadlineError), pool.use(NAMES[0], timeout=0.05):
            pass
    unloading.join(LONG)
    time.sleep(0.1)
    assert state(pool) == "unloaded"
    assert opening.opened == [NAMES[0]]


def test_unloading_waits_no_longer_than_it_may(pool: ModelPool) -> None:
    with pool.use(NAMES[0]):
        with pytest.raises(DeadlineError, match=r"tiny-bert was not unloaded within 0\.05 s"):
            pool.unload(NAMES[0], timeout=0.05)
        assert state(pool) == "unloading"
    assert eventually(lambda: state(pool) == "unloaded")


def test_a_forked_process_is_told_so() -> None:
    """In a process of its own: this one has threads that a fork would lose."""
    run_python(
        """
import os, sys
from akidb_embeddings import EmbeddingConfig, ModelPool, WorkerError
pool = ModelPool({"m": EmbeddingConfig(model_name="minilm-l6-v2")}, max_memory=10**9)
pool.load("m")
child = os.fork()
if child == 0:
    told = 0
    for call in (lambda: pool.load("m"), lambda: pool.unload("m"), pool.states, lambda: pool.replace({})):
        try:
            call()
        except WorkerError as error:
            told += "spawn" in str(error)
    pool.close()
    os._exit(told)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
pool.close()
"""
    )
