"""Rows that differ in size from text to text: weights of tokens, and a vector of each token.

What leaves a model is an array ``[n, d]``, or a list of such rows. Weights of tokens are pairs, of the dtype ``PAIR``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.vectors.finish import Vectors, non_finite_rows

Row = NDArray[Any]
Rows = Vectors | list[Row]
PAIR = np.dtype([("index", np.int32), ("value", np.float32)])
"""A token's id and its weight."""


def nonzero_pairs(weights: Vectors, most: int | None = None) -> Row:
    """The pairs of a vocabulary's weights: those that are not zero, NaN included, by ascending id.

    Args:
        weights: The weights, float32 [V].
        most: How many of the highest are kept, of equal ones those of the lower ids; None for all.
    """
    found = np.flatnonzero(weights)
    if most is not None and found.size > most:
        # NaN comes last in NumPy's order, and so first here.
        order = np.argsort(weights[found][::-1], kind="stable")[::-1]
        found = np.sort(found[::-1][order[:most]])
    return _pairs(found, weights[found])


def highest_pairs(ids: NDArray[np.int32], weights: Vectors) -> Row:
    """The pairs of a text's tokens: of each id its highest weight, unless that is zero. NaN counts as the highest.

    Args:
        ids: The token ids, int32 [L].
        weights: The weight of each token, float32 [L], not negative.
    """
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    highest = np.maximum.reduceat(weights[order], starts)
    kept = highest != 0
    return _pairs(ordered[starts][kept], highest[kept])


def unusable_rows(rows: Rows) -> list[int]:
    """The indices of rows with NaN or infinity."""
    if isinstance(rows, np.ndarray):
        return non_finite_rows(rows)
    return [index for index, row in enumerate(rows) if not np.isfinite(_numbers(row)).all()]


def offsets(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Where each of several rows begins once they are one after the other, and where the last one ends, [n + 1]."""
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))


def _pairs(ids: NDArray[Any], values: Vectors) -> Row:
    pairs = np.empty(len(ids), dtype=PAIR)
    pairs["index"], pairs["value"] = ids, values
    return pairs


def _numbers(row: Row) -> Row:
    return row["value"] if row.dtype == PAIR else row
