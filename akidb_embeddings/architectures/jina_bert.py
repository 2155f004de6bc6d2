"""JinaBERT: BERT with ALiBi in both directions instead of positions, and a gated MLP (Günther et al., 2023).

Two variants were published, which differ in the names of their tensors: that of jina-embeddings-v2, and that of
jina-embeddings-v2-base-code, which norms queries and keys, and adds its input to the attention's output a second time.
"""

import math

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.parts import LayerNorm, SelfAttention, run_blocks
from akidb_embeddings.checkpoint.arguments import number, required, supported, whole
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config

_EPS = 1e-12


def _attention(
    weights: Weights, name: str, config: Config, kernels: Kernels, norms: tuple[LayerNorm, LayerNorm] | None = None
) -> SelfAttention:
    qkv = [f"{name}.self.{part}" for part in ("query", "key", "value")]
    return SelfAttention(weights, qkv, f"{name}.output.dense", config, kernels, bias=True, qk_norms=norms)


class Block:
    """Attention and MLP, each followed by LayerNorm of the sum."""

    def __init__(self, weights: Weights, name: str, config: Config, kernels: Kernels) -> None:
        hidden, intermediate = required(config, "hidden_size", "intermediate_size")
        eps = number(config, "layer_norm_eps", _EPS)
        self.attention = _attention(weights, f"{name}.attention", config, kernels)
        self.attention_norm = LayerNorm(weights, f"{name}.attention.output.LayerNorm", hidden, eps)
        self.gate_up = weights.linear(f"{name}.mlp.gated_layers", hidden, 2 * intermediate, bias=False)
        self.down = weights.linear(f"{name}.mlp.wo", intermediate, hidden, bias=True)
        self.output_norm = LayerNorm(weights, f"{name}.mlp.layernorm", hidden, eps)
        self.activation = kernels.gelu

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        x = self.attention_norm(select_tokens(x, tokens) + self.attention(x, mask, tokens))
        gate, up = mx.split(self.gate_up(x), 2, axis=-1)
        return self.output_norm(x + self.down(self.activation.gated(gate, up)))


class CodeBlock:
    """The same with norms of queries and keys, and of the sum of the block's input and the normed attention."""

    def __init__(self, weights: Weights, name: str, config: Config, kernels: Kernels) -> None:
        hidden, intermediate = required(config, "hidden_size", "intermediate_size")
        eps = number(config, "layer_norm_eps", _EPS)
        q_norm, k_norm = (LayerNorm(weights, f"{name}.attention.self.layer_norm_{x}", hidden, eps) for x in "qk")
        self.attention = _attention(weights, f"{name}.attention", config, kernels, (q_norm, k_norm))
        self.attention_norm = LayerNorm(weights, f"{name}.attention.output.LayerNorm", hidden, eps)
        self.mlp_norm = LayerNorm(weights, f"{name}.layer_norm_1", hidden, eps)
        self.up_gate = weights.linear(f"{name}.mlp.up_gated_layer", hidden, 2 * intermediate, bias=False)
        self.down = weights.linear(f"{name}.mlp.down_layer", intermediate, hidden, bias=True)
        self.output_norm = LayerNorm(weights, f"{name}.layer_norm_2", hidden, eps)
        self.activation = kernels.gelu

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        attention = self.attention(x, mask, tokens)
        x = select_tokens(x, tokens)
        x = self.mlp_norm(x + self.attention_norm(x + attention))
        up, gate = mx.split(self.up_gate(x), 2, axis=-1)
        return self.output_norm(x + self.down(self.activation.gated(gate, up)))


class JinaBert:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, vocab_size, heads = required(
            config, "hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads"
        )
        supported(config, "position_embedding_type", None, "alibi")
        supported(config, "feed_forward_type", "geglu", "geglu")
        supported(config, "is_decoder", False, False, None)
        self.word_embeddings = weights.embedding("embeddings.word_embeddings", vocab_size, hidden)
        self.token_type_embeddings = weights.embedding(
            "embeddings.token_type_embeddings", whole(config, "type_vocab_size", 2), hidden
        )
        self.norm = LayerNorm(weights, "embeddings.LayerNorm", hidden, number(config, "layer_norm_eps", _EPS))
        block = CodeBlock if weights.has("encoder.layer.0.attention.self.layer_norm_q.weight") else Block
        self.blocks = [block(weights, f"encoder.layer.{i}", config, kernels) for i in range(layers)]
        self.slopes = mx.array(alibi_slopes(heads))
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        # Every token has type 0, because texts are never pairs.
        x = self.norm(self.word_embeddings(texts.ids) + self.token_type_embeddings(mx.array([0])))
        mask = self.kernels.alibi(self.slopes, Visibility(texts.lengths, texts.width), x.dtype)
        return run_blocks(self.blocks, x, lambda block: mask, texts.tokens)


def alibi_slopes(heads: int) -> list[float]:
    """ALiBi's slope of each head: 2^(-8/n), 2^(-16/n), … of n heads.

    Where ``heads`` is no power of 2, they are those of the next smaller one, then every second one of twice as many.
    """
    power = 1 << int(math.log2(heads))
    slopes = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    return slopes + [2.0 ** (-8 * (i + 1) / (2 * power)) for i in range(0, 2 * (heads - power), 2)]


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return JinaBert(config, weights, kernels)
