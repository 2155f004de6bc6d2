"""MaxSim: the similarity of texts that have a vector of each token (Khattab and Zaharia, 2020)."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors.arrays import finite_float32
from akidb_embeddings.vectors.finish import Vectors
from akidb_embeddings.vectors.ragged import offsets

# The products of a query's tokens with those of so many documents are held at once: 64 MB.
_MOST_PRODUCTS = 1 << 24


def maxsim(queries: Iterable[ArrayLike], documents: Iterable[ArrayLike]) -> NDArray[np.float32]:
    """Similarities of token vectors: for each token of a query the highest product with one of a document, added up.

    It is not symmetric, and a query of more tokens has higher ones.

    Args:
        queries: Token vectors of each query, float ``[n, d]``.
        documents: Token vectors of each document, float ``[m, d]``.

    Returns:
        float32 ``[queries, documents]``; 0 where either has no token.

    Raises:
        InputError: An item is no array ``[n, d]``, d differs, or a value is NaN or infinite.
    """
    first, second = _checked(queries, "queries"), _checked(documents, "documents")
    widths = {text.shape[1] for text in (*first, *second)}
    if len(widths) > 1:
        raise InputError(f"The token vectors have {' and '.join(map(str, sorted(widths)))} dimensions; give one kind.")
    similarities = np.zeros((len(first), len(second)), dtype=np.float32)
    filled = [index for index, text in enumerate(second) if len(text)]
    for row, query in zip(similarities, first, strict=True):
        for part in _parts(filled, second, _MOST_PRODUCTS // max(1, len(query))):
            starts = offsets([len(second[index]) for index in part])[:-1]
            products = np.concatenate([second[index] for index in part]) @ query.T
            row[part] = np.maximum.reduceat(products, starts).sum(axis=1, dtype=np.float64)
    return similarities


def _parts(indices: Sequence[int], texts: Sequence[Vectors], most: int) -> Iterator[list[int]]:
    """The indices in parts whose texts have at most ``most`` tokens; a longer text is a part of its own."""
    part, tokens = list[int](), 0
    for index in indices:
        if part and tokens + len(texts[index]) > most:
            yield part
            part, tokens = [], 0
        part.append(index)
        tokens += len(texts[index])
    if part:
        yield part


def _checked(texts: Iterable[ArrayLike], name: str) -> list[Vectors]:
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(finite_float32(text, name))
        except InputError as error:
            raise error.changed(index=index) from None
    return found
