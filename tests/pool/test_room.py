"""All loaded models together stay below the limit, and who needs memory gets it in turn."""

import threading
import time
from collections.abc import Iterator

import pytest

from akidb_embeddings import ModelPool, PooledModel
from akidb_embeddings.errors import CheckpointError, ConfigurationError, MemoryLimitError, ModelNotFoundError
from akidb_embeddings.pool.model import AnyConfig, Service
from akidb_embeddings.pool.opening import open_service
from tests.conftest import LONG, eventually
from tests.fixtures import model_path
from tests.pool.conftest import NAMES, Opening, config, configs, sizes

A, B, C = NAMES
_SIZES = sizes()
# Two of them fit, whichever, and never three.
_TWO = sum(sorted(_SIZES.values())[1:])


def loaded(pool: ModelPool) -> set[str]:
    return {name for name, state in pool.states().items() if state.state == "loaded"}


def taken(pool: ModelPool) -> int:
    return sum(service.memory_bytes for service in pool.services().values())


@pytest.fixture
def small(opening: Opening) -> Iterator[ModelPool]:
    """Three models, and memory for two."""
    assert sum(_SIZES.values()) > _TWO
    with ModelPool(configs(), max_memory=_TWO, open_service=opening) as made:
        yield made


def test_the_least_recently_used_one_leaves(small: ModelPool) -> None:
    small.load(A)
    small.load(B)
    small.load(A)
    small.load(C)
    assert loaded(small) == {A, C}
    small.load(B)
    assert loaded(small) == {C, B}
    assert taken(small) <= _TWO


def test_a_model_that_takes_more_than_when_it_was_loaded_makes_another_leave(
    small: ModelPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU where float16 is too small for it, so that its weights are loaded again in float32."""
    small.load(A)
    small.load(B)
    with small.use(B) as service:
        larger = service.memory_bytes + _TWO // 2
        monkeypatch.setattr(type(service), "memory_bytes", larger)
    assert eventually(lambda: loaded(small) == {B})
    assert small.states()[B].memory_bytes == larger


def test_a_model_in_use_stays_and_the_other_waits(small: ModelPool) -> None:
    small.load(B)
    with small.use(A):
        small.load(C)
        assert loaded(small) == {A, C}


@pytest.mark.long
def test_all_in_use_and_who_waits_for_long_gets_the_place_of_one_that_takes_no_more_calls(small: ModelPool) -> None:
    begin = time.monotonic()
    waiting = threading.Thread(target=small.load, args=[C])
    with small.use(A), small.use(B):
        waiting.start()
        time.sleep(0.5)
        with small.use(A, timeout=0.2):  # until then, calls come and go
            pass
        assert eventually(lambda: "unloading" in {state.state for state in small.states().values()})
        assert time.monotonic() - begin > 0.9
        again = threading.Thread(target=small.load, args=[B])
        again.start()
    waiting.join(LONG)
    again.join(LONG)
    assert {B, C} == loaded(small) or {A, B} == loaded(small)
    assert small.states()[C].loads == 1
    assert taken(small) <= _TWO


def test_a_call_that_ends_makes_room_at_once(small: ModelPool) -> None:
    waiting = threading.Thread(target=small.load, args=[C])
    with small.use(A):
        with small.use(B):
            waiting.start()
            time.sleep(0.1)
        waiting.join(0.8)
        assert not waiting.is_alive()
        assert loaded(small) == {A, C}


def test_a_model_that_never_fits_is_refused_with_figures() -> None:
    limit = _SIZES[A] - 1
    with ModelPool(configs(), max_memory=limit) as pool:
        with pytest.raises(MemoryLimitError, match=r"max_memory is 0\.\d MB; tiny-bert needs 0\.\d MB\.") as caught:
            pool.load(A)
        error = caught.value
        assert (error.model, error.needed, error.taken, error.limit) == (A, _SIZES[A], 0, limit)
        assert "needs" in pool.states()[A].problem
        with pytest.raises(MemoryLimitError):
            pool.load(A)


def test_pinned_models_stay_and_what_does_not_fit_beside_them_is_refused() -> None:
    models = {A: PooledModel(config(A), pinned=True), B: PooledModel(config(B)), C: PooledModel(config(C))}
    with ModelPool(models, max_memory=_SIZES[A] + _SIZES[B]) as pool:
        pool.load(A)
        pool.load(B)
        if _SIZES[C] <= _SIZES[B]:
            pool.load(C)
            assert loaded(pool) == {A, C}
        pool.replace(models, max_memory=_SIZES[A] + 1000)
        with pytest.raises(MemoryLimitError, match="of which pinned models take") as caught:
            pool.load(B)
        assert caught.value.taken == _SIZES[A]
        assert loaded(pool) == {A}


def test_a_lower_limit_lets_the_least_recently_used_ones_leave() -> None:
    with ModelPool(configs()) as pool:
        for name in NAMES:
            pool.load(name)
        pool.replace(configs(), max_memory=_TWO)
        assert eventually(lambda: loaded(pool) == {B, C})
        pool.replace(configs(), max_memory=None)
        pool.load(A)
        assert loaded(pool) == set(NAMES)


def test_a_model_larger_than_expected_is_found_out(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akidb_embeddings.pool.pool.expected_bytes", lambda _: 1)
    with ModelPool(configs(), max_memory=_TWO, open_service=opening) as pool:
        pool.load(A)
        pool.load(B)
        pool.load(C)
        assert loaded(pool) == {B, C}
        assert taken(pool) <= _TWO
    with ModelPool(configs(), max_memory=1000, open_service=opening) as pool:
        with pytest.raises(MemoryLimitError) as caught:
            pool.load(A)
        assert caught.value.needed == _SIZES[A]
        assert not pool.services()


def test_two_that_are_larger_than_expected_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {str(model_path(name)): int(0.6 * size) for name, size in _SIZES.items()}
    monkeypatch.setattr("akidb_embeddings.pool.pool.expected_bytes", lambda config: expected[config.model_name])
    limit = int(0.8 * (_SIZES[A] + _SIZES[B]))
    both_open = threading.Barrier(2)
    opened: list[str] = []

    def open_together(name: str, config: AnyConfig) -> Service:
        service = open_service(config)
        opened.append(name)
        if len(opened) <= 2:
            both_open.wait(LONG)
        return service

    with ModelPool(configs(A, B), max_memory=limit, open_service=open_together) as pool:
        threads = [threading.Thread(target=pool.load, args=[name]) for name in (A, B)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert not any(thread.is_alive() for thread in threads)
        assert {state.loads for state in pool.states().values()} == {1}
        assert taken(pool) <= limit


def test_a_failed_load_gives_its_memory_back(small: ModelPool, opening: Opening) -> None:
    opening.broken = {A}
    for _ in range(2):
        with pytest.raises(CheckpointError):
            small.load(A)
    small.load(B)
    small.load(C)
    assert loaded(small) == {B, C}


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "1GB"])
def test_a_limit_is_a_number_of_bytes(limit: int) -> None:
    before = threading.active_count()
    with pytest.raises(ConfigurationError, match="max_memory"):
        ModelPool(configs(), max_memory=limit)
    assert threading.active_count() == before


def test_a_pinned_model_that_leaves_makes_room_like_others() -> None:
    models = {A: PooledModel(config(A), pinned=True), B: PooledModel(config(B))}
    with ModelPool(models, max_memory=max(_SIZES[A], _SIZES[B])) as pool:
        waiting = threading.Thread(target=pool.load, args=[B])
        with pool.use(A):
            unloading = threading.Thread(target=pool.unload, args=[A])
            unloading.start()
            assert eventually(lambda: pool.states()[A].state == "unloading")
            waiting.start()
            time.sleep(0.1)
            assert not pool.states()[B].problem
        for thread in (waiting, unloading):
            thread.join(LONG)
        assert loaded(pool) == {B}
        other = {A: PooledModel(config(A).with_values(normalize=False), pinned=True)}
        pool.replace({A: models[A]}, max_memory=_SIZES[A])
        with pool.use(A):
            pool.replace(other, max_memory=_SIZES[A])
            again = threading.Thread(target=pool.load, args=[A])
            again.start()
            time.sleep(0.1)
            assert not pool.states()[A].problem
        again.join(LONG)
        assert loaded(pool) == {A}


def test_memory_is_free_once_the_model_is_closed() -> None:
    """Of one that is removed while it is loaded, too."""
    held = {A: threading.Event(), B: threading.Event()}
    alive: list[Service] = []
    most: list[int] = []

    def open_watched(name: str, config: AnyConfig) -> Service:
        most.append(sum(service.memory_bytes for service in alive if service.alive))
        service = open_service(config)
        alive.append(service)
        if name == A:
            assert held[A].wait(LONG)
        return service

    with ModelPool(configs(A, B), max_memory=max(_SIZES[A], _SIZES[B]), open_service=open_watched) as pool:
        threads = [threading.Thread(target=ignore_removal, args=[pool, A])]
        threads[0].start()
        assert eventually(lambda: alive)
        pool.replace(configs(B), max_memory=max(_SIZES[A], _SIZES[B]))
        threads.append(threading.Thread(target=pool.load, args=[B]))
        threads[1].start()
        time.sleep(0.1)
        assert len(alive) == 1
        held[A].set()
        for thread in threads:
            thread.join(LONG)
        assert most == [0, 0]


def ignore_removal(pool: ModelPool, name: str) -> None:
    with pytest.raises(ModelNotFoundError):
        pool.load(name)
