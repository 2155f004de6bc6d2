"""Rounds of a GPU: one micro-batch of texts of similar length, from all requests that wait."""

import random

import pytest

from akidb_embeddings.engine.planner import pad, plan
from akidb_embeddings.engine.request import VectorsFuture
from akidb_embeddings.engine.scheduler import BUSY_TOKENS, Scheduler
from tests.engine.test_scheduler import NOW, owners, request, scheduler

FULL = 65536
BUDGETS = (BUSY_TOKENS, FULL)


def computed(queue: Scheduler) -> tuple[int, int]:
    """The token positions that a CUDA GPU computes for all that waits, and the number of micro-batches."""
    total, rounds = 0, 0
    while items := queue.next_round(FULL, NOW + 1000, bounded_rows=False, budgets=BUDGETS):
        rows = [item.row for item in items]
        assert len(plan([row.size for row in rows], FULL, 10**6)) == 1
        total += pad(rows, "mean", BUDGETS).ids.size
        rounds += 1
    return total, rounds


@pytest.mark.parametrize(
    ("sizes", "most"),
    [
        ([[4096] + [10] * 14], 4352),
        ([[8000] + [20] * 7], 8400),
        ([[1000] + [10] * 63], 5120),
        ([[10]] * 50 + [[500]] + [[10]] * 50, 6144),  # queries, and a page among them
        ([[10]] * 40, 64 * 16),
        ([[300] * 300], 300 * 304 + 2048 + FULL // 16),
    ],
)
def test_what_differs_in_length_is_computed_apart(sizes: list[list[int]], most: int) -> None:
    """A text of a thousand tokens would make each of those beside it as long: 40 times the work for the third list."""
    assert computed(scheduler(*(request(*one) for one in sizes)))[0] <= most


def test_texts_of_many_requests_share_micro_batches_of_about_their_length() -> None:
    generator = random.Random(3)
    sizes = [[min(512, int(generator.lognormvariate(5, 0.7)) + 2) for _ in range(32)] for _ in range(128)]
    total, rounds = computed(scheduler(*(request(*one) for one in sizes)))
    assert total <= 1.25 * sum(map(sum, sizes))
    assert rounds <= 80


def test_a_gpu_s_rounds_take_the_oldest_request_s_longest_text() -> None:
    """Longer ones that keep coming do not starve it."""
    old, done = request(*[20] * 3), 0
    queue = scheduler(old, small=0)
    for _ in range(30):
        queue.add(request(*[500] * 200))
        items = queue.next_round(4096, NOW, bounded_rows=False)
        done += sum(item.request is old for item in items)
    assert done == 3


def test_large_requests_take_turns_on_a_gpu() -> None:
    requests = [request(*[4000 - 1000 * index] * 5) for index in range(4)]
    queue = scheduler(*requests)
    turns = [owners(queue.next_round(4096, NOW, bounded_rows=False))[0] for _ in range(4)]
    assert turns == requests


@pytest.mark.parametrize("bounded_rows", [True, False])
def test_what_is_alone_is_divided_alike_whatever_comes_beside_it(bounded_rows: bool) -> None:
    """Or its vectors would differ in their last bits."""
    sizes = [100 + index % 300 for index in range(900)]

    def rounds(*, busy: bool) -> list[list[int]]:
        queue = scheduler(one := request(*sizes, alone=True))
        found = []
        while one.waiting:
            if busy:
                queue.add(request(5))
            now = one.queued_at + (0.0 if busy else 100.0)
            items = queue.next_round(FULL, now, bounded_rows=bounded_rows, budgets=BUDGETS)
            found += [[item.position for item in items]] if items[0].request is one else []
        return found

    assert rounds(busy=True) == rounds(busy=False)


class _LeavingFuture(VectorsFuture):
    """A future whose caller cancels it just after the scheduler has looked at it for the ``last_look``-th time."""

    last_look = 1
    _looks = 0

    def done(self) -> bool:
        known = super().done()
        self._looks += 1
        if self._looks == self.last_look:
            self.cancel()
        return known


@pytest.mark.parametrize("look", [1, 2, 3])
@pytest.mark.parametrize("others", [(), ("mean",), ("cls",), ("cls", "mean")])
@pytest.mark.parametrize("sizes", [(10,), (300,) * 3])
@pytest.mark.parametrize("bounded_rows", [True, False])
def test_a_request_may_be_cancelled_at_any_moment(
    bounded_rows: bool, sizes: tuple[int, ...], others: tuple[str, ...], look: int
) -> None:
    """Its thread does not wait for the engine's lock; others go on."""
    leaving = request(*sizes)
    leaving.future = _LeavingFuture()
    leaving.future.last_look = look
    queue = scheduler(leaving, *(waiting := [request(*sizes, pooling=pooling) for pooling in others]))
    left = []
    while queue.waiting_tokens:
        items = queue.next_round(512, NOW, bounded_rows=bounded_rows)
        assert items or not any(one.waiting for one in waiting)
        left += items
    for one in waiting:
        assert sorted(item.position for item in left if item.request is one) == list(range(len(sizes)))
