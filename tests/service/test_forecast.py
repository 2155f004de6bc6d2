"""Calls that cannot be done in time are refused before anything is computed; all others are not."""

import dataclasses
import math

import numpy as np
import pytest

from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.statistics import Speed, Statistics
from akidb_embeddings.errors import DeadlineError, OverloadError
from akidb_embeddings.service.forecast import check_time, expected_tokens
from akidb_embeddings.tokenization.tokenizer import Tokenized
from tests.conftest import FakeModel, service

IDLE = Statistics(True, 0, 0.0, 0, 0, 0, 0.0, 0, 0, 0.0)


def at(speed: float | None, waiting: int = 0) -> Statistics:
    return dataclasses.replace(IDLE, tokens_per_second=speed, waiting_tokens=waiting)


def tokenized(*counts: int) -> Tokenized:
    return Tokenized([np.zeros(count, dtype=np.int32) for count in counts], list(counts), [True] * len(counts))


def test_what_takes_too_long_is_refused_with_figures_and_the_way_out() -> None:
    with pytest.raises(DeadlineError) as caught:
        check_time("texts", 2048, 500_000, at(5000), 60)
    assert str(caught.value) == (
        "texts have about 500000 tokens, 100.0 s of work at 5000 tokens a second, and 60.0 s are left. "
        "Send at most 1228 like these at once, or allow more time."
    )
    assert caught.value.limit == 1228


def test_if_others_are_the_reason_it_says_when_to_come_back() -> None:
    with pytest.raises(OverloadError, match=r"after 40\.0 s for what waits already") as caught:
        check_time("texts", 2048, 250_000, at(5000, waiting=200_000), 60)
    assert not isinstance(caught.value, DeadlineError)
    assert caught.value.retry_after == pytest.approx(30)


@pytest.mark.parametrize(
    ("tokens", "statistics", "remaining"),
    [
        (500_000, at(None), 1.0),  # nothing has been measured
        (500_000, at(5000), 81.0),  # it may go faster than of late
        (5000, at(5000, waiting=10**9), 0.5),  # a second of work goes before what waits
    ],
)
def test_whatever_may_be_done_is_admitted(tokens: int, statistics: Statistics, remaining: float) -> None:
    check_time("texts", 2048, tokens, statistics, remaining)


def test_a_speed_needs_some_recent_measurements() -> None:
    speed = Speed()
    for number in range(4):
        assert speed.tokens_per_second(100.0) is None
        speed.add(100, 0.05, 100.0 + number)
    assert speed.tokens_per_second(150.0) == pytest.approx(2000)
    assert speed.tokens_per_second(200.0) is None
    speed.add(1000, 2.0, 200.0)  # what was before does not count any more
    assert speed.tokens_per_second(200.0) is None


def test_two_are_enough_where_they_take_long() -> None:
    speed = Speed()
    speed.add(1000, 2.0, 0.0)
    assert speed.tokens_per_second(0.0) is None  # the first one may have waited for something
    speed.add(1000, 2.0, 2.0)
    assert speed.tokens_per_second(2.0) == 500


def test_later_measurements_count_more() -> None:
    speed = Speed()
    for _ in range(50):
        speed.add(1000, 1.0, 0.0)
    for _ in range(20):
        speed.add(1000, 0.1, 0.0)
    found = speed.tokens_per_second(0.0)
    assert found is not None
    assert 4000 < found < 10_000


def test_the_tokens_of_all_texts_follow_from_the_first_and_the_lengths() -> None:
    assert expected_tokens(tokenized(12, 22), [40, 80, 40, 80], 100) == 34 + 30
    assert expected_tokens(tokenized(3, 3), [1, 1, 10**6], 100) == 6 + 100  # of a long text, so many are kept
    assert expected_tokens(tokenized(2), [0, 10], 100) == 2


def test_full_micro_batches_are_measured_and_queries_are_not(fake: FakeModel) -> None:
    with service() as embedder:
        for _ in range(8):
            embedder.embed(["a"])
        assert embedder.statistics.tokens_per_second is None
        embedder.embed(["word " * 30] * 20)
        assert embedder.statistics.tokens_per_second is not None


def test_nothing_is_computed_of_what_is_refused(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with service() as embedder:
        known = embedder.statistics
        slow = property(lambda _: dataclasses.replace(known, tokens_per_second=10.0))
        monkeypatch.setattr(Engine, "statistics", slow)
        with pytest.raises(DeadlineError, match="tokens a second") as caught:
            embedder.encode(["word " * 30] * 20, timeout=5)
        assert caught.value.field == "texts"
        assert caught.value.limit is not None
        assert not fake.forwards
        most = math.floor(caught.value.limit)
        assert len(embedder.encode(["word " * 30] * most, timeout=5).vectors) == most
        assert len(embedder.embed(["word " * 30] * 20)) == 20  # without a deadline there is time
