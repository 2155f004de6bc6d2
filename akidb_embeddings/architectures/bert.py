"""BERT: absolute positions, bidirectional attention, LayerNorm after each block (Devlin et al., 2018)."""

from collections.abc import Sequence
from typing import NamedTuple

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.parts import LayerNorm, SelfAttention, run_blocks
from akidb_embeddings.checkpoint.arguments import number, required, supported, whole
from akidb_embeddings.compute.kernels import AttentionMask, Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.pooling import select_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


class BlockNames(NamedTuple):
    """The names of a block's layers. BERT's derivatives have others."""

    qkv: Sequence[str] = ("attention.self.query", "attention.self.key", "attention.self.value")
    attention_output: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    output_norm: str = "output.LayerNorm"


_NAMES = BlockNames()


class Block:
    """Attention and MLP, each followed by LayerNorm of the sum."""

    def __init__(
        self, weights: Weights, name: str, config: Config, kernels: Kernels, names: BlockNames = _NAMES
    ) -> None:
        hidden, intermediate = required(config, "hidden_size", "intermediate_size")
        eps = number(config, "layer_norm_eps", 1e-12)
        qkv, output = [f"{name}.{projection}" for projection in names.qkv], f"{name}.{names.attention_output}"
        self.attention = SelfAttention(weights, qkv, output, config, kernels, bias=True)
        self.attention_norm = LayerNorm(weights, f"{name}.{names.attention_norm}", hidden, eps)
        self.up = weights.linear(f"{name}.{names.up}", hidden, intermediate, bias=True)
        self.down = weights.linear(f"{name}.{names.down}", intermediate, hidden, bias=True)
        self.output_norm = LayerNorm(weights, f"{name}.{names.output_norm}", hidden, eps)
        gelu = supported(config, "hidden_act", "gelu", "gelu", "gelu_new", "gelu_pytorch_tanh") == "gelu"
        self.activation = kernels.gelu if gelu else kernels.gelu_tanh

    def __call__(self, x: mx.array, mask: AttentionMask | None, tokens: mx.array | None = None) -> mx.array:
        x = self.attention_norm(select_tokens(x, tokens) + self.attention(x, mask, tokens))
        return self.output_norm(x + self.down(self.activation(self.up(x))))


class Bert:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, vocab_size, self.max_positions = required(
            config, "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"
        )
        supported(config, "position_embedding_type", "absolute", "absolute")
        supported(config, "is_decoder", False, False, None)
        self.word_embeddings = weights.embedding("embeddings.word_embeddings", vocab_size, hidden)
        self.position_embeddings = weights.embedding("embeddings.position_embeddings", self.max_positions, hidden)
        self.token_type_embeddings = weights.embedding(
            "embeddings.token_type_embeddings", whole(config, "type_vocab_size", 2), hidden
        )
        self.norm = LayerNorm(weights, "embeddings.LayerNorm", hidden, number(config, "layer_norm_eps", 1e-12))
        self.blocks = [Block(weights, f"encoder.layer.{i}", config, kernels) for i in range(layers)]
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        types = mx.array([0]) if texts.types is None else texts.types
        x = self.norm(
            self.word_embeddings(texts.ids)
            + self.position_embeddings(self.position_ids(texts.ids))
            + self.token_type_embeddings(types)
        )
        mask = self.kernels.mask(Visibility(texts.lengths, texts.width), x.dtype)
        return run_blocks(self.blocks, x, lambda block: mask, texts.tokens)

    def position_ids(self, ids: mx.array) -> mx.array:
        """int32 [L] or [B, L]. Padding may exceed the position table, so position ids are limited to its last row."""
        return mx.minimum(mx.arange(ids.shape[1]), self.max_positions - 1)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Bert(config, weights, kernels)
