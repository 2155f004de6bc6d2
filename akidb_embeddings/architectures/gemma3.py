"""Gemma 3 text: causal, or bidirectional as in EmbeddingGemma, with local and global layers (Gemma team, 2025)."""

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.masks import Mask, causal_mask, padding_mask, symmetric_window_mask
from akidb_embeddings.architectures.parts import GatedMLP, GroupedAttention, RMSNorm
from akidb_embeddings.checkpoint.arguments import layer_kinds, number, required, rope_theta, supported
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config

# Gemma's norms multiply by 1 + weight.
_OFFSET = 1.0


class Block:
    """Norms on both sides of attention and MLP."""

    def __init__(self, weights: Weights, name: str, config: Config, is_global: bool, kernels: Kernels) -> None:
        hidden, inner = required(config, "hidden_size", "intermediate_size")
        scalar = config.get("query_pre_attn_scalar") or 256
        eps = number(config, "rms_norm_eps", 1e-6)
        if is_global:
            theta = rope_theta(config, "full_attention", "rope_theta", 1e6)
        else:
            theta = rope_theta(config, "sliding_attention", "rope_local_base_freq", 1e4)
        self.is_global = is_global
        self.before_attention = RMSNorm(weights, f"{name}.input_layernorm", hidden, eps, _OFFSET)
        self.attention = GroupedAttention(
            weights, f"{name}.self_attn", config, theta, float(scalar) ** -0.5, _OFFSET, kernels
        )
        self.after_attention = RMSNorm(weights, f"{name}.post_attention_layernorm", hidden, eps, _OFFSET)
        self.before_mlp = RMSNorm(weights, f"{name}.pre_feedforward_layernorm", hidden, eps, _OFFSET)
        self.mlp = GatedMLP(weights, f"{name}.mlp", hidden, inner, kernels.gelu_tanh)
        self.after_mlp = RMSNorm(weights, f"{name}.post_feedforward_layernorm", hidden, eps, _OFFSET)

    def __call__(self, x: mx.array, mask: AttentionMask | None) -> mx.array:
        x = x + self.after_attention(self.attention(self.before_attention(x), mask))
        return x + self.after_mlp(self.mlp(self.before_mlp(x)))


class Gemma3:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        self.hidden, layers, words = required(config, "hidden_size", "num_hidden_layers", "vocab_size")
        supported(config, "hidden_activation", "gelu_pytorch_tanh", "gelu_pytorch_tanh")
        supported(config, "attn_logit_softcapping", None, None)
        self.bidirectional = bool(config.get("use_bidirectional_attention"))
        supported(config, "is_causal", None, None, not self.bidirectional)
        kinds = layer_types(config, layers)
        self.window = required(config, "sliding_window")[0] if "sliding_attention" in kinds else None
        self.words = weights.embedding("embed_tokens", words, self.hidden)
        self.blocks = [
            Block(weights, f"layers.{i}", config, kind == "full_attention", kernels) for i, kind in enumerate(kinds)
        ]
        self.norm = RMSNorm(weights, "norm", self.hidden, number(config, "rms_norm_eps", 1e-6), _OFFSET)
        self.kernels = kernels

    def __call__(self, ids: mx.array, lengths: NDArray[np.int32]) -> mx.array:
        near, far = (None if mask is None else self.kernels.mask(mask) for mask in self._masks(lengths, ids.shape[1]))
        # The scale stays outside the table: inside a quantized one it would be rounded with the weights.
        x = self.words(ids) * self.hidden**0.5
        for block in self.blocks:
            x = block(x, far if block.is_global else near)
        return self.norm(x)

    def _masks(self, lengths: NDArray[np.int32], length: int) -> tuple[Mask | None, Mask | None]:
        """What local and what global layers may see."""
        far = padding_mask(lengths, length) if self.bidirectional else causal_mask(length)
        if self.window is None:
            return None, far
        if self.bidirectional:
            return symmetric_window_mask(lengths, length, symmetric_reach(self.window)), far
        return causal_mask(length, self.window), far


def symmetric_reach(window: int) -> int:
    """How far a bidirectional local layer sees on each side.

    config.json gives the width of the whole window, which is even; some releases of transformers saved one more than
    the half, which is odd (see ``Gemma3TextConfig.__post_init__`` there).
    """
    return window - 1 if window % 2 else window // 2


def layer_types(config: Config, layers: int) -> list[str]:
    """``full_attention`` or ``sliding_attention`` for each layer; older files give only every how many is full."""
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
    by_pattern = ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)]
    return layer_kinds(config, layers) or by_pattern


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Gemma3(config, weights, kernels)
