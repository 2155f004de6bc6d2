"""ModernBERT: rotary positions, norms before each part, local and global layers, gated MLP (Warner et al., 2024)."""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.parts import LayerNorm, SelfAttention, run_blocks
from akidb_embeddings.architectures.rope import Rope
from akidb_embeddings.checkpoint.arguments import number, read_layer_types, required, rope_theta, supported, whole
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


def _norm(weights: Weights, name: str, config: Config) -> LayerNorm:
    hidden, bias = config["hidden_size"], bool(config.get("norm_bias", False))
    return LayerNorm(weights, name, hidden, number(config, "norm_eps", 1e-5), bias)


class Block:
    def __init__(self, weights: Weights, index: int, config: Config, is_global: bool, kernels: Kernels) -> None:
        hidden, intermediate = required(config, "hidden_size", "intermediate_size")
        name, bias = f"layers.{index}", bool(config.get("mlp_bias", False))
        if is_global:
            rope = Rope(rope_theta(config, "full_attention", "global_rope_theta", 160_000.0))
        else:
            rope = Rope(rope_theta(config, "sliding_attention", "local_rope_theta", 10_000.0))
        # The first layer has none, because the embeddings' norm precedes it.
        self.attention_norm = _norm(weights, f"{name}.attn_norm", config) if index else None
        self.attention = SelfAttention(
            weights,
            f"{name}.attn.Wqkv",
            f"{name}.attn.Wo",
            config,
            kernels,
            bias=bool(config.get("attention_bias", False)),
            rope=rope,
        )
        self.mlp_norm = _norm(weights, f"{name}.mlp_norm", config)
        self.up_gate = weights.linear(f"{name}.mlp.Wi", hidden, 2 * intermediate, bias)
        self.down = weights.linear(f"{name}.mlp.Wo", intermediate, hidden, bias)
        self.is_global = is_global
        self.activation = kernels.silu if config.get("hidden_activation") == "silu" else kernels.gelu

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        normed = self.attention_norm(x) if self.attention_norm else x
        x = select_tokens(x, tokens) + self.attention(normed, mask, tokens)
        value, gate = mx.split(self.up_gate(self.mlp_norm(x)), 2, axis=-1)
        return x + self.down(self.activation.gated(value, gate))


class ModernBert:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, vocab_size = required(config, "hidden_size", "num_hidden_layers", "vocab_size")
        supported(config, "hidden_activation", "gelu", "gelu", "silu")
        self.reach = whole(config, "local_attention", 128) // 2
        self.word_embeddings = weights.embedding("embeddings.tok_embeddings", vocab_size, hidden)
        self.norm = _norm(weights, "embeddings.norm", config)
        self.blocks = [
            Block(weights, i, config, layer_type == "full_attention", kernels)
            for i, layer_type in enumerate(_layer_types(config, layers))
        ]
        self.final_norm = _norm(weights, "final_norm", config)
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        x = self.norm(self.word_embeddings(texts.ids))
        visible = Visibility(texts.lengths, texts.width)
        global_mask = self.kernels.mask(visible, x.dtype)
        local_mask = self.kernels.mask(visible._replace(reach=self.reach), x.dtype)
        x = run_blocks(self.blocks, x, lambda block: global_mask if block.is_global else local_mask, texts.tokens)
        return self.final_norm(x)


def _layer_types(config: Config, layers: int) -> list[str]:
    """The type of each layer. Older files give only the interval of global layers, the first layer being one."""
    every = whole(config, "global_attn_every_n_layers", 3)
    return read_layer_types(config, layers) or [
        "sliding_attention" if i % every else "full_attention" for i in range(layers)
    ]


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return ModernBert(config, weights, kernels)
