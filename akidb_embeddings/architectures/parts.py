"""Layers that several architectures share."""

from collections.abc import Callable, Sequence
from typing import Any

from akidb_embeddings.architectures.rope import Rope
from akidb_embeddings.checkpoint.arguments import number, required
from akidb_embeddings.compute.kernels import Activation, AttentionMask, Kernels
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config


class LayerNorm:
    """LayerNorm with a weight and, optionally, a bias."""

    def __init__(self, weights: Weights, name: str, size: int, eps: float, bias: bool = True) -> None:
        self.weight = weights.vector(f"{name}.weight", (size,))
        self.bias = weights.vector(f"{name}.bias", (size,)) if bias else None
        self.eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm:
    """RMSNorm with the weight ``(weight + offset) * factor``; Gemma's offset is 1."""

    def __init__(self, weights: Weights, name: str, size: int, eps: float, offset: float, factor: float = 1.0) -> None:
        self.weight = weights.vector(f"{name}.weight", (size,), offset=offset, factor=factor)
        self.eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self.weight, self.eps)


class SelfAttention:
    """Multi-head attention, with as many key heads as query heads.

    Args:
        weights: The checkpoint's tensors.
        qkv: The name of a fused projection, or the names of the three projections.
        output: The name of the output projection.
        config: config.json.
        kernels: The functions for the device.
        bias: Whether the projections have biases.
        rope: The rotary position embeddings; None for none.
        qk_norms: The norms of queries and of keys, over all heads; None for none.
    """

    def __init__(
        self,
        weights: Weights,
        qkv: str | Sequence[str],
        output: str,
        config: Config,
        kernels: Kernels,
        *,
        bias: bool,
        rope: Rope | None = None,
        qk_norms: tuple[LayerNorm, LayerNorm] | None = None,
    ) -> None:
        hidden, self.heads = required(config, "hidden_size", "num_attention_heads")
        if hidden % self.heads:
            raise CheckpointError(
                f"config.json gives hidden_size {hidden}, not divisible by {self.heads} attention heads."
            )
        self.qkv = weights.linear(qkv, hidden, 3 * hidden if isinstance(qkv, str) else [hidden] * 3, bias)
        self.output = weights.linear(output, hidden, hidden, bias)
        self.rope, self.kernels = rope, kernels
        self.qk_norms = qk_norms

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        """[B, L, D] to the same shape, or to [B, 1, D] for the token ``tokens`` [B] of each text."""
        B, L, D = x.shape
        head_dim = D // self.heads
        qkv = self.qkv(x)
        if self.qk_norms is not None:
            queries, keys, values = mx.split(qkv, 3, axis=-1)
            q_norm, k_norm = self.qk_norms
            qkv = mx.concatenate([q_norm(queries), k_norm(keys), values], axis=-1)
        q, k, v = qkv.reshape(B, L, 3, self.heads, head_dim).transpose(2, 0, 3, 1, 4)
        if self.rope is not None:
            q, k = self.rope.queries(q), self.rope(k)
        context = self.kernels.attention(q, k, v, head_dim**-0.5, mask)
        return self.output(select_tokens(context.transpose(0, 2, 1, 3).reshape(B, L, D), tokens))


class GroupedAttention:
    """Grouped-query attention with rotary position embeddings.

    Args:
        weights: The checkpoint's tensors.
        name: The prefix of its tensors' names.
        config: config.json.
        rope: The rotary position embeddings.
        scale: The factor of scores.
        kernels: The functions for the device.
        norm_offset: The offset of the weights of an RMSNorm of each head's q and k; None for no such norm.
        qkv_bias: Whether q, k and v have biases and the output has none; None for what config.json says of all four.
    """

    OUTPUT, NORMS = "o_proj", ("q_norm", "k_norm")

    def __init__(
        self,
        weights: Weights,
        name: str,
        config: Config,
        rope: Rope,
        scale: float,
        kernels: Kernels,
        *,
        norm_offset: float | None,
        qkv_bias: bool | None = None,
    ) -> None:
        hidden, self.heads, self.kv_heads, self.head_dim = required(
            config, "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"
        )
        bias, eps = bool(config.get("attention_bias", False)), number(config, "rms_norm_eps", 1e-6)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        parts = [f"{name}.{part}_proj" for part in "qkv"]
        self.qkv = weights.linear(parts, hidden, [queries, keys, keys], bias if qkv_bias is None else qkv_bias)
        self.output = weights.linear(f"{name}.{self.OUTPUT}", queries, hidden, bias if qkv_bias is None else False)
        self.norms = None
        if norm_offset is not None:
            self.norms = [RMSNorm(weights, f"{name}.{norm}", self.head_dim, eps, norm_offset) for norm in self.NORMS]
        self.rope, self.scale, self.kernels = rope, scale, kernels

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        """[B, L, D] to the same shape, or to [B, 1, D] for the token ``tokens`` [B] of each text."""
        B, L, _ = x.shape
        heads = self.qkv(x).reshape(B, L, -1, self.head_dim)
        q, k, v = mx.split(heads, [self.heads, self.heads + self.kv_heads], axis=2)
        if self.norms is not None:
            q, k = (norm(x) for norm, x in zip(self.norms, (q, k), strict=True))
        q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
        context = self.kernels.attention(self.rope.queries(q), self.rope(k), v, self.scale, mask)
        return self.output(select_tokens(context.transpose(0, 2, 1, 3).reshape(B, L, -1), tokens))


def run_blocks(
    blocks: Sequence[Any], x: mx.array, mask: Callable[[Any], AttentionMask | None], tokens: mx.array | None
) -> mx.array:
    """The output of the last block, [B, L, D], or [B, 1, D] for the token ``tokens`` [B] of each text.

    Only the last block can leave the other tokens out, because attention needs them all before.

    Args:
        blocks: ``block(x, mask, tokens)``.
        x: The embeddings, [B, L, D].
        mask: ``mask(block)`` is the block's attention mask.
        tokens: The tokens that are needed; None for all.
    """
    for block in blocks[:-1]:
        x = block(x, mask(block))
    for block in blocks[-1:]:
        x = block(x, mask(block), tokens)
    return x


class GatedMLP:
    """``down(activation(gate(x)) * up(x))``, with gate and up in one product."""

    NAMES = ("gate_proj", "up_proj", "down_proj")

    def __init__(self, weights: Weights, name: str, hidden: int, intermediate: int, activation: Activation) -> None:
        gate, up, down = (f"{name}.{part}" for part in self.NAMES)
        self.gate_up = weights.linear([gate, up], hidden, [intermediate, intermediate], bias=False)
        self.down = weights.linear(down, intermediate, hidden, bias=False)
        self.activation = activation

    def __call__(self, x: mx.array) -> mx.array:
        gate, up = mx.split(self.gate_up(x), 2, axis=-1)
        return self.down(self.activation.gated(gate, up))
