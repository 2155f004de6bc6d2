"""Sparse vectors: weights of some tokens of a vocabulary, and their similarity."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors.finish import Vectors
from akidb_embeddings.vectors.ragged import offsets

_LARGEST_INDEX = np.iinfo(np.int32).max
_LARGEST_VALUE = np.finfo(np.float32).max


@dataclass(frozen=True, eq=False)
class SparseVector:
    """The weights of some tokens of a vocabulary; those of all others are 0.

    Nothing is checked when one is made; ``sparse_similarity`` checks those that it is given.

    Attributes:
        indices: The tokens' ids, int32 ``[n]``, ascending.
        values: Their weights, float32 ``[n]``, all positive.
    """

    indices: NDArray[np.int32]
    values: Vectors

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def size(self) -> int:
        """How many numbers it has: indices and values."""
        return 2 * len(self)

    def __repr__(self) -> str:
        return f"SparseVector({len(self)} weights)"


@dataclass(frozen=True)
class _Joined:
    """Several sparse vectors, one after the other.

    Attributes:
        indices: Their indices, int64 [n].
        values: Their values, float64 [n].
        ends: Where each begins and the last one ends, [vectors + 1].
    """

    indices: NDArray[np.int64]
    values: NDArray[np.float64]
    ends: NDArray[np.int64]


def sparse_similarity(a: Iterable[SparseVector], b: Iterable[SparseVector]) -> NDArray[np.float32]:
    """Dot products of sparse vectors, which is how SPLADE's and BGE-M3's are compared.

    Args:
        a: Sparse vectors.
        b: Sparse vectors of the same vocabulary.

    Returns:
        float32 ``[len(a), len(b)]``; 0 where two have no token in common.

    Raises:
        InputError: An item is no sparse vector, has more indices than values or fewer, an index that is negative or not
            above the one before it, or a value that is NaN or infinite; ``field`` and ``index`` say which.
    """
    first, second = _joined(a, "a"), _joined(b, "b")
    dense = np.zeros(1 + max((int(one.indices.max()) for one in (first, second) if one.indices.size), default=-1))
    similarities = np.zeros((len(first.ends) - 1, len(second.ends) - 1), dtype=np.float32)
    filled = np.flatnonzero(np.diff(second.ends))
    starts = second.ends[filled]
    for row, start, end in zip(similarities, first.ends[:-1], first.ends[1:], strict=True):
        dense[first.indices[start:end]] = first.values[start:end]
        row[filled] = np.add.reduceat(dense[second.indices] * second.values, starts)
        dense[first.indices[start:end]] = 0
    return similarities


def _joined(vectors: Iterable[SparseVector], name: str) -> _Joined:
    """The vectors; InputError for the first one that is none."""
    found = _listed(vectors, name)
    indices, values = list[NDArray[Any]](), list[NDArray[Any]]()
    for index, vector in enumerate(found):
        if reason := _fault(vector):
            raise InputError(field=name, index=index, reason=reason)
        indices.append(vector.indices)
        values.append(vector.values)
    joined = _Joined(
        np.concatenate([np.zeros(0, np.int64), *indices], dtype=np.int64, casting="unsafe"),
        np.concatenate([np.zeros(0), *values], dtype=np.float64),
        offsets([len(one) for one in indices]),
    )
    _check_numbers(joined, name)
    return joined


def _listed(vectors: Iterable[SparseVector], name: str) -> list[SparseVector]:
    if isinstance(vectors, Iterable):
        return list(vectors)
    hint = f" For a single one, give [{name}]." if isinstance(vectors, SparseVector) else ""
    reason = f"is of type {type(vectors).__name__}; a sequence of SparseVector is expected.{hint}"
    raise InputError(field=name, reason=reason)


def _fault(vector: SparseVector) -> str:
    """What keeps an item from being a sparse vector, besides its numbers; "" for nothing."""
    if not isinstance(vector, SparseVector):
        return f"is of type {type(vector).__name__}; a SparseVector is expected, of encode(output='sparse')."
    for part, array, kinds, allowed in (
        ("indices", vector.indices, "iu", "integers"),
        ("values", vector.values, "fiu", "numbers"),
    ):
        if not isinstance(array, np.ndarray):
            return f"has {part} of type {type(array).__name__}; a NumPy array is expected."
        if array.ndim != 1:
            return f"has {part} of shape {array.shape}; an array [n] is expected."
        if array.dtype.kind not in kinds:
            return f"has {part} of the dtype {array.dtype}; {allowed} are expected."
    if len(vector.indices) != len(vector.values):
        return f"has {len(vector.indices)} indices and {len(vector.values)} values; each index has one value."
    return ""


def _check_numbers(joined: _Joined, name: str) -> None:
    """Raise InputError for the first index that is out of range or does not ascend, or value that is not finite."""
    indices = joined.indices
    falls = np.flatnonzero(indices[1:] <= indices[:-1]) + 1
    for positions, reason in (
        (
            np.flatnonzero((indices < 0) | (indices > _LARGEST_INDEX)),
            f"has the index {{}}; 0 to {_LARGEST_INDEX} are allowed.",
        ),
        (falls[~np.isin(falls, joined.ends)], "has the index {} after {}; indices ascend, and each is given once."),
        (
            np.flatnonzero(~(np.abs(joined.values) <= _LARGEST_VALUE)),
            "has NaN or infinity, or a value beyond float32.",
        ),
    ):
        if positions.size:
            place = int(positions[0])
            index = int(np.searchsorted(joined.ends, place, side="right")) - 1
            raise InputError(field=name, index=index, reason=reason.format(indices[place], indices[place - 1]))
