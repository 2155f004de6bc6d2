"""Micro-batches: nothing lost, nothing too large, little padded, few shapes."""

import random

import numpy as np
import pytest

from akidb_embeddings.engine.planner import pad, padded_length, plan
from tests.conftest import FakeModel, Start, check, row, submit


def test_padding_is_short_and_shapes_are_few() -> None:
    padded = [padded_length(length) for length in range(1, 8193)]
    for length, width in enumerate(padded, start=1):
        assert width >= length
        assert width % 8 == 0
        assert width - length <= max(7, length / 8)
        assert padded_length(width) == width
    assert padded == sorted(padded)
    assert len(set(padded)) <= 64


def check_plan(lengths: list[int], max_tokens: int, max_rows: int, side_by_side: int) -> list[list[int]]:
    batches = plan(lengths, max_tokens, max_rows, side_by_side)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[index] for index in order] == sorted(lengths, reverse=True)
    for batch in batches:
        assert 1 <= len(batch) <= max_rows
        assert len(batch) == 1 or len(batch) * padded_length(max(lengths[i] for i in batch)) <= max_tokens
    return batches


@pytest.mark.parametrize("seed", range(5))
def test_every_text_is_in_one_micro_batch_within_bounds(seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(100):
        longest = generator.choice([1, 9, 64, 300, 5000])
        lengths = [generator.randint(1, longest) for _ in range(generator.randrange(80))]
        max_tokens, max_rows = generator.choice([1, 8, 64, 512, 8192]), generator.choice([1, 2, 7, 32, 128])
        check_plan(lengths, max_tokens, max_rows, generator.choice([1, 2, 3, 8]))


def test_no_texts_make_no_micro_batches() -> None:
    assert plan([], 512, 32, 2) == []


def test_a_text_longer_than_the_budget_goes_alone() -> None:
    assert plan([5, 5000, 5], 512, 32) == [[1], [0, 2]]
    assert plan([600, 600], 512, 32) == [[0], [1]]


def test_a_full_budget_is_used() -> None:
    assert [len(batch) for batch in plan([64] * 16, 512, 32)] == [8, 8]
    assert [len(batch) for batch in plan([64] * 16, 512, 3)] == [3, 3, 3, 3, 2, 2]
    assert [len(batch) for batch in plan([512, 8, 8, 8], 512, 32)] == [1, 3]


@pytest.mark.parametrize("streams", [2, 3, 4, 8])
def test_work_for_one_micro_batch_is_divided_among_streams(streams: int) -> None:
    batches = plan([32] * (2 * streams), 8192, 128, streams)
    assert [len(batch) for batch in batches] == [2] * streams


def test_work_for_one_micro_batch_is_divided_evenly_whatever_its_lengths() -> None:
    """A micro-batch more than there are streams runs alone, with the other streams idle."""
    generator = random.Random(1)
    for _ in range(50):
        lengths, streams = [generator.randint(5, 60) for _ in range(16)], generator.choice([2, 4])
        batches = check_plan(lengths, 100_000, 128, streams)
        assert len(batches) == streams


def test_nothing_is_left_over_for_a_micro_batch_of_its_own() -> None:
    """Shares are of what is left: 304 and 8 times 64 tokens are two micro-batches, though half of them is 408."""
    assert [len(batch) for batch in plan([304, *[64] * 8], 512, 32, 2)] == [1, 8]


def test_a_query_or_two_are_not_divided() -> None:
    assert plan([8, 8], 512, 32, 8) == [[0, 1]]


@pytest.mark.parametrize(
    ("rows", "length", "shape"),
    [
        (1, 3, (1, 8)),
        (3, 8, (4, 8)),
        (5, 9, (8, 16)),
        (70, 100, (78, 104)),  # as many as 8,192 tokens
        (100, 100, (128, 104)),
        (630, 100, (630, 104)),  # as many as 65,536 tokens
        (1, 70_000, (1, 73_728)),
    ],
)
def test_pad_rounds_up_to_few_shapes(rows: int, length: int, shape: tuple[int, int]) -> None:
    batch = pad([np.ones(length, dtype=np.int32)] * rows, "mean", (8192, 65536))
    assert batch.ids.shape == shape
    assert batch.lengths.tolist() == [length] * rows + [1] * (shape[0] - rows)
    assert batch.ids.sum() == rows * length


def test_pad_keeps_the_ids_and_marks_the_lengths() -> None:
    batch = pad([row(*range(1, 10)), row(5), row(0, 0)], "cls")
    assert batch.ids.shape == (3, 16)
    assert batch.ids.dtype == batch.lengths.dtype == np.int32
    assert batch.lengths.tolist() == [9, 1, 2]
    assert batch.ids[0].tolist() == [*range(1, 10), *[0] * 7]
    assert batch.ids[1].tolist() == [5, *[0] * 15]
    assert batch.pooling == "cls"


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_the_engine_computes_micro_batches_bounded_and_sorted(start: Start, streams: int) -> None:
    engine, generator = start(model := FakeModel(streams)), random.Random(streams)
    rows = [[7] * generator.randint(1, 50) for _ in range(200)]
    check(submit(engine, *rows, max_rows=5), *rows)
    lengths = [batch.lengths.tolist() for batches in model.forwards for batch in batches]
    assert max(map(len, model.forwards)) == streams
    assert all(len(batch) <= 5 for batch in lengths)
    assert all(len(batch) * padded_length(batch[0]) <= 64 or len(batch) == 1 for batch in lengths)
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted((len(ids) for ids in rows), reverse=True)


def test_first_parts_go_with_their_rows() -> None:
    """And rows that only fill a micro-batch have one, too."""
    batch = pad([row(1, 2, 3), row(4, 5)], "", first_parts=[2, 1])
    assert batch.first_parts is not None
    assert batch.first_parts.tolist() == [2, 1]
    full = pad([row(1, 2, 3)] * 3, "", (64,), first_parts=[2, 1, 3])
    assert full.first_parts is not None
    assert full.first_parts.tolist() == [2, 1, 3, 1]
    assert pad([row(1)], "mean").first_parts is None
