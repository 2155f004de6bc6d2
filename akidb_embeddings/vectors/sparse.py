"""Sparse vectors: weights of some tokens of a vocabulary, and their similarity."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors.finish import Vectors
from akidb_embeddings.vectors.ragged import offsets


@dataclass(frozen=True, eq=False)
class SparseVector:
    """The weights of some tokens of a vocabulary; those of all others are 0.

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


def sparse_similarity(a: Iterable[SparseVector], b: Iterable[SparseVector]) -> NDArray[np.float32]:
    """Dot products of sparse vectors, which is how SPLADE's and BGE-M3's are compared.

    Args:
        a: Sparse vectors.
        b: Sparse vectors of the same vocabulary.

    Returns:
        float32 ``[len(a), len(b)]``; 0 where two have no token in common.

    Raises:
        InputError: An item is no sparse vector.
    """
    first, second = _checked(a, "a"), _checked(b, "b")
    ends = offsets([len(vector) for vector in second])
    indices = np.concatenate([np.zeros(0, np.int32), *(vector.indices for vector in second)])
    values = np.concatenate([np.zeros(0, np.float64), *(vector.values.astype(np.float64) for vector in second)])
    width = max((int(vector.indices[-1]) + 1 for vector in (*first, *second) if len(vector)), default=0)
    dense = np.zeros(width)
    similarities = np.zeros((len(first), len(second)), dtype=np.float32)
    for row, vector in zip(similarities, first, strict=True):
        dense[vector.indices] = vector.values
        sums = np.concatenate(([0.0], np.cumsum(dense[indices] * values)))
        row[:] = sums[ends[1:]] - sums[ends[:-1]]
        dense[vector.indices] = 0
    return similarities


def _checked(vectors: Iterable[SparseVector], name: str) -> Sequence[SparseVector]:
    found = list(vectors)
    for index, vector in enumerate(found):
        if not isinstance(vector, SparseVector):
            raise InputError(
                field=name,
                index=index,
                reason=f"is of type {type(vector).__name__}; a SparseVector is expected, of encode(output='sparse').",
            )
    return found
