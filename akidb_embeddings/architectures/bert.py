"""BERT: absolute positions, bidirectional attention, LayerNorm after each block (Devlin et al., 2018)."""

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.architectures import Config, Encoder
from akidb_embeddings.architectures.arguments import required, supported
from akidb_embeddings.architectures.masks import padding_mask
from akidb_embeddings.architectures.parts import LayerNorm
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.kernels import Kernels
from akidb_embeddings.runtime import mx
from akidb_embeddings.weights import Weights


class Attention:
    def __init__(self, weights: Weights, name: str, hidden: int, heads: int, kernels: Kernels) -> None:
        parts = [f"{name}.self.{part}" for part in ("query", "key", "value")]
        self.qkv = weights.linear(parts, hidden, [hidden] * 3, bias=True)
        self.output = weights.linear(f"{name}.output.dense", hidden, hidden, bias=True)
        if hidden % heads:
            raise CheckpointError(f"config.json gives hidden_size {hidden}, not divisible by {heads} attention heads.")
        self.heads, self.kernels = heads, kernels

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        B, L, D = x.shape
        q, k, v = self.qkv(x).reshape(B, L, 3, self.heads, D // self.heads).transpose(2, 0, 3, 1, 4)
        mixed = self.kernels.attention(q, k, v, (D // self.heads) ** -0.5, mask)
        return self.output(mixed.transpose(0, 2, 1, 3).reshape(B, L, D))


class Block:
    def __init__(self, weights: Weights, name: str, config: Config, kernels: Kernels) -> None:
        hidden, inner, heads = required(config, "hidden_size", "intermediate_size", "num_attention_heads")
        eps = config.get("layer_norm_eps", 1e-12)
        self.attention = Attention(weights, f"{name}.attention", hidden, heads, kernels)
        self.attention_norm = LayerNorm(weights, f"{name}.attention.output.LayerNorm", hidden, eps)
        self.up = weights.linear(f"{name}.intermediate.dense", hidden, inner, bias=True)
        self.down = weights.linear(f"{name}.output.dense", inner, hidden, bias=True)
        self.output_norm = LayerNorm(weights, f"{name}.output.LayerNorm", hidden, eps)
        gelu = supported(config, "hidden_act", "gelu", "gelu", "gelu_new", "gelu_pytorch_tanh") == "gelu"
        self.activation = kernels.gelu if gelu else kernels.gelu_tanh

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        x = self.attention_norm(x + self.attention(x, mask))
        return self.output_norm(x + self.down(self.activation(self.up(x))))


class Bert:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, words, positions = required(
            config, "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"
        )
        supported(config, "position_embedding_type", "absolute", "absolute")
        supported(config, "is_decoder", False, False, None)
        self.words = weights.embedding("embeddings.word_embeddings", words, hidden)
        self.positions = weights.embedding("embeddings.position_embeddings", positions, hidden)
        self.types = weights.embedding("embeddings.token_type_embeddings", config.get("type_vocab_size", 2), hidden)
        self.norm = LayerNorm(weights, "embeddings.LayerNorm", hidden, config.get("layer_norm_eps", 1e-12))
        self.blocks = [Block(weights, f"encoder.layer.{i}", config, kernels) for i in range(layers)]
        self.kernels = kernels

    def __call__(self, ids: mx.array, lengths: NDArray[np.int32]) -> mx.array:
        L = ids.shape[1]
        hidden_keys = padding_mask(lengths, L)
        mask = None if hidden_keys is None else self.kernels.mask(hidden_keys)
        # Every token is of type 0: texts come alone, never in pairs.
        x = self.norm(self.words(ids) + self.positions(mx.arange(L)) + self.types(mx.array([0])))
        for block in self.blocks:
            x = block(x, mask)
        return x


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return Bert(config, weights, kernels)
