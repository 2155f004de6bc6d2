"""Checks of arguments: texts, and vectors from elsewhere."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors.finish import Vectors, non_finite_rows, zero_rows

# Kinds of dtypes that NumPy would convert to float64, with a loss or by reading text, and what they are.
_NOT_REAL = {"U": "strings", "S": "bytes", "T": "strings", "c": "complex numbers", "M": "dates", "m": "times"}


def check_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list.

    Raises:
        InputError: The argument is not a list, or an item is not a string; ``index`` says which.
    """
    if isinstance(texts, str | bytes):
        raise InputError(
            field="texts", reason=f"is one {type(texts).__name__}; a list is expected: [text] for a single text."
        )
    try:
        iterator = iter(texts)  # apart from the iteration: errors in a caller's generator are not translated
    except TypeError:
        raise InputError(field="texts", reason=f"is {_kind(texts)}; a list of strings is expected.") from None
    checked = list(iterator)
    for index, text in enumerate(checked):
        if not isinstance(text, str):
            raise InputError(field="texts", index=index, reason=f"is {_kind(text)}; a string is expected.")
    return checked


def check_text(text: str) -> str:
    """One query or prompt.

    Raises:
        InputError: It is not a string.
    """
    if not isinstance(text, str):
        raise InputError(
            f"A string is expected, but this is {_kind(text)}. For several texts, use the method that takes a list."
        )
    return text


def check_task(task: str, field: str = "task") -> str:
    """The instruction for queries.

    Raises:
        InputError: It is not a string, or blank.
    """
    if not check_text(task).strip():
        raise InputError(
            field=field, reason=f"is {task!r}; an instruction in words is expected, or None for the model's own."
        )
    return task


def check_vectors(
    vectors: ArrayLike | Sequence[ArrayLike], dimension: int, count: int | None = None, first_index: int = 0
) -> Vectors:
    """Check vectors from elsewhere.

    Args:
        vectors: ``[n, dimension]``, or a list of vectors.
        dimension: The length that each vector must have.
        count: How many vectors are expected, if that is known.
        first_index: The number that errors give the first vector.

    Returns:
        float32 ``[n, dimension]``.

    Raises:
        InputError: A vector has another length, NaN or infinity, is no real numbers, or is zero; ``index`` says
            which. Or there are not ``count`` of them.
    """
    expected = f"a list of vectors or an array [n, {dimension}] is expected."
    if isinstance(vectors, str | bytes):
        raise InputError(field="vectors", reason=f"is {_kind(vectors)}; {expected}")
    try:
        iterator = iter(vectors)  # type: ignore[arg-type]  # a scalar raises the TypeError below
    except TypeError:
        raise InputError(field="vectors", reason=f"is {_kind(vectors)}; {expected}") from None
    rows = list(iterator)
    if count is not None and len(rows) != count:
        raise InputError(f"There are {len(rows)} vectors for {count} texts; give one per text.", field="vectors")
    accepted = np.empty((len(rows), dimension), dtype=np.float32)
    for index, row in enumerate(rows):
        with np.errstate(over="ignore"):  # beyond float32 it becomes infinity, which is rejected below
            accepted[index] = _check_vector(row, first_index + index, dimension)
    if non_finite := non_finite_rows(accepted):
        raise InputError(field="vectors", index=first_index + non_finite[0], reason="has NaN or infinity.")
    if zeros := zero_rows(accepted):
        raise InputError(
            field="vectors", index=first_index + zeros[0], reason="is zero: it has no direction to compare."
        )
    return accepted


def _check_vector(row: object, index: int, dimension: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    try:
        given = np.asarray(row)
        wrong = _not_real(given) if given.ndim else ""
        vector = np.zeros(0) if wrong else given.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(
            field="vectors", index=index, reason=f"is {_kind(row)}; {dimension} numbers are expected."
        ) from None
    if wrong:
        raise InputError(field="vectors", index=index, reason=f"has {wrong}; {dimension} real numbers are expected.")
    if vector.shape != (dimension,):
        raise InputError(
            field="vectors",
            index=index,
            reason=f"has shape {vector.shape}; this model's vectors have {dimension} numbers.",
        )
    return vector


def _not_real(array: NDArray[Any]) -> str:
    """What an array has instead of real numbers; "" if its values can be taken for them."""
    if array.dtype.kind == "O":
        wrong = (one for one in array.flat if isinstance(one, str | bytes | complex | np.complexfloating))
        return next((f"an item {_kind(one)}" for one in wrong), "")
    return _NOT_REAL.get(array.dtype.kind, "")


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
