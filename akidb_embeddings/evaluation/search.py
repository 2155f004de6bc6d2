"""Exact search by cosine over a corpus that is added block by block."""

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.vectors.finish import Vectors, finish

# Queries per matrix of similarities [queries, documents of a block]: 17 MB in float64 with 4,096 documents.
_QUERY_BLOCK = 512


class TopK:
    """Finds the ``k`` nearest documents of each query. Only those are kept: memory grows with ``[queries, k]``.

    Similarities are computed in float64 and rounded to float32, so that equal vectors are equally similar in every
    block. Of equally similar documents, the one that was added first ranks higher.

    Args:
        queries: float32 [queries, dimension].
        k: How many documents to find.
    """

    def __init__(self, queries: Vectors, k: int) -> None:
        self._queries = finish(queries, None, True).astype(np.float64)
        self._k, self._added = k, 0
        # One integer per candidate: the similarity in the high 32 bits, the complement of the document's number in the
        # low ones. All differ, so sorting them sorts by similarity, then by number.
        self._keys: NDArray[np.int64] = np.empty((len(queries), 0), dtype=np.int64)

    def add(self, documents: Vectors) -> None:
        """Add a block of documents.

        Args:
            documents: float32 [n, dimension].
        """
        columns = finish(documents, None, True).astype(np.float64).T
        numbers = np.int64(0xFFFFFFFF) - np.arange(self._added, self._added + len(documents), dtype=np.int64)
        kept = min(self._k, self._added + len(documents))
        keys = np.empty((len(self._queries), kept), dtype=np.int64)
        for begin in range(0, len(self._queries), _QUERY_BLOCK):
            rows = slice(begin, begin + _QUERY_BLOCK)
            new = (_sortable(self._queries[rows] @ columns) << 32) | numbers
            candidates = np.concatenate([self._keys[rows], new], axis=1)
            candidates.partition(candidates.shape[1] - kept, axis=1)
            keys[rows] = candidates[:, candidates.shape[1] - kept :]
        self._keys, self._added = keys, self._added + len(documents)

    def ranking(self) -> NDArray[np.int64]:
        """Return the nearest documents of each query.

        Returns:
            Numbers of documents, counted from 0 in the order in which they were added, the nearest first; int64
            [queries, min(k, documents)].
        """
        ordered: NDArray[np.int64] = np.int64(0xFFFFFFFF) - (np.sort(self._keys, axis=1)[:, ::-1] & 0xFFFFFFFF)
        return ordered


def _sortable(similarities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Integers that sort as the similarities do in float32. The bits of negative floats sort in reverse."""
    bits = (similarities.astype(np.float32) + np.float32(0.0)).view(np.int32)  # -0.0 becomes 0.0
    return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
