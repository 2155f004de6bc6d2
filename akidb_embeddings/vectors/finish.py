"""Postprocessing of vectors, on any thread: Matryoshka truncation, normalization, checks for NaN and zero vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

# PyTorch's default, with which models with a LayerNorm before truncation were trained.
_EPSILON = 1e-5


def finish(vectors: Vectors, dimensions: int | None, normalize: bool, layer_norm: bool = False) -> Vectors:
    """Apply LayerNorm, truncation and normalization, in this order. A zero vector remains zero.

    Normalization comes last, because truncating a unit vector does not give a unit vector.

    Args:
        vectors: float32 [n, d].
        dimensions: The length to truncate to; None for no truncation.
        normalize: Whether to scale each vector to length 1.
        layer_norm: Whether to scale each vector to mean 0 and variance 1 first.

    Returns:
        float32 [n, dimensions or d].
    """
    if layer_norm:
        wide = vectors.astype(np.float64)
        centered = wide - wide.mean(axis=1, keepdims=True)
        vectors = (centered / np.sqrt(wide.var(axis=1, keepdims=True) + _EPSILON)).astype(np.float32)
    if dimensions is not None:
        vectors = vectors[:, :dimensions]
    if normalize:
        # In float64: the square of a large float32 would overflow, that of a small one vanish.
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        return (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return np.ascontiguousarray(vectors)


def row_cosines(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the cosine similarity of each row of ``a`` with the same row of ``b``, in float64.

    Args:
        a: Real vectors ``[n, d]``, of any length.
        b: Vectors of the same shape.

    Returns:
        float64 ``[n]``, from -1 to 1; 0 where a vector is zero.
    """
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)
    products = (wide_a * wide_b).sum(axis=1)
    cosines: NDArray[np.float64] = np.clip(products / np.where(lengths > 0, lengths, 1.0), -1.0, 1.0)
    return cosines


def non_finite_rows(vectors: Vectors) -> list[int]:
    """The indices of rows with NaN or infinity."""
    return np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()


def zero_rows(vectors: Vectors) -> list[int]:
    """The indices of rows that are all zero. They have no direction, so no similarity to anything."""
    return np.flatnonzero(~vectors.any(axis=1)).tolist()
