"""Which texts go next: each once, within bounds, queries first, and nobody for ever last."""

import contextlib
import random
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from akidb_embeddings.engine.planner import padded_length, plan
from akidb_embeddings.engine.request import Item, Request, VectorsFuture
from akidb_embeddings.engine.scheduler import BUSY_TOKENS, Scheduler
from akidb_embeddings.errors import OverloadError, WorkerError
from akidb_embeddings.vectors.finish import Vectors
from tests.conftest import background

NOW = 1000.0


def request(*sizes: int, pooling: str = "mean", deadline: float | None = None, alone: bool = False) -> Request:
    return Request([np.ones(size, dtype=np.int32) for size in sizes], pooling, 32, deadline, alone)


def scheduler(*requests: Request, small: int = 16) -> Scheduler:
    made = Scheduler(small)
    for one in requests:
        made.add(one)
    return made


def owners(items: list[Item]) -> list[Request]:
    return list(dict.fromkeys(item.request for item in items))


def check_round(items: list[Item], max_tokens: int) -> None:
    assert len({item.request.pooling for item in items}) <= 1
    assert len(items) <= 1 or sum(padded_length(item.row.size) for item in items) <= max_tokens


@pytest.mark.parametrize("bounded_rows", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_every_text_leaves_once_and_within_bounds(seed: int, bounded_rows: bool) -> None:
    """Requests come, are cancelled and expire at random moments between rounds of random size."""
    generator = random.Random(seed)
    queue, alive, left = Scheduler(generator.choice([0, 20, 200])), list[Request](), list[Item]()
    for step in range(200):
        now = NOW + step
        if step < 120 and generator.random() < 0.5:
            sizes = [generator.randint(1, 60) for _ in range(generator.randint(1, 12))]
            deadline = now + generator.randint(0, 30) if generator.random() < 0.2 else None
            alive.append(request(*sizes, pooling=generator.choice(["mean", "cls"]), deadline=deadline))
            queue.add(alive[-1])
        if alive and generator.random() < 0.1:
            generator.choice(alive).future.cancel()
        if generator.random() < 0.05:
            queue.drop_finished(now)
        finished = {one for one in alive if one.future.done()}
        max_tokens = generator.choice([1, 64, 200])
        budgets = generator.choice([(), (64, max_tokens)])
        items = queue.next_round(max_tokens, now, bounded_rows=bounded_rows, budgets=budgets)
        check_round(items, max_tokens)
        assert not finished & set(owners(items))
        assert all(one.deadline is None or one.deadline > now for one in owners(items))
        left += items
    while items := queue.next_round(10_000, NOW + 1000):
        left += items
    assert queue.waiting_tokens == 0
    assert len({(item.request, item.position) for item in left}) == len(left)
    for one in alive:
        positions = [item.position for item in left if item.request is one]
        assert one.future.done() or sorted(positions) == list(range(len(one.rows)))
        sizes = [one.rows[position].size for position in positions]
        assert not bounded_rows or sizes == sorted(sizes, reverse=True)


def test_waiting_tokens_are_those_not_begun() -> None:
    queue = scheduler(request(5, 3), request(20, 10))
    assert queue.waiting_tokens == 38
    queue.next_round(8, NOW)
    assert queue.waiting_tokens == 33
    queue.next_round(8, NOW)
    assert queue.waiting_tokens == 30


def test_an_empty_queue_gives_nothing() -> None:
    assert Scheduler(16).next_round(64, NOW) == []


@pytest.mark.parametrize("small", [0, 16])
def test_a_request_that_is_alone_shares_no_round(small: int) -> None:
    """Its rounds are those it has in an empty queue, whatever waits before and behind it."""
    by_itself, sizes = list[list[int]](), (3, 2, 2, 1)
    queue = scheduler(request(*sizes, alone=True), small=small)
    while items := queue.next_round(16, NOW):
        by_itself.append([item.position for item in items])
    first, alone, third, other = request(1, 1), request(*sizes, alone=True), request(1), request(2, 1, alone=True)
    queue = scheduler(first, alone, third, other, small=small)
    rounds = list(iter(lambda: queue.next_round(16, NOW), []))
    assert all(len(owners(items)) == 1 for items in rounds if {alone, other} & set(owners(items)))
    assert [[item.position for item in items] for items in rounds if alone in owners(items)] == by_itself
    assert sum(len(items) for items in rounds) == 9


def test_a_text_larger_than_a_round_goes_alone() -> None:
    queue = scheduler(request(500, 500, 8))
    assert [[item.row.size for item in queue.next_round(64, NOW)] for _ in range(4)] == [[500], [500], [8], []]


def test_small_requests_share_a_round_in_their_order() -> None:
    small = [request(8) for _ in range(6)]
    queue = scheduler(*small)
    assert owners(queue.next_round(32, NOW)) == small[:4]
    assert owners(queue.next_round(32, NOW)) == small[4:]


def test_small_requests_go_before_large_ones_that_came_first() -> None:
    large, small = request(*[64] * 4), request(8)
    queue = scheduler(large)
    assert owners(queue.next_round(64, NOW)) == [large]
    queue.add(small)
    assert owners(queue.next_round(64, NOW)) == [small]
    assert owners(queue.next_round(64, NOW)) == [large]


def test_a_stream_of_small_requests_does_not_starve_a_large_one() -> None:
    large = request(*[64] * 3)
    queue, rounds = scheduler(large), list[bool]()
    for _ in range(30):
        queue.add(request(8))
        rounds.append(owners(queue.next_round(64, NOW)) == [large])
    assert sum(rounds) == 3
    gaps = [later - earlier for earlier, later in zip(*[np.flatnonzero(rounds)[i:] for i in (0, 1)], strict=False)]
    assert max(gaps) <= 9
    assert min(gaps) >= 5  # one turn, and then it is the small ones' again


def test_large_requests_take_turns() -> None:
    requests = [request(*[64] * 5) for _ in range(4)]
    queue = scheduler(*requests)
    turns = [owners(queue.next_round(64, NOW)) for _ in range(20)]
    assert turns == [[one] for one in requests] * 5


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_requests_done_in_one_round_do_not_starve_a_larger_one(pooling: str) -> None:
    """Whoever is next when a request is finished keeps its place, though others come all the time."""
    slow = request(*[64] * 3, pooling=pooling)
    queue, done = scheduler(request(64), slow, small=0), 0
    for _ in range(12):
        queue.add(request(64))
        done += owners(queue.next_round(64, NOW)) == [slow]
    assert done == 3


def test_a_round_of_another_pooling_does_not_pass_over_a_request() -> None:
    first, second, third = request(64), request(64, pooling="cls"), request(64)
    queue = scheduler(first, second, third)
    assert [owners(queue.next_round(1000, NOW)) for _ in range(3)] == [[first], [second], [third]]


def test_cancelled_texts_do_not_leave() -> None:
    before, cancelled, after = request(8), request(8), request(8)
    queue = scheduler(before, cancelled, after)
    cancelled.future.cancel()
    assert owners(queue.next_round(64, NOW)) == [before, after]
    assert queue.waiting_tokens == 0


def test_a_request_cancelled_halfway_is_dropped() -> None:
    large, other = request(*[64] * 4), request(64)
    queue = scheduler(large, other)
    queue.next_round(64, NOW)
    large.future.cancel()
    assert [owners(queue.next_round(64, NOW)) for _ in range(2)] == [[other], []]
    assert queue.waiting_tokens == 0


def test_expired_texts_do_not_leave() -> None:
    expired, waiting = request(8, deadline=NOW), request(8, deadline=NOW + 1)
    assert owners(scheduler(expired, waiting).next_round(64, NOW)) == [waiting]
    with pytest.raises(OverloadError, match="deadline"):
        expired.future.result(0)


def test_drop_finished_makes_room_and_keeps_the_order() -> None:
    requests = [request(8), request(8, deadline=NOW), request(8), request(8)]
    large = [request(64), request(64)]
    queue = scheduler(*requests, *large)
    requests[2].future.cancel()
    queue.drop_finished(NOW)
    assert queue.waiting_tokens == 144
    assert [owners(queue.next_round(64, NOW)) for _ in range(3)] == [
        [requests[0], requests[3]],
        *([one] for one in large),
    ]


def test_drain_empties_the_queue() -> None:
    requests = [request(8), request(64)]
    queue = scheduler(*requests)
    assert queue.drain() == requests
    assert queue.waiting_tokens == 0
    assert queue.next_round(64, NOW) == []


def vector(value: float) -> Vectors:
    return np.full(4, value, dtype=np.float32)


def test_vectors_come_in_the_order_of_the_texts() -> None:
    one = request(1, 3, 2)
    assert one.waiting == deque([1, 2, 0])
    for position in (1, 2, 0):
        assert not one.future.done()
        one.deliver(position, vector(position))
    assert one.future.result(0).dtype == np.float32
    assert one.future.result(0)[:, 0].tolist() == [0, 1, 2]


def test_what_comes_after_the_end_of_a_request_changes_nothing() -> None:
    cancelled, failed, done = request(1), request(1), request(1)
    cancelled.future.cancel()
    failed.fail(WorkerError("first"))
    done.deliver(0, vector(7))
    for one in (cancelled, failed, done):
        one.fail(WorkerError("second"))
        one.expire(NOW)
    for one in (cancelled, failed):
        one.deliver(0, vector(1))
    assert cancelled.future.cancelled()
    assert str(failed.future.exception(0)) == "first"
    assert done.future.result(0)[0, 0] == 7


class _MeetingFuture(VectorsFuture):
    """A future whose ``done`` lets two threads meet, if they come at once."""

    meeting = threading.Barrier(2)

    def done(self) -> bool:
        known = super().done()
        with contextlib.suppress(threading.BrokenBarrierError):
            self.meeting.wait(0.3)
        return known


@pytest.mark.parametrize("ending", ["fail", "deliver"])
def test_two_threads_may_end_a_request_at_once(ending: str) -> None:
    """The MLX thread fails or delivers what ``close``, or another caller's ``submit``, fails at that moment."""
    one = Request([np.ones(3, dtype=np.int32)], "mean", 32, NOW, future=_MeetingFuture())
    end: Any = (lambda: one.fail(WorkerError("x"))) if ending == "fail" else (lambda: one.deliver(0, vector(1)))
    for outcome in [background(end), background(lambda: one.expire(NOW))]:
        outcome.result(5)
    assert Future.done(one.future)


@pytest.mark.parametrize("side_by_side", [1, 2, 3, 8])
def test_a_round_is_what_micro_batches_side_by_side_hold(side_by_side: int) -> None:
    """One more would run alone, with the other streams idle: five texts of 192 tokens go four and one."""
    generator = random.Random(side_by_side)
    for _ in range(30):
        longest = generator.choice([20, 192, 256, 600])
        sizes = [generator.randint(1, longest) for _ in range(generator.randint(1, 150))]
        queue = scheduler(request(*sizes))
        while items := queue.next_round(512, NOW, side_by_side):
            batches = plan([item.row.size for item in items], 512, 32, side_by_side)
            assert len(batches) <= side_by_side
            left = queue.waiting_tokens
            assert not left or len(batches) == side_by_side


def test_five_texts_of_192_tokens() -> None:
    queue = scheduler(request(*[192] * 5))
    assert [len(queue.next_round(512, NOW, 2)) for _ in range(3)] == [4, 1, 0]


def test_bulk_work_takes_smaller_micro_batches_while_queries_come() -> None:
    """A query would wait for the whole of a GPU's largest micro-batch."""
    bulk = request(*[100] * 2000)
    queue = scheduler(bulk)
    now = bulk.queued_at
    assert len(queue.next_round(65536, now, bounded_rows=False)) > 500
    queue.add(query := request(5))
    assert owners(queue.next_round(65536, now, bounded_rows=False)) == [query]
    items = queue.next_round(65536, query.queued_at + 0.5, bounded_rows=False)
    assert len(items) == BUSY_TOKENS // padded_length(100)
    assert len(queue.next_round(65536, query.queued_at + 1.5, bounded_rows=False)) > 500


def test_a_cancelled_request_has_no_age() -> None:
    """It leaves the queue when the device is free; until then it must not make others be refused."""
    scheduler = Scheduler(512)
    old, new = (Request([np.array([1], np.int32)], "mean", 1) for _ in range(2))
    old.queued_at, new.queued_at = 1.0, 2.0
    scheduler.add(old)
    scheduler.add(new)
    assert scheduler.oldest() == 1.0
    assert old.future.cancel()
    assert scheduler.oldest() == 2.0
    assert new.future.cancel()
    assert scheduler.oldest() is None
