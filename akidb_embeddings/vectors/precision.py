"""Quantization of vectors to float16, int8, uint8 and packed bits; base64; similarity for each precision.

``int8`` and ``uint8`` with ranges, ``binary`` and ``ubinary`` equal sentence-transformers' ``quantize_embeddings``.
Without ranges, that function takes them from the vectors of the call. Here a vector never depends on the others:
``int8`` without ranges scales each vector by its own largest value.
"""

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors import PRECISIONS, WITHOUT_RANGES
from akidb_embeddings.vectors.arrays import finite_float32, numeric_matrix
from akidb_embeddings.vectors.finish import Vectors, finish

# An array of one of the dtypes below.
Quantized = NDArray[Any]
Similarities = NDArray[np.float32]

_DTYPES = {  # of each of ``PRECISIONS``
    "float32": np.float32,
    "float16": np.float16,
    "int8": np.int8,
    "uint8": np.uint8,
    "binary": np.int8,
    "ubinary": np.uint8,
}
_RANGE_PRECISIONS = ("int8", "uint8")
_FLOAT16_MAX = 65504
_POPCOUNT = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def quantize(
    vectors: ArrayLike,
    precision: str,
    *,
    ranges: ArrayLike | None = None,
    calibration: ArrayLike | None = None,
    first_index: int = 0,
) -> Quantized:
    """Convert float vectors to another precision, each independently of the others.

    Args:
        vectors: float16, float32 or float64 [n, d]; they are converted to float32 first.
        precision:
            ``float32``; ``float16``, rounded to nearest.
            ``int8``: ``round(127 v / max|v|)``. The vector's scale is lost, which does not affect cosine similarity.
            ``int8``, ``uint8`` with ranges: ``floor((v - minimum) / ((maximum - minimum) / 255))``, clipped to
            0 … 255; for int8 minus 128.
            ``ubinary``, uint8: one bit per dimension, 1 for ``v > 0``, the first dimension in the highest bit. If d is
            not a multiple of 8, zero bits fill the last byte. ``binary``: these bytes minus 128, as int8.
        ranges: float [2, d], the minimum and maximum of each dimension, for int8 and uint8.
        calibration: Vectors, float [m, d], from which the ranges are computed instead.
        first_index: The index of the first vector in error messages.

    Returns:
        [n, d] in the precision's dtype, or [n, ceil(d / 8)] for packed bits.

    Raises:
        InputError: The precision is unknown, uint8 lacks ranges, a shape is wrong, a value is NaN, infinite or
            beyond float16's 65504, or a vector would become zero in float16.
    """
    check_precision(precision)
    numbers = finite_float32(vectors, "vectors", first_index)
    limits = _ranges(precision, ranges, calibration, numbers.shape[1])
    if precision == "float16":
        return _to_float16(numbers, first_index)
    if precision == "int8" and limits is None:
        return _to_int8(numbers)
    if limits is not None:
        levels = _to_levels(numbers, limits)
        return levels.astype(np.uint8) if precision == "uint8" else (levels - 128).astype(np.int8)
    if precision == "float32":
        return numbers
    bits = np.packbits(numbers > 0, axis=1)
    return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)


def similarity(a: ArrayLike, b: ArrayLike, *, precision: str = "float32", dimension: int | None = None) -> Similarities:
    """Cosine similarities of vectors in one precision. The vectors need not be normalized.

    The similarity to a zero vector is 0. ``binary`` and ``ubinary`` are compared as signs, +1 or -1:
    ``1 - 2 hamming / d``.

    uint8 is not accepted, because its values are levels within ranges, not directions. The same holds for int8 made
    with ranges, which cannot be distinguished from int8 made without. Dequantize both first:
    ``minimum + level * (maximum - minimum) / 255``, where the level is the uint8 value, or the int8 value plus 128.

    Args:
        a: [n, d] in the precision's dtype, or [n, ceil(d / 8)] packed bits.
        b: [m, d], likewise.
        precision: The precision of both.
        dimension: The d of packed bits, if it is not a multiple of 8.

    Returns:
        float32 [n, m].

    Raises:
        InputError: A shape or dtype is wrong, a value is NaN or infinite, or ``dimension`` is no integer or not theirs.
    """
    if precision not in WITHOUT_RANGES:
        allowed = ", ".join(WITHOUT_RANGES)
        raise InputError(
            field="precision",
            reason=f"is {precision!r}; similarity takes {allowed}. uint8 holds levels within ranges: dequantize them "
            "first, by minimum + level * (maximum - minimum) / 255.",
        )
    first, second = _check_type(a, "a", precision), _check_type(b, "b", precision)
    if first.shape[1] != second.shape[1]:
        raise InputError(f"a has shape {first.shape} and b {second.shape}; their rows must have the same length.")
    if dimension is not None and (isinstance(dimension, bool) or not isinstance(dimension, int | np.integer)):
        raise InputError(
            field="dimension", reason=f"is {dimension!r}; an integer is expected, or None for all that a row holds."
        )
    if precision in ("binary", "ubinary"):
        width = _bit_count(dimension, first.shape[1])
        return (1 - 2 / width * _hamming(first, second)).astype(np.float32)
    if dimension not in (None, first.shape[1]):
        raise InputError(field="dimension", reason=f"is {dimension}; the vectors have {first.shape[1]}.")
    return finish(first, None, True) @ finish(second, None, True).T


def to_base64(vectors: Quantized) -> list[str]:
    """Encode each row's little-endian bytes as base64.

    Raises:
        InputError: ``vectors`` is not an array [n, d] of a precision's dtype.
    """
    rows = numeric_matrix(vectors, "vectors")
    if rows.dtype.newbyteorder("=") not in _DTYPES.values():
        raise InputError(
            field="vectors",
            reason=f"is {rows.dtype}; quantize(vectors, 'float32') gives a dtype that from_base64 can read.",
        )
    return [base64.b64encode(row.tobytes()).decode() for row in little_endian(rows)]


def from_base64(rows: Iterable[str], precision: str = "float32") -> Quantized:
    """Decode rows written by ``to_base64``.

    Returns:
        [n, d] or packed bits in the precision's dtype; [0, 0] for no rows.

    Raises:
        InputError: A row is not base64, does not hold a whole number of values, or differs in length from the first.
    """
    check_precision(precision)
    if isinstance(rows, str | bytes):
        raise InputError(field="rows", reason="is one string; a list is expected: [row] for a single vector.")
    dtype = np.dtype(_DTYPES[precision])
    parts: list[bytes] = []
    for index, row in enumerate(rows):
        try:
            part = base64.b64decode(row, validate=True)
        except (TypeError, ValueError) as error:
            raise InputError(field="rows", index=index, reason=f"is not base64 ({error}).") from None
        if len(part) % dtype.itemsize or (parts and len(part) != len(parts[0])):
            first = f", and rows[0] {len(parts[0])}" if parts else ""
            raise InputError(
                field="rows",
                index=index,
                reason=f"has {len(part)} bytes{first}; {precision} has {dtype.itemsize} per value.",
            )
        parts.append(part)
    flat = np.frombuffer(b"".join(parts), dtype=dtype.newbyteorder("<")).astype(dtype)
    return flat.reshape(len(parts), -1) if flat.size else flat.reshape(len(parts), 0)


def check_precision(precision: str) -> None:
    """Check that ``precision`` is one of ``PRECISIONS``.

    Raises:
        InputError: It is not.
    """
    if precision not in PRECISIONS:
        raise InputError(field="precision", reason=f"is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")


def little_endian(vectors: Quantized) -> Quantized:
    """The same values in little-endian byte order, as in files and messages; not copied if they already are."""
    return np.ascontiguousarray(vectors, dtype=vectors.dtype.newbyteorder("<"))


def _to_float16(vectors: Vectors, first_index: int) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    invalid = np.flatnonzero(np.isinf(halves).any(axis=1))
    if invalid.size:
        raise InputError(
            field="vectors",
            index=first_index + int(invalid[0]),
            reason=f"has a value beyond float16's {_FLOAT16_MAX}. Normalize the vectors, or choose float32.",
        )
    vanished = np.flatnonzero(vectors.any(axis=1) & ~halves.any(axis=1))
    if vanished.size:
        raise InputError(
            field="vectors",
            index=first_index + int(vanished[0]),
            reason="has only values that are zero in float16. Normalize the vectors, or choose float32.",
        )
    return halves


def _to_int8(vectors: Vectors) -> NDArray[np.int8]:
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    # Divide before multiplying: 127 times a large float32 would overflow.
    return np.rint(vectors / np.where(largest > 0, largest, np.float32(1)) * np.float32(127)).astype(np.int8)


def _to_levels(vectors: Vectors, ranges: Vectors) -> Vectors:
    """The level of each value within its dimension's range, float32 0 … 255. An empty range has steps of 1."""
    steps = (ranges[1] - ranges[0]) / np.float32(255)
    with np.errstate(over="ignore"):  # far outside a narrow range: infinity, clipped below
        levels: Vectors = np.floor((vectors - ranges[0]) / np.where(steps > 0, steps, np.float32(1)))
    return np.clip(levels, 0, 255)


def _ranges(precision: str, ranges: ArrayLike | None, calibration: ArrayLike | None, width: int) -> Vectors | None:
    """The ranges, float32 [2, d], given or computed from the calibration vectors; None without either."""
    if ranges is None and calibration is None:
        if precision == "uint8":
            raise InputError(
                field="precision",
                reason="is 'uint8', which needs ranges, the minimum and maximum of each dimension. Taken from the "
                "vectors themselves, they would make a vector depend on the others. Use quantize(vectors, 'uint8', "
                "ranges=...), or calibration=VECTORS to compute them from; or choose int8, which needs none.",
            )
        return None
    if precision not in _RANGE_PRECISIONS:
        raise InputError(
            field="precision", reason=f"is {precision!r}; ranges and calibration are only for int8 and uint8."
        )
    if ranges is not None and calibration is not None:
        raise InputError("Give ranges or calibration, not both.")
    if calibration is not None:
        examples = finite_float32(calibration, "calibration")
        if not len(examples):
            raise InputError(
                field="calibration", reason="has no vectors; give a few hundred that are similar to yours."
            )
        ranges = np.stack([examples.min(axis=0), examples.max(axis=0)])
    limits = finite_float32(ranges, "ranges" if calibration is None else "calibration")
    if limits.shape != (2, width):
        raise InputError(
            f"The ranges have shape {limits.shape}; [2, {width}] is expected, minimum and maximum.", field="ranges"
        )
    with np.errstate(over="ignore"):
        widths = limits[1] - limits[0]
    if not np.isfinite(widths).all() or (widths < 0).any():
        wrong = int(np.argmin(np.isfinite(widths) & (widths >= 0)))
        raise InputError(
            f"The range of dimension {wrong} is {limits[0, wrong]:g} to {limits[1, wrong]:g}; the minimum comes first, "
            "and their difference must be a finite float32."
        )
    return limits


def _check_type(values: ArrayLike, name: str, precision: str) -> NDArray[Any]:
    """[n, d] in the precision's dtype. int8 values cannot be distinguished from packed bits, so the caller names it."""
    array = numeric_matrix(values, name)
    if precision in ("float32", "float16"):
        if array.dtype in (np.int8, np.uint8):
            raise InputError(
                field=name, reason=f"is {array.dtype}; give its precision: precision='int8', 'binary' or 'ubinary'."
            )
        return finite_float32(array, name)
    if array.dtype != _DTYPES[precision]:
        expected = np.dtype(_DTYPES[precision])
        raise InputError(
            field=name,
            reason=f"is {array.dtype}, and {precision} is {expected}; quantize({name}, {precision!r}) first.",
        )
    return array


def _bit_count(dimension: int | None, width: int) -> int:
    """The number of dimensions in ``width`` bytes of packed bits."""
    if dimension is None:
        return 8 * width
    if not 8 * (width - 1) < dimension <= 8 * width:
        raise InputError(
            field="dimension", reason=f"is {dimension}; {width} bytes hold {8 * width - 7} to {8 * width} bits."
        )
    return dimension


def _hamming(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int64]:
    """Hamming distances, int64 [len(a), len(b)]. In int8 the highest bit of both is inverted, which cancels out."""
    if len(a) > len(b):
        return _hamming(b, a).T
    distances = np.empty((len(a), len(b)), dtype=np.int64)
    others = b.view(np.uint8)
    for index, row in enumerate(a.view(np.uint8)):
        distances[index] = _POPCOUNT[others ^ row].sum(axis=1)
    return distances
