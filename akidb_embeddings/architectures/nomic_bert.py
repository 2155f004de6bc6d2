"""NomicBERT: BERT with rotary positions and a gated MLP (Nussbaum et al., 2024), or with experts in some layers."""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.nomic_mlp import build_mlp, check_experts
from akidb_embeddings.architectures.parts import LayerNorm, SelfAttention, run_blocks
from akidb_embeddings.architectures.rope import Rope
from akidb_embeddings.checkpoint.arguments import number, required, rope_theta, supported, whole
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config

_EPS = 1e-12
# Options of the published code that no published text model uses.
_UNSUPPORTED = (
    "causal", "prenorm", "parallel_block", "use_rms_norm", "rotary_emb_interleaved", "rotary_emb_scale_base",
    "rotary_scaling_factor",
)  # fmt: skip


class Block:
    """Attention and MLP, each followed by LayerNorm of the sum."""

    def __init__(self, weights: Weights, index: int, config: Config, kernels: Kernels) -> None:
        name, (hidden,) = f"encoder.layers.{index}", required(config, "hidden_size")
        rope = Rope(rope_theta(config, None, "rotary_emb_base", 1000.0))
        eps = number(config, "layer_norm_eps", _EPS)
        self.attention = SelfAttention(
            weights,
            f"{name}.attn.Wqkv",
            f"{name}.attn.out_proj",
            config,
            kernels,
            bias=bool(config.get("qkv_proj_bias", False)),
            rope=rope,
        )
        self.attention_norm = LayerNorm(weights, f"{name}.norm1", hidden, eps)
        self.mlp = build_mlp(weights, f"{name}.mlp", index, config, kernels)
        self.output_norm = LayerNorm(weights, f"{name}.norm2", hidden, eps)

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        x = self.attention_norm(select_tokens(x, tokens) + self.attention(x, mask, tokens))
        return self.output_norm(x + self.mlp(x))


class NomicBert:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, vocab_size = required(config, "hidden_size", "num_hidden_layers", "vocab_size")
        for key in _UNSUPPORTED:
            supported(config, key, None, None, False, 0)
        supported(config, "rotary_emb_fraction", 1.0, 1.0)
        check_experts(config)
        self.word_embeddings = weights.embedding("embeddings.word_embeddings", vocab_size, hidden)
        self.token_type_embeddings = weights.embedding(
            "embeddings.token_type_embeddings", whole(config, "type_vocab_size", 2), hidden
        )
        self.norm = LayerNorm(weights, "emb_ln", hidden, number(config, "layer_norm_eps", _EPS))
        self.blocks = [Block(weights, index, config, kernels) for index in range(layers)]
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        # Every token has type 0, because texts are never pairs.
        x = self.norm(self.word_embeddings(texts.ids) + self.token_type_embeddings(mx.array([0])))
        mask = self.kernels.mask(Visibility(texts.lengths, texts.width), x.dtype)
        return run_blocks(self.blocks, x, lambda block: mask, texts.tokens)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return NomicBert(config, weights, kernels)
