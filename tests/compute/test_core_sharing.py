"""The threads that micro-batches get, with a BLAS that takes note of them."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from akidb_embeddings.compute import core_sharing
from akidb_embeddings.compute.core_sharing import CoreSharing
from tests.conftest import eventually


class Blas:
    path: str | None = "libscipy_openblas.so"

    def __init__(self) -> None:
        self.threads: list[int] = []

    def set_threads(self, count: int) -> None:
        self.threads.append(count)


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> Blas:
    found = Blas()
    monkeypatch.setattr(core_sharing, "BLAS", found)
    monkeypatch.setattr(core_sharing, "available_cores", lambda: 4)
    monkeypatch.setattr(core_sharing, "threads_are_fixed", lambda: False)
    return found


@pytest.fixture
def sharing(blas: Blas) -> Iterator[CoreSharing]:
    found = CoreSharing()
    yield found
    found.close()


def compute(sharing: CoreSharing, micro_batches: int = 1, *, fixed: bool = False) -> None:
    with sharing.share(micro_batches, 16, fixed=fixed):
        pass


def wait(sharing: CoreSharing, blas: Blas) -> None:
    """A micro-batch without CPU time, until its threads are reduced."""
    with sharing.share(1, 16, fixed=False):
        assert eventually(lambda: blas.threads[-1] == 1)


@pytest.fixture
def never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores are busy all the time."""
    monkeypatch.setattr(time, "process_time", lambda: 2 * time.monotonic())


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every micro-batch follows the last one at once, however slow the machine is."""
    monkeypatch.setattr(core_sharing, "_PAUSE_SECONDS", 1e9)


@pytest.mark.usefixtures("never_waits")
def test_cores_are_divided_among_micro_batches(sharing: CoreSharing, blas: Blas) -> None:
    for micro_batches in (1, 2, 4, 8):
        compute(sharing, micro_batches)
    assert blas.threads == [4, 2, 1, 1]
    assert (sharing.lone_threads, sharing.drops) == (4, 0)


@pytest.mark.usefixtures("never_waits")
def test_a_long_micro_batch_that_computes_keeps_its_threads(sharing: CoreSharing, blas: Blas) -> None:
    with sharing.share(1, 16, fixed=False):
        time.sleep(0.1)  # "process time" passes
    assert blas.threads == [4]


def test_threads_that_wait_are_reduced_while_they_run_and_then_from_the_start(sharing: CoreSharing, blas: Blas) -> None:
    wait(sharing, blas)
    wait(sharing, blas)
    assert blas.threads == [4, 1, 4, 1]
    assert (sharing.lone_threads, sharing.drops) == (1, 1)
    compute(sharing)
    compute(sharing, 2)
    assert blas.threads[4:] == [1, 1]


def test_a_fixed_number_does_not_depend_on_other_programs(sharing: CoreSharing, blas: Blas) -> None:
    wait(sharing, blas)
    wait(sharing, blas)
    blas.threads.clear()
    with sharing.share(1, 16, fixed=True):
        time.sleep(0.05)
    compute(sharing, 2, fixed=True)
    assert blas.threads == [4, 2]


def nothing_to_choose(blas: Blas, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], None]]:
    return {
        "OPENBLAS_NUM_THREADS is set": lambda: monkeypatch.setattr(core_sharing, "threads_are_fixed", lambda: True),
        "MLX's own BLAS": lambda: monkeypatch.setattr(blas, "path", None),
        "one core": lambda: monkeypatch.setattr(core_sharing, "available_cores", lambda: 1),
    }


@pytest.mark.parametrize("case", ["OPENBLAS_NUM_THREADS is set", "MLX's own BLAS", "one core"])
def test_where_there_is_nothing_to_choose(case: str, blas: Blas, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_to_choose(blas, monkeypatch)[case]()
    sharing = CoreSharing()
    for _ in range(5):
        with sharing.share(1, 16, fixed=False):
            time.sleep(0.02)
    assert len(set(blas.threads)) == 1
    assert sharing.drops == 0
    sharing.close()


def test_an_error_ends_the_watch(sharing: CoreSharing, blas: Blas) -> None:
    with pytest.raises(RuntimeError, match="forward"), sharing.share(1, 16, fixed=False):
        raise RuntimeError("forward")
    before = list(blas.threads)  # on a busy machine, they may have been reduced until then
    time.sleep(0.05)
    assert blas.threads == before


def test_the_watching_thread_ends_with_the_model(sharing: CoreSharing) -> None:
    compute(sharing)
    watching = [thread for thread in threading.enumerate() if thread.name == "akidb-cores"]
    assert watching
    sharing.close()
    for thread in watching:
        thread.join(10)
    assert not any(thread.is_alive() for thread in watching)


def test_after_a_pause_it_watches_again(sharing: CoreSharing, blas: Blas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_sharing, "_IDLE_SECONDS", 0.0)
    for _ in range(2):
        wait(sharing, blas)
        time.sleep(0.1)  # the watching thread falls asleep
    assert blas.threads == [4, 1, 4, 1]


def test_after_a_pause_there_is_a_choice_of_its_own(
    sharing: CoreSharing, blas: Blas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that slept may take long to wake up, and say nothing of those that are awake."""
    monkeypatch.setattr(core_sharing, "_PAUSE_SECONDS", -1.0)
    wait(sharing, blas)
    wait(sharing, blas)
    assert (sharing.lone_threads, sharing.drops) == (4, 0)
    blas.threads.clear()
    compute(sharing)
    monkeypatch.setattr(core_sharing, "_PAUSE_SECONDS", 1e9)
    compute(sharing)
    assert blas.threads == [1, 4]
