"""Exact search: the documents nearest to each query by cosine, over a corpus that comes block by block."""

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.vectors.finish import Vectors, finish

# Of similarities at a time, [queries, documents of a block]: 17 MB in float64 with 4,096 documents.
_QUERIES = 512


class TopK:
    """The ``k`` nearest documents of each query. Only they are kept: memory grows with ``[queries, k]``.

    Similarities are computed in float64 and rounded to float32, so that equal vectors are equally similar in whatever
    block they come. Of equally similar documents, the one added earlier comes first.
    """

    def __init__(self, queries: Vectors, k: int) -> None:
        self._queries = finish(queries, None, True).astype(np.float64)
        self._k, self._added = k, 0
        # One integer a candidate: its similarity above, the complement of its number below. All differ, so sorting
        # them is sorting by similarity and then by number, without a rule for ties.
        self._keys: NDArray[np.int64] = np.empty((len(queries), 0), dtype=np.int64)

    def add(self, documents: Vectors) -> None:
        """Search through a block of documents, float32 ``[n, dimension]``."""
        columns = finish(documents, None, True).astype(np.float64).T
        numbers = np.int64(0xFFFFFFFF) - np.arange(self._added, self._added + len(documents), dtype=np.int64)
        kept = min(self._k, self._added + len(documents))
        keys = np.empty((len(self._queries), kept), dtype=np.int64)
        for begin in range(0, len(self._queries), _QUERIES):
            rows = slice(begin, begin + _QUERIES)
            new = (_sortable(self._queries[rows] @ columns) << 32) | numbers
            candidates = np.concatenate([self._keys[rows], new], axis=1)
            candidates.partition(candidates.shape[1] - kept, axis=1)
            keys[rows] = candidates[:, candidates.shape[1] - kept :]
        self._keys, self._added = keys, self._added + len(documents)

    def ranking(self) -> NDArray[np.int64]:
        """Numbers of documents in the order in which they were added, nearest first: ``[queries, min(k, added)]``."""
        ordered: NDArray[np.int64] = np.int64(0xFFFFFFFF) - (np.sort(self._keys, axis=1)[:, ::-1] & 0xFFFFFFFF)
        return ordered


def _sortable(similarities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Integers in the order of the similarities as float32: its bits, which descend where the sign is negative."""
    bits = (similarities.astype(np.float32) + np.float32(0.0)).view(np.int32)  # -0.0 becomes 0.0
    return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
