"""Checks of arrays that callers pass."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors.finish import Vectors, non_finite_rows


def numeric_matrix(values: ArrayLike, name: str) -> NDArray[Any]:
    """The values as an array [n, d] with d >= 1.

    Args:
        values: The values.
        name: The argument's name in error messages.

    Raises:
        InputError: They are not numbers, or have another shape.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(field=name, reason="has rows of different lengths; an array [n, d] is expected.") from None
    if array.dtype.kind not in "fiu":
        raise InputError(field=name, reason=f"has the dtype {array.dtype}; numbers are expected.")
    if array.ndim != 2 or not array.shape[1]:
        hint = f" For a single row, give [{name}]." if array.ndim == 1 and array.size else ""
        raise InputError(field=name, reason=f"has shape {array.shape}; an array [n, d] is expected.{hint}")
    return array


def finite_float32(values: ArrayLike | None, name: str, first_index: int = 0) -> Vectors:
    """The values as float32 [n, d].

    Args:
        values: The values; None for no rows.
        name: The argument's name in error messages.
        first_index: The index of the first row in error messages.

    Raises:
        InputError: They are not floats, have another shape, or are not finite.
    """
    array = numeric_matrix([] if values is None else values, name)
    if array.dtype in (np.int8, np.uint8):
        raise InputError(field=name, reason=f"is {array.dtype}, already quantized; floats are expected.")
    with np.errstate(over="ignore"):  # beyond float32: infinity, which is rejected
        vectors = array.astype(np.float32, copy=False)
    if invalid := non_finite_rows(vectors):
        raise InputError(
            field=name, index=first_index + invalid[0], reason="has NaN or infinity, or a value beyond float32."
        )
    return vectors
