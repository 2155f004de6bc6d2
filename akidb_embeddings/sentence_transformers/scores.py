"""Similarities of vectors as sentence-transformers computes them, in NumPy."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors.finish import row_cosines
from akidb_embeddings.vectors.precision import similarity

Floats = NDArray[np.float32]
Score = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]

_QUANTIZED = tuple(map(np.dtype, (np.int8, np.uint8, np.bool_)))  # what ``encode`` gives in other precisions

ALL_PAIRS: Mapping[str, Score] = {
    "cosine": similarity,
    "dot": lambda a, b: a @ b.T,
    "euclidean": lambda a, b: _distances(a, b, 2),
    "manhattan": lambda a, b: _distances(a, b, 1),
}
"""Similarities [n, m] of vectors [n, d] and [m, d], by sentence-transformers' names. Distances are negative."""

BY_ROWS: Mapping[str, Score] = {
    "cosine": row_cosines,
    "dot": lambda a, b: (a * b).sum(axis=-1),
    "euclidean": lambda a, b: -np.linalg.norm(a - b, axis=-1),
    "manhattan": lambda a, b: -np.abs(a - b).sum(axis=-1),
}
"""Similarities [n] of vectors [n, d] with the same row of others."""


def compare(functions: Mapping[str, Score], name: str, first: Any, second: Any) -> Any:
    """One of the similarities of arrays, lists or tensors.

    Args:
        functions: ``ALL_PAIRS`` or ``BY_ROWS``.
        name: The similarity.
        first: Vectors ``[n, d]`` or ``[d]``: an array, a list of arrays or numbers, or a tensor on the CPU.
        second: As ``first``.

    Returns:
        float32; a tensor if one of the two is a tensor, or has tensors. Two single vectors by rows have one number.

    Raises:
        InputError: A shape is wrong, or vectors are of 8 bits or of bits, whose numbers are no coordinates.
    """
    given = _floats(first, "embeddings1"), _floats(second, "embeddings2")
    a, b = _matrix(given[0], "embeddings1"), _matrix(given[1], "embeddings2")
    if a.shape[1] != b.shape[1] or (functions is BY_ROWS and len(a) != len(b)):
        what = "as many rows of the same length" if functions is BY_ROWS else "rows of the same length"
        raise InputError(f"embeddings1 has shape {a.shape} and embeddings2 {b.shape}; they must have {what}.")
    result = np.ascontiguousarray(functions[name](a, b), dtype=np.float32)
    if functions is BY_ROWS and given[0].ndim == given[1].ndim == 1:
        result = result.reshape(())
    if _is_tensor(first) or _is_tensor(second):
        import torch

        return torch.from_numpy(result)
    return result


def _floats(vectors: Any, name: str) -> Floats:
    # One by one: NumPy would read a list of tensors number by number.
    is_list = isinstance(vectors, list | tuple)
    rows: Any = [_array(one) for one in vectors] if is_list else _array(vectors)
    for one in rows if is_list else [rows]:
        if one.dtype in _QUANTIZED:
            raise InputError(
                field=name,
                reason=f"is of the dtype {one.dtype}: levels or bits, which have no such similarity. Compare float32 "
                "vectors, or those of EmbeddingService.embed(…, precision=…) with akidb_embeddings.similarity(…, "
                "precision=…).",
            )
    return np.asarray(rows, dtype=np.float32)


def _array(one: Any) -> NDArray[Any]:
    if _is_tensor(one):
        one = one.detach()
        one = one.float() if one.is_floating_point() else one  # NumPy has no bfloat16
    return np.asarray(one)


def _matrix(vectors: Floats, name: str) -> Floats:
    matrix = np.atleast_2d(vectors)
    if matrix.ndim != 2:
        raise InputError(field=name, reason=f"has shape {matrix.shape}; [n, d] or [d] is expected.")
    return matrix


def _is_tensor(vectors: Any) -> bool:
    torch = sys.modules.get("torch")  # without it, nothing is a tensor
    if torch is None:
        return False
    one = vectors[0] if isinstance(vectors, list | tuple) and len(vectors) else vectors
    return bool(torch.is_tensor(one))


def _distances(a: Floats, b: Floats, order: int) -> Floats:
    """Negative distances, one row of ``a`` after the other: all differences at once would take [n, m, d]."""
    rows = [-np.linalg.norm(b - one, ord=order, axis=1) for one in a]
    return np.stack(rows) if rows else np.empty((0, len(b)), dtype=np.float32)
