"""How many floating-point operations a forward pass needs, for the share of a device's peak that was reached."""

from collections.abc import Iterable, Mapping
from typing import Any

from akidb_embeddings.checkpoint.checkpoint import Checkpoint


def needed_flops(checkpoint: Checkpoint, lengths: Iterable[int]) -> float:
    """Two for each weight of a product and token, and for attention, four for each pair of tokens and value of a head.

    Padding does not count. All pairs do, also those that a causal or sliding window hides, as authors count them.
    """
    counts = list(lengths)
    config = checkpoint.config
    heads = int(config["num_attention_heads"])
    width = heads * int(config.get("head_dim") or config["hidden_size"] // heads)
    pairs = sum(count * count for count in counts)
    attention = 4.0 * int(config["num_hidden_layers"]) * width * pairs
    return 2.0 * _product_weights(checkpoint) * sum(counts) + attention


def _product_weights(checkpoint: Checkpoint) -> int:
    """The weights of all products in the layers: of matrices that are no embedding tables."""
    total = 0
    for name, location in checkpoint.tensors.items():
        is_matrix = name.endswith(".weight") and len(location.shape) == 2
        if not is_matrix or "embed" in name or name.startswith("dense."):
            continue
        layer = name.removesuffix(".weight")
        packed = 32 // _bits(checkpoint.quantization, layer) if f"{layer}.scales" in checkpoint.tensors else 1
        total += location.shape[0] * location.shape[1] * packed
    return total


def _bits(quantization: Mapping[str, Any], layer: str) -> int:
    entry = quantization.get(layer)
    return int((entry if isinstance(entry, Mapping) else quantization)["bits"])
