"""What fits the memory of a CUDA GPU: expanded weights, and how many tokens a micro-batch may have."""

import logging
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
    """

    weights: int
    hidden_size: int


def count_weights(shapes: Iterable[tuple[str, tuple[int, ...]]], bits: int) -> int:
    """The number of weights of a checkpoint.

    Args:
        shapes: The tensors' names and shapes.
        bits: The bits of a quantized weight, of which 32 / bits are in one element.
    """
    named = dict(shapes)
    count = 0
    for name, shape in named.items():
        size = 1
        for dimension in shape:
            size *= dimension
        is_quantized = f"{name.removesuffix('.weight')}.scales" in named
        count += size * 32 // bits if is_quantized and name.endswith(".weight") else size
    return count


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
    weights = demand.weights * dtype.size
    if backend.storage is WeightStorage.EXPANDED and weights > _WEIGHTS_SHARE * free:
        needed = weights
        if dtype == mx.float32 and backend.small_dtype is not None:
            dtype, weights = backend.small_dtype, weights // 2
        if weights > _WEIGHTS_SHARE * free:
            backend, weights = replace(backend, storage=WeightStorage.PACKED), weights // 4
        _warn(backend, dtype, needed, free)
    token = _VALUES_PER_TOKEN * demand.hidden_size * dtype.size
    affordable = int(_BATCH_SHARE * max(0, free - weights)) // token
    tokens = min(backend.tokens_per_batch, max(_FEWEST_TOKENS, 1 << affordable.bit_length() - 1 if affordable else 0))
    # What one micro-batch needs is kept for the next, or each would allocate it again.
    return replace(backend, tokens_per_batch=tokens, cache_limit=tokens * token), dtype


def _warn(backend: Backend, dtype: mx.Dtype, needed: int, free: int) -> None:
    is_packed = backend.storage is WeightStorage.PACKED
    consequence = (
        "the weights stay as stored, and products take many times as long"
        if is_packed
        else f"the model is computed in {str(dtype).rpartition('.')[2]}, which is less exact"
    )
    _log.warning(
        "The weights would take %.1f of %.1f GB that are free on the GPU, so %s. Free memory on it, or choose a "
        "smaller model.",
        needed / 1e9,
        free / 1e9,
        consequence,
    )
