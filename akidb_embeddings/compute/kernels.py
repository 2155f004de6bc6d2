"""The functions whose fastest form depends on the device: activations, and attention with its mask.

``fused`` has them for GPUs, from MLX's own kernels, and ``polynomial`` for CPUs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.runtime import mx

# Opaque: ``mask`` and ``bias`` make it for ``attention`` of the same set.
AttentionMask = Any


class Activation(NamedTuple):
    """An activation function.

    Attributes:
        alone: ``f(x)``, [...] to [...].
        gated: ``f(x) * y`` for x and y [...].
    """

    alone: Callable[[mx.array], mx.array]
    gated: Callable[[mx.array, mx.array], mx.array]

    def __call__(self, x: mx.array) -> mx.array:
        """``alone``."""
        return self.alone(x)


def activation(function: Callable[[mx.array], mx.array]) -> Activation:
    """The activation ``function``, multiplied by a gate in an operation of its own."""
    return Activation(function, lambda x, y: function(x) * y)


def alibi_bias(slopes: mx.array, queries: mx.array, length: int) -> mx.array:
    """ALiBi's bias of some queries, float32 [1, heads, rows, L].

    Args:
        slopes: float32 [heads].
        queries: The positions of the queries, int32 [rows].
        length: L, the number of keys.
    """
    return -slopes[None, :, None, None] * mx.abs(queries[:, None] - mx.arange(length))


class Kernels(NamedTuple):
    """The functions for one kind of device.

    Attributes:
        gelu: The exact GELU.
        gelu_tanh: GELU's tanh approximation.
        silu: SiLU.
        mask: ``mask(visibility, dtype)`` makes the attention mask of layers that compute in ``dtype``; None where
            nothing is masked.
        bias: ``bias(bias, visibility)`` makes an attention mask from a bias [1, heads, L, L], added to scaled scores.
        alibi: ``alibi(slopes, visibility, dtype)`` makes one from ALiBi's slopes, float32 [heads]: the score of a token
            at a distance d is lower by ``slope * d``, in both directions.
        attention: ``attention(q, k, v, scale, mask)`` computes [B, heads, L, D] from queries of that shape, and keys
            and values [B, kv_heads, L, D].
    """

    gelu: Activation
    gelu_tanh: Activation
    silu: Activation
    mask: Callable[[Visibility, mx.Dtype], AttentionMask | None]
    bias: Callable[[mx.array, Visibility], AttentionMask]
    alibi: Callable[[mx.array, Visibility, mx.Dtype], AttentionMask]
    attention: Callable[[mx.array, mx.array, mx.array, float, AttentionMask | None], mx.array]
