"""The forms vectors come in beside float32: float16, int8, uint8, packed bits, base64; and the similarity of each.

``int8`` and ``uint8`` with ranges, ``binary`` and ``ubinary`` are what sentence-transformers' ``quantize_embeddings``
makes. Without ranges it takes them from the vectors of the call; here a vector never depends on its neighbours, and
``int8`` scales each by its own largest value.
"""

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors import PRECISIONS, WITHOUT_RANGES
from akidb_embeddings.vectors.finish import Vectors, finish, non_finite_rows

# An array of one of the types below.
Quantized = NDArray[Any]
Similarities = NDArray[np.float32]

_TYPES = {  # of each of ``PRECISIONS``
    "float32": np.float32,
    "float16": np.float16,
    "int8": np.int8,
    "uint8": np.uint8,
    "binary": np.int8,
    "ubinary": np.uint8,
}
_WITH_RANGES = ("int8", "uint8")
_LARGEST_HALF = 65504
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def quantize(
    vectors: ArrayLike,
    precision: str,
    *,
    ranges: ArrayLike | None = None,
    calibration: ArrayLike | None = None,
    first_index: int = 0,
) -> Quantized:
    """Float vectors ``[n, d]`` in another form, each by itself: ``[n, d]``, or ``[n, ceil(d / 8)]`` packed bits.

    Args:
        vectors: float16, float32 or float64; they are taken as float32.
        precision:
            ``float32``; ``float16``, the nearest.
            ``int8``: ``round(127 v / max|v|)``. The scale of a vector is lost, which cosine does not see.
            ``int8``, ``uint8`` with ranges: ``floor((v - minimum) / ((maximum - minimum) / 255))`` within 0 … 255, for
            int8 less 128. What lies outside the ranges counts as their end.
            ``ubinary``, uint8: a bit for each dimension, 1 for ``v > 0``, the first one highest. Where d is no multiple
            of 8, zero bits fill the last byte. ``binary``: these bytes less 128, as int8.
        ranges: ``[2, d]``, the minimum and maximum of each dimension, for int8 and uint8.
        calibration: Vectors ``[m, d]`` to take the ranges from instead.
        first_index: What errors call the first vector, where they are part of a longer list.

    InputError: an unknown precision; uint8 without ranges; wrong shapes; NaN or infinity; beyond float16's 65504.
    """
    check_precision(precision)
    numbers = _floats(vectors, "vectors", first_index)
    limits = _ranges(precision, ranges, calibration, numbers.shape[1])
    if precision == "float16":
        return _halves(numbers, first_index)
    if precision == "int8" and limits is None:
        return _scaled(numbers)
    if limits is not None:
        places = _places(numbers, limits)
        return places.astype(np.uint8) if precision == "uint8" else (places - 128).astype(np.int8)
    if precision == "float32":
        return numbers
    bits = np.packbits(numbers > 0, axis=1)
    return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)


def similarity(a: ArrayLike, b: ArrayLike, *, precision: str = "float32", dimension: int | None = None) -> Similarities:
    """Cosine similarities ``[len(a), len(b)]`` of vectors in one precision, whatever their lengths.

    Floats, and int8 made without ranges, are compared by value; a zero vector is 0 to all. ``binary`` and ``ubinary``
    are signs, +1 or -1: ``1 - 2 hamming / d``. ``dimension`` is their d where it is no multiple of 8.

    uint8 is refused, for it holds places in ranges and no directions. So does int8 that was made with ranges, which
    cannot be told from the other: turn both back first, by ``minimum + place * (maximum - minimum) / 255``, where
    int8 is the place less 128.

    InputError: wrong shapes, arrays of another type than the precision's, NaN or infinity.
    """
    if precision not in WITHOUT_RANGES:
        allowed = ", ".join(WITHOUT_RANGES)
        raise InputError(
            field="precision",
            reason=f"is {precision!r}; similarity takes {allowed}. uint8 holds places in ranges: turn them back "
            "first, by minimum + place * (maximum - minimum) / 255.",
        )
    first, second = _typed(a, "a", precision), _typed(b, "b", precision)
    if first.shape[1] != second.shape[1]:
        raise InputError(f"a has shape {first.shape} and b {second.shape}; their rows must have one length.")
    if precision in ("binary", "ubinary"):
        width = _dimension(dimension, first.shape[1])
        return (1 - 2 / width * _hamming(first, second)).astype(np.float32)
    if dimension not in (None, first.shape[1]):
        raise InputError(field="dimension", reason=f"is {dimension}; the vectors have {first.shape[1]}.")
    return finish(first, None, True) @ finish(second, None, True).T


def to_base64(vectors: Quantized) -> list[str]:
    """Each row's bytes, little-endian, as base64. InputError: no array ``[n, d]`` of a precision's type."""
    rows = _matrix(vectors, "vectors")
    if rows.dtype.newbyteorder("=") not in _TYPES.values():
        raise InputError(
            field="vectors", reason=f"is {rows.dtype}; quantize(vectors, 'float32') makes what from_base64 can read."
        )
    return [base64.b64encode(row.tobytes()).decode() for row in little_endian(rows)]


def from_base64(rows: Iterable[str], precision: str = "float32") -> Quantized:
    """What ``to_base64`` wrote, ``[n, d]`` or packed; ``[0, 0]`` of no rows.

    InputError names the row that is no base64, no whole number of values, or of another length than the first.
    """
    check_precision(precision)
    if isinstance(rows, str | bytes):
        raise InputError(field="rows", reason="is one string; a list is expected: [row] for a single vector.")
    kind = np.dtype(_TYPES[precision])
    parts: list[bytes] = []
    for index, row in enumerate(rows):
        try:
            part = base64.b64decode(row, validate=True)
        except (TypeError, ValueError) as error:
            raise InputError(field="rows", index=index, reason=f"is not base64 ({error}).") from None
        if len(part) % kind.itemsize or (parts and len(part) != len(parts[0])):
            first = f", and rows[0] {len(parts[0])}" if parts else ""
            raise InputError(
                field="rows",
                index=index,
                reason=f"has {len(part)} bytes{first}; {precision} has {kind.itemsize} per value.",
            )
        parts.append(part)
    flat = np.frombuffer(b"".join(parts), dtype=kind.newbyteorder("<")).astype(kind)
    return flat.reshape(len(parts), -1) if flat.size else flat.reshape(len(parts), 0)


def check_precision(precision: str) -> None:
    """Raise InputError unless ``precision`` is one of ``PRECISIONS``."""
    if precision not in PRECISIONS:
        raise InputError(field="precision", reason=f"is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")


def little_endian(vectors: Quantized) -> Quantized:
    """The same values with their low bytes first, as files and messages have them; no copy where they are so."""
    return np.ascontiguousarray(vectors, dtype=vectors.dtype.newbyteorder("<"))


def _halves(vectors: Vectors, first_index: int) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    spoilt = np.flatnonzero(np.isinf(halves).any(axis=1))
    if spoilt.size:
        raise InputError(
            field="vectors",
            index=first_index + int(spoilt[0]),
            reason=f"has a value beyond float16's {_LARGEST_HALF}. Normalize the vectors, or choose float32.",
        )
    return halves


def _scaled(vectors: Vectors) -> NDArray[np.int8]:
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    # Divided before it is multiplied: 127 times a large float32 would overflow.
    return np.rint(vectors / np.where(largest > 0, largest, np.float32(1)) * np.float32(127)).astype(np.int8)


def _places(vectors: Vectors, ranges: Vectors) -> Vectors:
    """Where each value lies in its dimension's range, 0 … 255. A range of no width has steps of 1."""
    steps = (ranges[1] - ranges[0]) / np.float32(255)
    with np.errstate(over="ignore"):  # far outside a narrow range: infinity, which is its end
        places: Vectors = np.floor((vectors - ranges[0]) / np.where(steps > 0, steps, np.float32(1)))
    return np.clip(places, 0, 255)


def _ranges(precision: str, ranges: ArrayLike | None, calibration: ArrayLike | None, width: int) -> Vectors | None:
    """The ranges ``[2, d]`` that are given, or those of the calibration's vectors; None for neither."""
    if ranges is None and calibration is None:
        if precision == "uint8":
            raise InputError(
                field="precision",
                reason="is 'uint8', which needs ranges, the minimum and maximum of each dimension. Taken from the "
                "vectors themselves, they would make a vector depend on its neighbours. Use quantize(vectors, 'uint8', "
                "ranges=...), or calibration=VECTORS to take them from; or choose int8, which needs none.",
            )
        return None
    if precision not in _WITH_RANGES:
        raise InputError(
            field="precision", reason=f"is {precision!r}; ranges and calibration are for int8 and uint8 alone."
        )
    if ranges is not None and calibration is not None:
        raise InputError("Give ranges or calibration, not both.")
    if calibration is not None:
        examples = _floats(calibration, "calibration")
        if not len(examples):
            raise InputError(field="calibration", reason="has no vectors; give some hundreds that are like yours.")
        ranges = np.stack([examples.min(axis=0), examples.max(axis=0)])
    limits = _floats(ranges, "ranges" if calibration is None else "calibration")
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
            "and their difference must be a float32."
        )
    return limits


def _matrix(values: ArrayLike, name: str) -> NDArray[Any]:
    """An array ``[n, d]`` of numbers with d >= 1."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise InputError(field=name, reason="has rows of different lengths; an array [n, d] is expected.") from None
    if array.dtype.kind not in "fiu":
        raise InputError(field=name, reason=f"is of type {array.dtype}; numbers are expected.")
    if array.ndim != 2 or not array.shape[1]:
        hint = f" For a single row, give [{name}]." if array.ndim == 1 and array.size else ""
        raise InputError(field=name, reason=f"has shape {array.shape}; an array [n, d] is expected.{hint}")
    return array


def _floats(values: ArrayLike | None, name: str, first_index: int = 0) -> Vectors:
    """``[n, d]`` as float32, all finite."""
    array = _matrix([] if values is None else values, name)
    if array.dtype in (np.int8, np.uint8):
        raise InputError(field=name, reason=f"is {array.dtype}, quantized already; floats are expected.")
    with np.errstate(over="ignore"):  # beyond float32: infinity, which is refused
        vectors = array.astype(np.float32, copy=False)
    if spoilt := non_finite_rows(vectors):
        raise InputError(
            field=name, index=first_index + spoilt[0], reason="has NaN or infinity, or a value beyond float32."
        )
    return vectors


def _typed(values: ArrayLike, name: str, precision: str) -> NDArray[Any]:
    """``[n, d]`` of the precision's type: nobody can tell int8 values from packed bits by looking at them."""
    array = _matrix(values, name)
    if precision in ("float32", "float16"):
        if array.dtype in (np.int8, np.uint8):
            raise InputError(
                field=name, reason=f"is {array.dtype}; say what it holds: precision='int8', 'binary' or 'ubinary'."
            )
        return _floats(array, name)
    if array.dtype != _TYPES[precision]:
        wanted = np.dtype(_TYPES[precision])
        raise InputError(
            field=name,
            reason=f"is {array.dtype}, and {precision} is {wanted}; quantize({name}, {precision!r}) first.",
        )
    return array


def _dimension(dimension: int | None, width: int) -> int:
    """How many of ``width`` bytes' bits count."""
    if dimension is None:
        return 8 * width
    if not 8 * (width - 1) < dimension <= 8 * width:
        raise InputError(
            field="dimension", reason=f"is {dimension}; {width} bytes hold {8 * width - 7} to {8 * width} bits."
        )
    return dimension


def _hamming(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int64]:
    """How many bits differ, ``[len(a), len(b)]``. In int8 the highest bit is turned over on both sides: no matter."""
    if len(a) > len(b):
        return _hamming(b, a).T
    distances = np.empty((len(a), len(b)), dtype=np.int64)
    others = b.view(np.uint8)
    for index, row in enumerate(a.view(np.uint8)):
        distances[index] = _ONES[others ^ row].sum(axis=1)
    return distances
