"""MPNet: BERT with absolute positions, and relative ones as a bias on attention scores (Song et al., 2020)."""

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.bert import Block, BlockNames
from akidb_embeddings.architectures.parts import LayerNorm, run_blocks
from akidb_embeddings.architectures.xlm_roberta import create_position_ids
from akidb_embeddings.checkpoint.arguments import number, required, supported
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config

# A constant in transformers, independent of config.json.
_PADDING_ID = 1
_BUCKETS = 32
_MAX_DISTANCE = 128
_NAMES = BlockNames(
    qkv=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    attention_output="attention.attn.o",
    attention_norm="attention.LayerNorm",
)


class MPNet:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, heads, vocab_size, self.max_positions = required(
            config,
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "vocab_size",
            "max_position_embeddings",
        )
        supported(config, "relative_attention_num_buckets", _BUCKETS, _BUCKETS)
        self.word_embeddings = weights.embedding("embeddings.word_embeddings", vocab_size, hidden)
        self.position_embeddings = weights.embedding("embeddings.position_embeddings", self.max_positions, hidden)
        self.norm = LayerNorm(weights, "embeddings.LayerNorm", hidden, number(config, "layer_norm_eps", 1e-12))
        self.relative_attention_bias = weights.embedding("encoder.relative_attention_bias", _BUCKETS, heads)
        self.blocks = [Block(weights, f"encoder.layer.{i}", config, kernels, _NAMES) for i in range(layers)]
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        L = texts.width
        bias = self.relative_attention_bias(mx.array(relative_position_buckets(L))).transpose(2, 0, 1)[None]
        mask = self.kernels.bias(bias, Visibility(texts.lengths, L))
        x = self.norm(
            self.word_embeddings(texts.ids)
            + self.position_embeddings(create_position_ids(texts.ids, _PADDING_ID, self.max_positions))
        )
        return run_blocks(self.blocks, x, lambda block: mask, texts.tokens)


def relative_position_buckets(length: int) -> NDArray[np.int32]:
    """The bucket of each key (column) relative to each query (row), int32 [L, L].

    Each side has 16 buckets: one for each distance below 8, logarithmic ones for larger distances, and one for all
    distances from 128.
    """
    num_buckets, max_exact = _BUCKETS // 2, _BUCKETS // 4
    positions = np.arange(length, dtype=np.int32)
    relative_position = positions - positions[:, None]
    distance = np.abs(relative_position)
    scaled = np.log(np.maximum(distance, 1).astype(np.float32) / max_exact) / np.float32(
        np.log(_MAX_DISTANCE / max_exact)
    )
    large = max_exact + (scaled * np.float32(num_buckets - max_exact)).astype(np.int32)
    bucket = np.where(distance < max_exact, distance, np.minimum(large, num_buckets - 1))
    buckets: NDArray[np.int32] = np.where(relative_position > 0, bucket + num_buckets, bucket).astype(np.int32)
    return buckets


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return MPNet(config, weights, kernels)
