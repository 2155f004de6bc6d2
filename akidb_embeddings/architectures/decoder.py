"""What Llama and its descendants share: norms first, grouped-query attention, rotary positions, gated MLP."""

from typing import NamedTuple

from akidb_embeddings.architectures import Inputs
from akidb_embeddings.architectures.parts import GatedMLP, GroupedAttention, RMSNorm, run_blocks
from akidb_embeddings.architectures.rope import Rope, read_rope
from akidb_embeddings.checkpoint.arguments import number, required, supported
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


class Traits(NamedTuple):
    """How these architectures differ.

    Attributes:
        causal: Whether a token sees only itself and earlier ones.
        head_norms: Whether the queries and keys of each head are normalized.
        qkv_bias: Whether queries, keys and values have biases and the output has none; None for what config.json's
            ``attention_bias`` says of all four.
        query_growth: Whether queries grow with their position (``Rope``).
        eps: The default of ``rms_norm_eps``.
    """

    causal: bool = False
    head_norms: bool = False
    qkv_bias: bool | None = None
    query_growth: bool = False
    eps: float = 1e-6


class Block:
    def __init__(
        self, weights: Weights, name: str, config: Config, kernels: Kernels, traits: Traits, rope: Rope
    ) -> None:
        hidden, intermediate, head_dim = required(config, "hidden_size", "intermediate_size", "head_dim")
        eps = number(config, "rms_norm_eps", traits.eps)
        self.attention_norm = RMSNorm(weights, f"{name}.input_layernorm", hidden, eps, offset=0.0)
        self.attention = GroupedAttention(
            weights,
            f"{name}.self_attn",
            config,
            rope,
            head_dim**-0.5,
            kernels,
            norm_offset=0.0 if traits.head_norms else None,
            qkv_bias=traits.qkv_bias,
        )
        self.mlp_norm = RMSNorm(weights, f"{name}.post_attention_layernorm", hidden, eps, offset=0.0)
        self.mlp = GatedMLP(weights, f"{name}.mlp", hidden, intermediate, kernels.silu)

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        x = select_tokens(x, tokens) + self.attention(self.attention_norm(x), mask, tokens)
        return x + self.mlp(self.mlp_norm(x))


class Decoder:
    """Token ids to hidden states.

    Args:
        config: config.json.
        weights: The checkpoint's tensors.
        kernels: The functions for the device.
        traits: What is the architecture's own.
    """

    def __init__(self, config: Config, weights: Weights, kernels: Kernels, traits: Traits) -> None:
        hidden, layers, vocab_size, head_dim = required(
            config, "hidden_size", "num_hidden_layers", "vocab_size", "head_dim"
        )
        _check(config, traits.causal)
        rope = read_rope(config, head_dim, traits.query_growth)
        self.embed_tokens = weights.embedding("embed_tokens", vocab_size, hidden)
        self.blocks = [Block(weights, f"layers.{i}", config, kernels, traits, rope) for i in range(layers)]
        self.norm = RMSNorm(weights, "norm", hidden, number(config, "rms_norm_eps", traits.eps), offset=0.0)
        self.causal, self.kernels = traits.causal, kernels

    def __call__(self, texts: Inputs) -> mx.array:
        x = self.embed_tokens(texts.ids)
        mask = self.kernels.mask(Visibility(texts.lengths, texts.width, causal=self.causal), x.dtype)
        return self.norm(run_blocks(self.blocks, x, lambda block: mask, texts.tokens))


def _check(config: Config, causal: bool) -> None:
    """Reject settings with which other vectors are meant."""
    supported(config, "hidden_act", "silu", "silu")
    supported(config, "mlp_bias", False, False, None)
    supported(config, "use_sliding_window", False, False, None)
    supported(config, "is_causal", causal, causal, None)
    supported(config, "use_bidirectional_attention", not causal, not causal, None)
    for layer_type in config.get("layer_types") or []:
        supported({"layer_types": layer_type}, "layer_types", None, "full_attention")


def with_head_sizes(config: Config) -> Config:
    """``config`` with what transformers takes where config.json of a Llama says nothing of its heads."""
    hidden, heads = required(config, "hidden_size", "num_attention_heads")
    missing = {"num_key_value_heads": heads, "head_dim": hidden // heads}
    return {**config, **{key: value for key, value in missing.items() if config.get(key) is None}}
