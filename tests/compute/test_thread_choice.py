"""When a lone micro-batch gets one thread instead of all, on a clock that the tests set."""

import random

import pytest

from akidb_embeddings.compute.thread_choice import ThreadChoice

TOKENS = 16


class Machine:
    """What a lone micro-batch takes: with all threads and with one, on cores that are quiet or busy."""

    def __init__(self, threads: int = 2) -> None:
        self.now = 1000.0
        self.choice = ThreadChoice(threads, lambda: self.now)
        self.quiet = {"all": 0.008, "one": 0.012}
        self.busy = {"all": 0.960, "one": 0.040}
        self.is_busy = False
        self.random = random.Random(1)

    def run(self, count: int = 1, pause: float = 0.01) -> list[int]:
        """The threads of each of ``count`` micro-batches."""
        return [self._one(pause) for _ in range(count)]

    def _one(self, pause: float) -> int:
        threads = self.choice.threads
        seconds = (self.busy if self.is_busy else self.quiet)["one" if threads == 1 else "all"]
        seconds *= self.random.uniform(0.9, 1.1)
        self.now += seconds + pause
        self.choice.observe(threads, TOKENS, seconds, waited=self.is_busy)
        return threads


def test_on_quiet_cores_all_threads_are_used_always() -> None:
    """So a text's vector is the same to the last bit: nothing is tried that nothing calls for."""
    machine = Machine()
    assert set(machine.run(10_000)) == {2}
    assert not machine.choice.drops


def test_a_single_wait_changes_nothing() -> None:
    machine = Machine()
    for _ in range(20):
        machine.is_busy = True
        assert machine.run(1) == [2]
        machine.is_busy = False
        assert set(machine.run(4)) == {2}


def test_on_busy_cores_two_waits_are_enough() -> None:
    machine = Machine()
    machine.is_busy = True
    threads = machine.run(1000)
    assert threads[:3] == [2, 2, 1]
    assert machine.choice.is_single
    assert machine.choice.drops == 1
    tried = [index for index, count in enumerate(threads) if count == 2][2:]
    assert 1 <= len(tried) <= 7  # 50 seconds: after 1, 2, 4, 8, 16, 30


def test_all_threads_come_back_with_quiet_cores() -> None:
    machine = Machine()
    machine.is_busy = True
    machine.run(1000)
    machine.is_busy = False
    threads = machine.run(30)
    assert threads[10:] == [2] * 20
    assert not machine.choice.is_single


def test_they_come_back_if_single_micro_batches_never_waited() -> None:
    """Cores for one thread, but not for all: only trying shows that there are some again."""
    machine = Machine(threads=8)
    machine.is_busy = True
    machine.run(2)
    assert machine.choice.is_single
    machine.is_busy = False
    assert machine.run(200, pause=0.05)[-1] == 8


def test_it_is_noticed_each_time() -> None:
    machine = Machine()
    for round_number in range(1, 6):
        machine.is_busy = True
        assert machine.run(50)[-1] == 1
        assert machine.choice.drops == round_number
        machine.is_busy = False
        assert machine.run(50)[-1] == 2


def test_all_threads_stay_where_they_are_faster_in_spite_of_waiting() -> None:
    """On many cores, eight of which are left."""
    machine = Machine(threads=16)
    machine.busy = {"all": 0.020, "one": 0.100}
    machine.is_busy = True
    threads = machine.run(2000)
    assert threads[2] == 1  # it has to be known what one thread takes
    assert threads.count(1) / len(threads) < 0.05


def test_what_one_thread_takes_is_the_patience_with_all() -> None:
    machine = Machine()
    assert machine.choice.patience(TOKENS) == 0.015
    machine.is_busy = True
    machine.run(20)
    assert machine.choice.patience(TOKENS) == pytest.approx(0.040, rel=0.1)
    assert machine.choice.patience(10 * TOKENS) > 0.1


def test_waiting_is_wall_time_without_cpu_time() -> None:
    """Less than one core and a bit: with all threads it is 1.23 at least on quiet cores."""
    assert not ThreadChoice.is_waiting(1.0, 1.23)
    assert not ThreadChoice.is_waiting(1.0, 1.9)
    assert ThreadChoice.is_waiting(1.0, 0.85)
    assert ThreadChoice.is_waiting(1.0, 1.07)
