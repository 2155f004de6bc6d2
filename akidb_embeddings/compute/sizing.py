"""What fits the memory of a CUDA GPU: expanded weights, and how many tokens a micro-batch may have."""

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from akidb_embeddings.compute.backend import Backend, WeightStorage
from akidb_embeddings.compute.runtime import mx

_log = logging.getLogger(__name__)

# Of what is free, weights may take this part; micro-batches may take half of the rest.
_WEIGHTS_SHARE = 0.6
_BATCH_SHARE = 0.5
# What a micro-batch needs at its peak, in values per token and unit of ``hidden_size``: 90 for Qwen3-0.6B and 80 for
# MiniLM, both with 65,536 tokens on an H200.
_VALUES_PER_TOKEN = 100
_FEWEST_TOKENS = 2048


class Demand(NamedTuple):
    """What a model needs.

    Attributes:
        weights: The number of weights.
        hidden_size: The number of values of a hidden state.
        quantized: How many of the weights are quantized.
        bits: The bits of a quantized weight.
    """

    weights: int
    hidden_size: int
    quantized: int = 0
    bits: int = 4

    def weight_bytes(self, storage: WeightStorage, dtype: mx.Dtype) -> int:
        """What the weights take. Those that are not quantized are kept in the compute dtype in any case."""
        if storage is not WeightStorage.PACKED:
            return self.weights * dtype.size
        # One bit for the scale and the bias of each group.
        return (self.weights - self.quantized) * dtype.size + self.quantized * (self.bits + 1) // 8


def demand_of(shapes: Iterable[tuple[str, tuple[int, ...]]], bits: int, hidden_size: int) -> Demand:
    """What a checkpoint needs.

    Args:
        shapes: The tensors' names and shapes.
        bits: The bits of a quantized weight, of which 32 / bits are in one element.
        hidden_size: The number of values of a hidden state.
    """
    named = dict(shapes)
    plain = quantized = 0
    for name, shape in named.items():
        layer, _, role = name.rpartition(".")
        if f"{layer}.scales" not in named:
            plain += math.prod(shape)
        elif role == "weight":  # the scales are part of what it stands for
            quantized += math.prod(shape) * 32 // bits
    return Demand(plain + quantized, hidden_size, quantized, bits)


def fit(backend: Backend, demand: Demand, dtype: mx.Dtype, free: int | None) -> tuple[Backend, mx.Dtype]:
    """How a model is computed on a device: in 16 bits or packed if it does not fit otherwise, and what fits beside it.

    Args:
        backend: The backend.
        demand: What the model needs.
        dtype: The compute dtype.
        free: The free memory of the device in bytes; None if it is unknown or shared, then nothing is changed.

    Returns:
        The backend with the storage of weights and the size of micro-batches that fit, and the compute dtype.
    """
    if free is None or not backend.is_gpu:
        return backend, dtype
    wanted = needed = demand.weight_bytes(backend.storage, dtype)
    if backend.storage is WeightStorage.EXPANDED and wanted > _WEIGHTS_SHARE * free:
        small = backend.small_dtype if dtype == mx.float32 else None
        dtype = small or dtype
        needed = demand.weight_bytes(backend.storage, dtype)
        if needed > _WEIGHTS_SHARE * free and demand.quantized:
            backend = replace(backend, storage=WeightStorage.PACKED)
            needed = demand.weight_bytes(backend.storage, dtype)
        _warn(backend, small, wanted, needed, free)
    token = _VALUES_PER_TOKEN * demand.hidden_size * dtype.size
    affordable = int(_BATCH_SHARE * max(0, free - needed)) // token
    tokens = min(backend.tokens_per_batch, max(_FEWEST_TOKENS, 1 << affordable.bit_length() - 1 if affordable else 0))
    # What one micro-batch needs is kept for the next, or each would allocate it again.
    return replace(backend, tokens_per_batch=tokens, cache_limit=tokens * token), dtype


def _warn(backend: Backend, small: mx.Dtype | None, wanted: int, needed: int, free: int) -> None:
    consequences = []
    if backend.storage is WeightStorage.PACKED:
        consequences.append("the weights stay as stored, and products take many times as long")
    if small is not None:
        consequences.append(f"the model is computed in {str(small).rpartition('.')[2]}, which is less exact")
    if needed > _WEIGHTS_SHARE * free:
        consequences.append(f"with the {needed / 1e9:.1f} GB that they take now the memory may not suffice")
    _log.warning(
        "The weights would take %.1f of %.1f GB that are free on the GPU: %s. Free memory on it, or choose a smaller "
        "model.",
        wanted / 1e9,
        free / 1e9,
        "; ".join(consequences),
    )
