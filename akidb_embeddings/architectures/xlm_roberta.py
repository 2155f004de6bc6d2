"""XLM-RoBERTa: BERT whose position ids start after the padding token's id (Conneau et al., 2019)."""

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
        self.padding_id = whole(config, "pad_token_id", 1, minimum=0)

    def position_ids(self, ids: mx.array) -> mx.array:
        return create_position_ids(ids, self.padding_id, self.max_positions)


def create_position_ids(ids: mx.array, padding_id: int, max_positions: int) -> mx.array:
    """Position ids, int32 [B, L], that start at ``padding_id + 1``.

    A padding token inside a text has the position ``padding_id`` and is not counted, as in training (see
    ``create_position_ids_from_input_ids`` of transformers).

    Args:
        ids: Token ids, int32 [B, L].
        padding_id: The id of the padding token.
        max_positions: The size of the position table. Padding may exceed it, so position ids are limited to it.
    """
    not_padding = (ids != padding_id).astype(mx.int32)
    return mx.minimum(mx.cumsum(not_padding, axis=1) * not_padding + padding_id, max_positions - 1)


def build(config: Config, weights: Weights, kernels: Kernels) -> Encoder:
    return XLMRoberta(config, weights, kernels)
