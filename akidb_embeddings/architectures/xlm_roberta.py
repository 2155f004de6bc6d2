"""XLM-RoBERTa: BERT whose positions count from behind the padding token's id (Conneau et al., 2019)."""

from akidb_embeddings.architectures import Encoder
from akidb_embeddings.architectures.bert import Bert
from akidb_embeddings.checkpoint.arguments import whole
from akidb_embeddings.compute.kernels import Kernels
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config


class XLMRoberta(Bert):
    def __init__(self, config: Config, weights: Weights, kernels: Kernels) -> None:
        super().__init__({"layer_norm_eps": 1e-5, "type_vocab_size": 1, **config}, weights, kernels)
        self.padding = whole(config, "pad_token_id", 1, least=0)

    def numbers(self, ids: mx.array) -> mx.array:
        return positions_behind(ids, self.padding, self.limit)


def positions_behind(ids: mx.array, padding: int, limit: int) -> mx.array:
    """Positions from ``padding + 1``. A padding token that stands in a text has the position ``padding``, and the next
    one goes on as if it were not there: so it was in training (``create_position_ids_from_input_ids`` of transformers).
    """
    real = (ids != padding).astype(mx.int32)
    return mx.minimum(mx.cumsum(real, axis=1) * real + padding, limit - 1)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return XLMRoberta(config, weights, kernels)
