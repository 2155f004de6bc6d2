"""How much memory a model's weights take, once loaded and before."""

import math
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.compute.backend import Backend, WeightStorage
from akidb_embeddings.compute.runtime import mx


def array_bytes(*objects: object) -> int:
    """The bytes of all arrays that objects hold, each counted once."""
    seen: set[int] = set()
    total, pending = 0, list(objects)
    while pending:
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, mx.array):
            total += item.nbytes
        else:
            pending += _parts(item)
    return total


def expected_weight_bytes(checkpoint: BaseCheckpoint, backend: Backend) -> int:
    """About how many bytes a checkpoint's weights will take, from its files' headers alone.

    Embedding tables stay as stored on every backend, and so does everything where weights are not expanded, except that
    what an adapter changes is float32.
    """
    size = backend.compute_dtype(checkpoint.architecture.computes_in_float16(checkpoint.config)).size
    bits, tensors = checkpoint.quantization.get("bits"), checkpoint.used_tensors
    merged = {change.layer for change in checkpoint.adapter.changes} if checkpoint.adapter else set()
    total = 0
    for name, location in tensors.items():
        layer, _, role = name.rpartition(".")
        is_kept = backend.storage is not WeightStorage.EXPANDED or "embed" in layer
        is_quantized = f"{layer}.scales" in tensors and role in ("weight", "scales", "biases")
        is_merged = layer in merged and (role == "weight" or is_quantized)
        if (is_kept and not is_merged) or location.dtype not in _FLOATS | {"U32"}:
            total += location.size
        elif not is_quantized:
            total += math.prod(location.shape) * (4 if is_merged and is_kept else size)
        elif role == "weight":  # the scales are part of what it expands to
            total += math.prod(location.shape) * 32 // (bits if isinstance(bits, int) else 4) * (4 if is_kept else size)
    return total


_FLOATS = {"F32", "F16", "BF16"}


def _parts(item: object) -> Iterator[Any]:
    """What an object of a forward pass holds."""
    if isinstance(item, Mapping):  # mlx-lm's modules are dictionaries, too
        yield from item.values()
    elif isinstance(item, list | tuple | set | frozenset):
        yield from item
    elif isinstance(item, MethodType):
        yield item.__self__
    elif isinstance(item, FunctionType):
        yield from (cell.cell_contents for cell in item.__closure__ or ())
    if not isinstance(item, type | FunctionType):
        yield from getattr(item, "__dict__", {}).values()
