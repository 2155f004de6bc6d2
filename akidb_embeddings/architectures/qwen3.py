"""Qwen3: causal decoder with grouped-query attention, per-head norms of q and k, RoPE (Qwen team, 2025)."""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.parts import GatedMLP, GroupedAttention, RMSNorm, run_blocks
from akidb_embeddings.checkpoint.arguments import number, required, rope_theta, supported
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


class Block:
    def __init__(self, weights: Weights, name: str, config: Config, kernels: Kernels) -> None:
        hidden, intermediate, head_dim = required(config, "hidden_size", "intermediate_size", "head_dim")
        eps, theta = number(config, "rms_norm_eps", 1e-6), rope_theta(config, None, "rope_theta")
        self.attention_norm = RMSNorm(weights, f"{name}.input_layernorm", hidden, eps, offset=0.0)
        self.attention = GroupedAttention(
            weights, f"{name}.self_attn", config, theta, head_dim**-0.5, offset=0.0, kernels=kernels
        )
        self.mlp_norm = RMSNorm(weights, f"{name}.post_attention_layernorm", hidden, eps, offset=0.0)
        self.mlp = GatedMLP(weights, f"{name}.mlp", hidden, intermediate, kernels.silu)

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        x = select_tokens(x, tokens) + self.attention(self.attention_norm(x), mask, tokens)
        return x + self.mlp(self.mlp_norm(x))


class Qwen3:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels, is_causal: bool = True) -> None:
        hidden, layers, vocab_size = required(config, "hidden_size", "num_hidden_layers", "vocab_size")
        supported(config, "hidden_act", "silu", "silu")
        supported(config, "use_sliding_window", False, False, None)
        supported(config, "is_causal", is_causal, is_causal, None)
        supported(config, "use_bidirectional_attention", not is_causal, not is_causal, None)
        for layer_type in config.get("layer_types") or []:
            supported({"layer_types": layer_type}, "layer_types", None, "full_attention")
        self.embed_tokens = weights.embedding("embed_tokens", vocab_size, hidden)
        self.blocks = [Block(weights, f"layers.{i}", config, kernels) for i in range(layers)]
        self.norm = RMSNorm(weights, "norm", hidden, number(config, "rms_norm_eps", 1e-6), offset=0.0)
        self.is_causal, self.kernels = is_causal, kernels

    def __call__(self, texts: Inputs) -> mx.array:
        x = self.embed_tokens(texts.ids)
        mask = self.kernels.mask(Visibility(texts.lengths, texts.width, causal=self.is_causal), x.dtype)
        return self.norm(run_blocks(self.blocks, x, lambda block: mask, texts.tokens))


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Qwen3(config, weights, kernels)
