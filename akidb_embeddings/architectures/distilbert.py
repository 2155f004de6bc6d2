"""DistilBERT: BERT without token types and with other names (Sanh et al., 2019)."""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.architectures.bert import Block, BlockNames
from akidb_embeddings.architectures.parts import LayerNorm, run_blocks
from akidb_embeddings.checkpoint.arguments import required, supported
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.masks import Visibility
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config

# A constant in transformers, independent of config.json.
_EPS = 1e-12
_NAMES = BlockNames(
    qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
)


class DistilBert:
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        hidden, layers, vocab_size, self.max_positions = required(
            config, "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings"
        )
        supported(config, "hidden_act", "gelu", "gelu")
        config = {**config, "layer_norm_eps": _EPS}
        self.word_embeddings = weights.embedding("embeddings.word_embeddings", vocab_size, hidden)
        self.position_embeddings = weights.embedding("embeddings.position_embeddings", self.max_positions, hidden)
        self.norm = LayerNorm(weights, "embeddings.LayerNorm", hidden, _EPS)
        self.blocks = [Block(weights, f"transformer.layer.{i}", config, kernels, _NAMES) for i in range(layers)]
        self.kernels = kernels

    def __call__(self, texts: Inputs) -> mx.array:
        # Padding may exceed the position table.
        positions = mx.minimum(mx.arange(texts.width), self.max_positions - 1)
        x = self.norm(self.word_embeddings(texts.ids) + self.position_embeddings(positions))
        mask = self.kernels.mask(Visibility(texts.lengths, texts.width), x.dtype)
        return run_blocks(self.blocks, x, lambda block: mask, texts.tokens)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return DistilBert(config, weights, kernels)
