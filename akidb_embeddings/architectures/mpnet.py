"""MPNet: BERT with absolute and relative positions; the latter as a bias on attention's scores (Song et al., 2020)."""

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.bert import Block
from akidb_embeddings.architectures.masks import padding_mask
from akidb_embeddings.architectures.parts import LayerNorm
from akidb_embeddings.architectures.xlm_roberta import positions_behind
from akidb_embeddings.checkpoint.arguments import number, required, supported
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config

# Fixed in transformers' code, whatever config.json says of the padding.
_PADDING = 1
_BUCKETS = 32
_MAX_DISTANCE = 128


class MPNet:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, heads, words, self.limit = required(
            config,
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "vocab_size",
            "max_position_embeddings",
        )
        supported(config, "relative_attention_num_buckets", _BUCKETS, _BUCKETS)
        self.words = weights.embedding("embeddings.word_embeddings", words, hidden)
        self.positions = weights.embedding("embeddings.position_embeddings", self.limit, hidden)
        self.norm = LayerNorm(weights, "embeddings.LayerNorm", hidden, number(config, "layer_norm_eps", 1e-12))
        self.relative = weights.embedding("encoder.relative_attention_bias", _BUCKETS, heads)
        self.blocks = [
            Block(
                weights,
                f"encoder.layer.{i}",
                config,
                kernels,
                qkv=("attn.q", "attn.k", "attn.v"),
                output="attn.o",
                norm="LayerNorm",
            )
            for i in range(layers)
        ]
        self.kernels = kernels

    def __call__(self, ids: mx.array, lengths: NDArray[np.int32]) -> mx.array:
        L = ids.shape[1]
        bias = self.relative(mx.array(buckets(L))).transpose(2, 0, 1)[None]
        mask = self.kernels.bias(bias, padding_mask(lengths, L))
        x = self.norm(self.words(ids) + self.positions(positions_behind(ids, _PADDING, self.limit)))
        for block in self.blocks:
            x = block(x, mask)
        return x


def buckets(length: int) -> NDArray[np.int32]:
    """``[L, L]``: which bias is for a key (column) seen from a query (row).

    16 buckets for each side: a distance below 8 has one of its own, larger ones share them by logarithm, and from 128
    on all are in the last.
    """
    half, exact = _BUCKETS // 2, _BUCKETS // 4
    positions = np.arange(length, dtype=np.int32)
    ahead = positions - positions[:, None]
    distance = np.abs(ahead)
    scaled = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / np.float32(np.log(_MAX_DISTANCE / exact))
    far = exact + (scaled * np.float32(half - exact)).astype(np.int32)
    one_side = np.where(distance < exact, distance, np.minimum(far, half - 1))
    chosen: NDArray[np.int32] = np.where(ahead > 0, one_side + half, one_side).astype(np.int32)
    return chosen


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return MPNet(config, weights, kernels)
