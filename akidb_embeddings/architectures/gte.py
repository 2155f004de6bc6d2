"""GTE: BERT with rotary positions, whose range is extended, and a gated MLP (Zhang et al., 2024)."""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.parts import LayerNorm, SelfAttention, run_blocks
from akidb_embeddings.architectures.rope import Rope, read_rope, rope_kind
from akidb_embeddings.checkpoint.arguments import mapping, number, required, supported, whole
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config

_EPS = 1e-12
# Options of the published code that no published model uses.
_UNSUPPORTED = ("logn_attention_scale", "logn_attention_clip1")


class Block:
    """Attention and MLP, each followed by LayerNorm of the sum."""

    def __init__(self, weights: Weights, name: str, config: Config, kernels: Kernels, rope: Rope) -> None:
        hidden, intermediate = required(config, "hidden_size", "intermediate_size")
        eps = number(config, "layer_norm_eps", _EPS)
        self.attention = SelfAttention(
            weights,
            f"{name}.attention.qkv_proj",
            f"{name}.attention.o_proj",
            config,
            kernels,
            bias=True,
            rope=rope,
        )
        self.attention_norm = LayerNorm(weights, f"{name}.attn_ln", hidden, eps)
        self.up_gate = weights.linear(f"{name}.mlp.up_gate_proj", hidden, 2 * intermediate, bias=False)
        self.down = weights.linear(f"{name}.mlp.down_proj", intermediate, hidden, bias=True)
        self.output_norm = LayerNorm(weights, f"{name}.mlp_ln", hidden, eps)
        self.activation = kernels.gelu

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        x = self.attention_norm(select_tokens(x, tokens) + self.attention(x, mask, tokens))
        up, gate = mx.split(self.up_gate(x), 2, axis=-1)
        return self.output_norm(x + self.down(self.activation.gated(gate, up)))


class Gte:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, vocab_size, heads = required(
            config, "hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads"
        )
        supported(config, "position_embedding_type", "rope", "rope")
        supported(config, "layer_norm_type", "layer_norm", "layer_norm")
        supported(config, "hidden_act", "gelu", "gelu")
        for key in _UNSUPPORTED:
            supported(config, key, None, None, False)
        self.word_embeddings = weights.embedding("embeddings.word_embeddings", vocab_size, hidden)
        types = whole(config, "type_vocab_size", 1, minimum=0)
        self.token_type_embeddings = (
            weights.embedding("embeddings.token_type_embeddings", types, hidden) if types else None
        )
        self.norm = LayerNorm(weights, "embeddings.LayerNorm", hidden, number(config, "layer_norm_eps", _EPS))
        rope = read_gte_rope(config, hidden // heads)
        self.blocks = [Block(weights, f"encoder.layer.{i}", config, kernels, rope) for i in range(layers)]
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        x = self.word_embeddings(texts.ids)
        if self.token_type_embeddings is not None:
            # Every token has type 0, because texts are never pairs.
            x = x + self.token_type_embeddings(mx.array([0]))
        x = self.norm(x)
        mask = self.kernels.mask(Visibility(texts.lengths, texts.width), x.dtype)
        return run_blocks(self.blocks, x, lambda block: mask, texts.tokens)


def read_gte_rope(config: Config, head_dim: int) -> Rope:
    """The rotary position embeddings, for which the authors' files have a scaling of their own, "ntk".

    It divides the frequency i of ``head_dim`` / 2 by factor^((2i + 2) / ``head_dim``), for every length. transformers 5
    writes the same as "linear" with another base.

    Raises:
        CheckpointError: As for ``read_rope``.
    """
    scaling = mapping(config, "rope_scaling")
    if rope_kind(scaling) != "ntk":
        return read_rope(config, head_dim)
    supported(scaling, "mixed_b", None, None)
    required({**config, **scaling}, "rope_theta", "factor")
    theta, factor = number(config, "rope_theta", 0.0), number(scaling, "factor", 0.0)
    linear = {"rope_type": "linear", "factor": factor ** (2 / head_dim)}
    return read_rope({**config, "rope_scaling": linear, "rope_theta": theta * factor}, head_dim)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Gte(config, weights, kernels)
