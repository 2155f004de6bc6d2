"""Who sees whom, position by position."""

import numpy as np
import pytest

from akidb_embeddings.compute.masks import Visibility, causal_mask, padding_mask, symmetric_window_mask

LENGTHS = np.array([5, 2], dtype=np.int32)


def test_padding_hides_what_lies_beyond_the_length() -> None:
    mask = padding_mask(LENGTHS, 5)
    assert mask is not None
    assert mask[:, 0, 0].tolist() == [[True] * 5, [True, True, False, False, False]]


def test_equal_lengths_below_the_padded_length_are_still_masked() -> None:
    """A batch of equal lengths needs no mask only if it has no padding."""
    assert padding_mask(np.array([5, 5], dtype=np.int32), 5) is None
    mask = padding_mask(np.array([5, 5], dtype=np.int32), 8)
    assert mask is not None
    assert not mask[:, 0, 0, 5:].any()


def test_causal_sees_itself_and_before() -> None:
    mask = causal_mask(4)
    assert mask is not None
    assert mask[0, 0].tolist() == np.tril(np.ones((4, 4), bool)).tolist()
    assert causal_mask(1) is None


def test_causal_window_counts_the_token_itself() -> None:
    mask = causal_mask(6, window=2)
    assert mask is not None
    assert [row.nonzero()[0].tolist() for row in mask[0, 0]] == [[0], [0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]


def test_symmetric_window_reaches_as_far_on_both_sides() -> None:
    mask = symmetric_window_mask(np.array([7], dtype=np.int32), 7, reach=2)
    assert mask is not None
    assert mask[0, 0, 3].nonzero()[0].tolist() == [1, 2, 3, 4, 5]
    assert mask[0, 0, 0].nonzero()[0].tolist() == [0, 1, 2]


def test_symmetric_window_is_only_built_where_it_hides_something() -> None:
    assert symmetric_window_mask(np.array([3], dtype=np.int32), 3, reach=2) is None
    assert symmetric_window_mask(np.array([4], dtype=np.int32), 4, reach=2) is not None


def test_every_row_sees_something_and_no_real_token_sees_padding() -> None:
    mask = symmetric_window_mask(np.array([12, 3], dtype=np.int32), 12, reach=2)
    assert mask is not None
    assert mask.any(axis=-1).all()
    assert not mask[1, 0, :3, 3:].any()


@pytest.mark.parametrize("rows", [1, 3, 12])
@pytest.mark.parametrize(
    "visibility",
    [
        Visibility(np.array([12, 4], np.int32), 12),
        Visibility(np.array([12, 4], np.int32), 12, causal=True),
        Visibility(np.array([12, 4], np.int32), 12, causal=True, reach=2),
        Visibility(np.array([12, 4], np.int32), 12, reach=2),
        Visibility(np.array([12], np.int32), 12, reach=2),
        Visibility(np.array([12], np.int32), 12, reach=11),
        Visibility(np.array([12], np.int32), 12),
    ],
)
def test_blocks_are_parts_of_the_whole(visibility: Visibility, rows: int) -> None:
    """For queries of real tokens: what padding sees does not matter."""
    whole = visibility.allowed()
    whole = np.ones((1, 1, 12, 12), np.bool_) if whole is None else whole
    whole = np.broadcast_to(whole, (len(visibility.lengths), 1, 12, 12))
    for start in range(0, 12, rows):
        first, last = visibility.keys(start, start + rows)
        block = visibility.block(start, start + rows)
        found = np.zeros((len(visibility.lengths), 1, rows, 12), np.bool_)
        found[..., first:last] = True if block is None else block
        for row, length in enumerate(visibility.lengths):
            real = slice(0, max(0, length - start))
            np.testing.assert_array_equal(found[row, :, real], whole[row, :, start : start + rows][:, real])
