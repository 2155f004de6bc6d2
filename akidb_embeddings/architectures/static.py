"""Static models: each token has a vector of its own, whatever stands beside it, and a text's is their mean.

By model2vec (van Dongen and Tulkens, 2024) and as StaticEmbedding of sentence-transformers.
"""

from akidb_embeddings.architectures import Encoder, Inputs
from akidb_embeddings.checkpoint.arguments import required
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry.architectures import Config


class StaticTable:
    """Rows of a table. Tokens may share a row, by ``mapping``, and have a factor each."""

    def __init__(self, config: Config, weights: Weights) -> None:
        rows, hidden, tokens = required(config, "embedding_rows", "hidden_size", "vocab_size")
        weights = weights.in_float32()
        self.table = weights.embedding("embedding", rows, hidden)
        self.mapping = _mapping(weights, tokens, rows) if config["has_mapping"] else None
        self.factors = weights.vector("weights", (tokens,)) if config["has_weights"] else None

    def __call__(self, texts: Inputs) -> mx.array:
        rows = texts.ids if self.mapping is None else self.mapping[texts.ids]
        x = self.table(rows)
        return x if self.factors is None else x * self.factors[texts.ids][..., None]


def _mapping(weights: Weights, tokens: int, rows: int) -> mx.array:
    """The row of each token, int32 [tokens]. MLX would read beyond the table without an error."""
    mapping = weights.parameter("mapping", mx.zeros((tokens,), mx.int32))
    if int(mx.min(mapping)) < 0 or int(mx.max(mapping)) >= rows:
        raise CheckpointError(f"The tensor mapping names rows that the table does not have; it has {rows}.")
    return mapping.astype(mx.int32)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return StaticTable(config, weights)
