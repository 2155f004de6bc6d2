"""LoRA adapters merged into the weights that they change, before layers are built of them."""

from collections.abc import Mapping
from typing import Any

from akidb_embeddings.checkpoint.adapter import Adapter, LowRank
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import load_tensors, quantization_of


def merge(tensors: dict[str, mx.array], quantization: Mapping[str, Any], adapter: Adapter) -> None:
    """Add an adapter's changes to a checkpoint's tensors, in float32.

    Merged matrices stay in float32. A quantized one is expanded and not quantized again: the steps of a few bits are as
    large as an adapter's changes, which would be lost in part.

    Args:
        tensors: The checkpoint's tensors by name; those that change are replaced when they are first used.
        quantization: The checkpoint's ``quantization``.
        adapter: An adapter that fits the checkpoint.

    Raises:
        CheckpointError: A file cannot be read, or the quantization of a matrix is not known.
    """
    located = {part.key: part for change in adapter.changes for part in (change.down, change.up)}
    products = load_tensors(located)
    for change in adapter.changes:
        name = f"{change.layer}.weight"
        tensors[name] = _expanded(tensors, quantization, change.layer) + _change(change, products)


def _change(change: LowRank, products: Mapping[str, mx.array]) -> mx.array:
    down, up = (products[part.key].astype(mx.float32) for part in (change.down, change.up))
    # On the CPU: a GPU may round the factors of a product to TF32.
    product = change.scaling * mx.matmul(up, down, stream=mx.cpu)
    return product.T if change.transposed else product


def _expanded(tensors: dict[str, mx.array], quantization: Mapping[str, Any], layer: str) -> mx.array:
    """A layer's matrix in float32, of which no quantized form remains."""
    weight = tensors[f"{layer}.weight"]
    scales, biases = (tensors.pop(f"{layer}.{part}", None) for part in ("scales", "biases"))
    if scales is None:
        return weight.astype(mx.float32)
    how = quantization_of(quantization, layer)
    return mx.dequantize(weight, scales, biases, how.group_size, how.bits, how.mode, dtype=mx.float32)
