"""Reading ahead and writing behind on other threads: neither goes too far, and no error is lost."""

import threading
import time
from collections.abc import Iterator

import pytest

from akidb_embeddings.bulk.concurrency import WriteBehind, map_in_order, read_ahead
from tests.bulk.jobs import StopError
from tests.conftest import LONG, background, eventually


def test_no_more_is_read_than_is_soon_embedded() -> None:
    taken = []

    def endless() -> Iterator[int]:
        for number in range(10**9):
            taken.append(number)
            yield number

    with read_ahead(endless(), 3) as items:
        assert next(items) == 0
        assert eventually(lambda: len(taken) >= 4)
        time.sleep(0.05)
        assert len(taken) <= 6
    assert eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "akidb-read"])


def test_an_error_of_the_items_comes_after_what_was_made_of_those_before_it() -> None:
    def breaking() -> Iterator[int]:
        yield from range(3)
        raise StopError

    made = map_in_order(str, breaking(), 5)
    assert [next(made) for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(StopError):
        next(made)


def test_what_goes_wrong_on_another_thread_is_raised_on_this_one() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        raise StopError

    with read_ahead(breaking(), 3) as items, pytest.raises(StopError):
        assert list(items) == [1]

    done: list[str] = []
    gate = threading.Event()

    def fail() -> None:
        gate.wait(LONG)
        raise StopError

    with WriteBehind(2) as writing:
        writing.call(fail)
        writing.call(lambda: done.append("after a failure"))
        gate.set()
        with pytest.raises(StopError):
            writing.finish()
    assert done == []
    assert list(map_in_order(str, range(5), 2)) == ["0", "1", "2", "3", "4"]


def test_writing_does_not_get_further_behind_than_it_may() -> None:
    gate, done = threading.Event(), []
    with WriteBehind(2) as writing:

        def calls() -> None:
            for number in range(5):
                writing.call(lambda: gate.wait(LONG))
                done.append(number)

        caller = background(calls)
        assert eventually(lambda: len(done) >= 2)
        time.sleep(0.05)
        assert len(done) == 2
        gate.set()
        caller.result(LONG)
