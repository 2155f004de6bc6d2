"""Gemma 3 text: causal, or bidirectional as in EmbeddingGemma, with local and global layers (Gemma team, 2025)."""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.parts import GatedMLP, GroupedAttention, RMSNorm, run_blocks
from akidb_embeddings.architectures.rope import read_layer_rope
from akidb_embeddings.checkpoint.arguments import number, read_layer_types, required, supported
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config

# Gemma's norms multiply by weight + 1.
_OFFSET = 1.0
# Hidden states reach 800,000 (unslothai/unsloth#4014), and float16 ends at 65,504. A factor on all of them changes no
# vector, since only norms read them (huggingface/transformers#37226); a power of two rounds nothing.
_FLOAT16_FACTOR = 2.0**-6


class Block:
    """Norms on both sides of attention and MLP. Hidden states, in and out, are multiplied by ``factor``."""

    def __init__(
        self, weights: Weights, name: str, config: Config, is_global: bool, kernels: Kernels, factor: float
    ) -> None:
        hidden, intermediate, head_dim = required(config, "hidden_size", "intermediate_size", "head_dim")
        query_scalar = config.get("query_pre_attn_scalar") or 256
        eps = number(config, "rms_norm_eps", 1e-6)
        if is_global:
            rope = read_layer_rope(config, "full_attention", "rope_theta", 1e6, head_dim)
        else:
            rope = read_layer_rope(config, "sliding_attention", "rope_local_base_freq", 1e4, head_dim)
        self.is_global = is_global
        scaled = eps * factor**2
        self.before_attention = RMSNorm(weights, f"{name}.input_layernorm", hidden, scaled, _OFFSET)
        self.attention = GroupedAttention(
            weights,
            f"{name}.self_attn",
            config,
            rope,
            float(query_scalar) ** -0.5,
            kernels,
            norm_offset=_OFFSET,
        )
        self.after_attention = RMSNorm(weights, f"{name}.post_attention_layernorm", hidden, eps, _OFFSET, factor)
        self.before_mlp = RMSNorm(weights, f"{name}.pre_feedforward_layernorm", hidden, scaled, _OFFSET)
        self.mlp = GatedMLP(weights, f"{name}.mlp", hidden, intermediate, kernels.gelu_tanh)
        self.after_mlp = RMSNorm(weights, f"{name}.post_feedforward_layernorm", hidden, eps, _OFFSET, factor)

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        x = select_tokens(x, tokens) + self.after_attention(self.attention(self.before_attention(x), mask, tokens))
        return x + self.after_mlp(self.mlp(self.before_mlp(x)))


class Gemma3:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        self.hidden, layers, vocab_size = required(config, "hidden_size", "num_hidden_layers", "vocab_size")
        supported(config, "hidden_activation", "gelu_pytorch_tanh", "gelu_pytorch_tanh")
        supported(config, "attn_logit_softcapping", None, None)
        self.bidirectional = bool(config.get("use_bidirectional_attention"))
        supported(config, "is_causal", None, None, not self.bidirectional)
        types = layer_types(config, layers)
        window = required(config, "sliding_window")[0] if "sliding_attention" in types else None
        if window is None:
            self.reach = None  # how many tokens local layers see on each side, or before a token
        else:
            self.reach = symmetric_reach(window) if self.bidirectional else window - 1
        self.embed_tokens = weights.embedding("embed_tokens", vocab_size, self.hidden)
        factor = _FLOAT16_FACTOR if weights.dtype == mx.float16 else 1.0
        self.blocks = [
            Block(weights, f"layers.{i}", config, layer_type == "full_attention", kernels, factor)
            for i, layer_type in enumerate(types)
        ]
        eps = number(config, "rms_norm_eps", 1e-6) * factor**2
        self.norm = RMSNorm(weights, "norm", self.hidden, eps, _OFFSET)
        self.embedding_factor = self.hidden**0.5 * factor
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        # The scale is not part of the table: in a quantized table it would be rounded with the weights.
        x = self.embed_tokens(texts.ids) * self.embedding_factor
        visible = Visibility(texts.lengths, texts.width, causal=not self.bidirectional)
        global_mask = local_mask = self.kernels.mask(visible, x.dtype)
        if self.reach is not None:
            local_mask = self.kernels.mask(visible._replace(reach=self.reach), x.dtype)
        x = run_blocks(self.blocks, x, lambda block: global_mask if block.is_global else local_mask, texts.tokens)
        return self.norm(x)


def symmetric_reach(window: int) -> int:
    """How many tokens a bidirectional local layer sees on each side.

    config.json gives the width of the whole window, an even number. Some releases of transformers saved half of it plus
    one, an odd number (see their ``Gemma3TextConfig.__post_init__``).
    """
    return window - 1 if window % 2 else window // 2


def layer_types(config: Config, layers: int) -> list[str]:
    """``full_attention`` or ``sliding_attention`` for each layer. Older files give only the interval of full layers."""
    pattern = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
    from_pattern = ["sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)]
    return read_layer_types(config, layers) or from_pattern


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Gemma3(config, weights, kernels)
