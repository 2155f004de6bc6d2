"""Whether weights are used as they are stored: a second reader of safetensors files, which shares nothing with MLX.

A fault in the reading of weights is in all vectors of a model, and in those of its conversion too, so comparing vectors
does not show it. This reader takes some numbers of each kind of tensor from the files' bytes with NumPy alone.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.safetensors import Location

_TENSORS_PER_KIND = 16
_RUN = 256  # numbers from the beginning, the middle and the end of a tensor
_ROUNDING = 1 / 128  # of a number in bfloat16, the coarsest dtype that a conversion writes

Values = NDArray[Any]


def _float8(codes: Values, exponent_bits: int) -> Values:
    """8-bit floats: sign, exponent, mantissa. E4M3 has no infinity, E5M2 has those of IEEE 754."""
    mantissa_bits = 7 - exponent_bits
    bias = 2 ** (exponent_bits - 1) - 1
    exponent = (codes.astype(np.int32) >> mantissa_bits) & (2**exponent_bits - 1)
    fraction = (codes & (2**mantissa_bits - 1)) / 2.0**mantissa_bits
    values = np.where(exponent > 0, (1 + fraction) * 2.0 ** (exponent - bias), fraction * 2.0 ** (1 - bias))
    highest = exponent == 2**exponent_bits - 1
    if exponent_bits == 5:
        values = np.where(highest, np.where(fraction > 0, np.nan, np.inf), values)
    else:
        values = np.where(highest & (fraction == 1 - 2.0**-mantissa_bits), np.nan, values)
    return np.where(codes & 128, -values, values)


# How the bytes of each dtype are stored, and what its numbers are.
_DTYPES: Mapping[str, tuple[str, Callable[[Values], Values]]] = {
    **{name: (f"<{kind}", np.array) for name, kind in (("F64", "f8"), ("F32", "f4"), ("F16", "f2"))},
    **{f"{kind}{8 * size}": (f"<{kind.lower()}{size}", np.array) for kind in "IU" for size in (1, 2, 4, 8)},
    "BOOL": ("?", np.array),
    "BF16": ("<u2", lambda codes: (codes.astype(np.uint32) << 16).view(np.float32)),
    "F8_E4M3": ("u1", lambda codes: _float8(codes, 4)),
    "F8_E5M2": ("u1", lambda codes: _float8(codes, 5)),
}


class StoredNumbers:
    """Reads numbers of tensors from their files' bytes. Each header is read once."""

    def __init__(self) -> None:
        self._headers: dict[Path, tuple[int, dict[str, Any]]] = {}

    def read(self, location: Location, begin: int, count: int) -> Values:
        """Numbers of a tensor in order: at most ``count``, from number ``begin``."""
        start, header = self._header(location.file)
        entry = header[location.key]
        dtype, decode = _DTYPES[entry["dtype"]]
        size = np.dtype(dtype).itemsize
        first, last = (start + offset for offset in entry["data_offsets"])
        with location.file.open("rb") as stream:
            stream.seek(first + begin * size)
            content = stream.read(min(count * size, last - first - begin * size))
        return decode(np.frombuffer(content, dtype))

    def _header(self, file: Path) -> tuple[int, dict[str, Any]]:
        if file not in self._headers:
            with file.open("rb") as stream:
                length = int(np.frombuffer(stream.read(8), "<u8")[0])
                self._headers[file] = 8 + length, json.loads(stream.read(length))
        return self._headers[file]


def misread_tensor(checkpoint: BaseCheckpoint) -> str:
    """A tensor that MLX gives other numbers for than its file has, in words; "" if there is none."""
    from akidb_embeddings.compute.runtime import mx
    from akidb_embeddings.compute.weights import load_tensors

    numbers, chosen = StoredNumbers(), dict(_sample(checkpoint)) | dict(_sample_of_adapter(checkpoint))
    arrays = load_tensors(chosen)
    for name, location in chosen.items():
        array = arrays.pop(name).reshape(-1)
        for begin in _runs(array.size):
            part = array[begin : begin + _RUN]
            read = np.array(part.astype(mx.float32) if mx.issubdtype(part.dtype, mx.floating) else part)
            stored = numbers.read(location, begin, _RUN)
            differs = (read != stored) & ~(np.isnan(read) & np.isnan(stored))
            if differs.any():
                first = int(differs.argmax())
                return (
                    f"{name} is stored as {location.dtype}: its number {begin + first} is {stored[first]:g}, and is "
                    f"read as {read[first]:g}"
                )
    return ""


def changed_matrix(original: BaseCheckpoint, converted: BaseCheckpoint) -> str:
    """A tensor that a conversion changed by more than rounding explains, in words; "" if there is none."""
    numbers = StoredNumbers()
    for name, location in _sample(original):
        layer = name.removesuffix(".weight")
        is_packed = f"{layer}.scales" in converted.tensors
        count = location.shape[-1] if is_packed else _RUN
        for begin in _runs(math.prod(location.shape), unit=count if is_packed else 1):
            before = numbers.read(location, begin, count).astype(np.float64)
            if is_packed:
                after, allowed = _dequantized_row(converted, numbers, layer, begin // count)
            else:
                after = numbers.read(converted.tensors[name], begin, count).astype(np.float64)
                allowed = np.abs(before) * _ROUNDING + 1e-6  # the latter for float16's smallest numbers
            differs = np.abs(before - after) > allowed
            if differs.any():
                first = int(differs.argmax())
                return f"{name}: its number {begin + first} was {before[first]:g}, and is {after[first]:g}"
    return ""


def _sample(checkpoint: BaseCheckpoint) -> Iterator[tuple[str, Location]]:
    """Some tensors of each dtype and number of axes, evenly spread over the model; and all of a reranker's head."""
    kinds: dict[tuple[str, int, bool], list[tuple[str, Location]]] = defaultdict(list)
    for name, location in sorted(checkpoint.used_tensors.items()):
        if location.dtype in _DTYPES and 0 not in location.shape:
            in_head = name.rpartition(".")[0] in checkpoint.head_layers
            kinds[location.dtype, len(location.shape), in_head].append((name, location))
    for found in kinds.values():
        yield from found[:: -(-len(found) // _TENSORS_PER_KIND)]


def _sample_of_adapter(checkpoint: BaseCheckpoint) -> Iterator[tuple[str, Location]]:
    """Some tensors of its adapter, if it has one, evenly spread over the model."""
    changes = checkpoint.adapter.changes if checkpoint.adapter else ()
    for change in changes[:: -(-len(changes) // _TENSORS_PER_KIND) or 1]:
        yield from ((location.key, location) for location in (change.down, change.up))


def _runs(size: int, unit: int = 1) -> list[int]:
    """Where the beginning, the middle and the end of a tensor begin, in whole units."""
    last = max(0, size - max(unit, _RUN))
    return sorted({0, last // 2 // unit * unit, last // unit * unit})


def _dequantized_row(converted: BaseCheckpoint, numbers: StoredNumbers, layer: str, row: int) -> tuple[Values, Values]:
    """One row of a packed matrix as numbers, and how much rounding may change each."""
    entry = converted.quantization.get(layer)
    quantization = entry if isinstance(entry, Mapping) else converted.quantization
    bits, group = quantization["bits"], quantization["group_size"]
    locations = (converted.tensors[f"{layer}.{part}"] for part in ("weight", "scales", "biases"))
    packed, scales, biases = (
        numbers.read(location, row * location.shape[-1], location.shape[-1]) for location in locations
    )
    # The codes follow each other without gaps, the lowest bit first.
    digits = np.unpackbits(packed.astype("<u4").view(np.uint8), bitorder="little").reshape(-1, bits)
    codes = digits @ (1 << np.arange(bits))
    steps, offsets = (np.repeat(part.astype(np.float64), group) for part in (scales, biases))
    return codes * steps + offsets, np.abs(steps) + (np.abs(codes * steps) + np.abs(offsets)) * _ROUNDING
