"""What becomes of a micro-batch's hidden states: vectors of texts or of tokens, sparse weights, or scores."""

from collections.abc import Callable
from typing import Protocol

from akidb_embeddings.architectures.heads import Head, build_head
from akidb_embeddings.architectures.sparse_heads import build_sparse_head
from akidb_embeddings.checkpoint.base import BaseCheckpoint
from akidb_embeddings.checkpoint.checkpoint import Checkpoint
from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.compute.fused import FUSED
from akidb_embeddings.compute.pooling import pool, pooled_tokens
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.engine.planner import MicroBatch
from akidb_embeddings.registry.outputs import RAGGED, SPARSE, TOKENS
from akidb_embeddings.vectors.finish import Vectors
from akidb_embeddings.vectors.ragged import Rows

_ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "Identity": lambda x: x,
    "Tanh": mx.tanh,
    "ReLU": lambda x: mx.maximum(x, 0.0),
    "GELU": FUSED.gelu.alone,
}


class Readout(Protocol):
    """Makes a micro-batch's rows of its hidden states."""

    def tokens(self, batch: MicroBatch) -> mx.array | None:
        """The token of each text whose hidden state is read, int32 [B]; None for all."""
        ...

    def __call__(self, hidden: mx.array, batch: MicroBatch) -> mx.array:
        """float32 [B, …] of hidden states [B, L, hidden_size], or [B, 1, hidden_size] of ``tokens``."""
        ...

    def rows(self, output: Vectors, batch: MicroBatch) -> Rows:
        """Each text's row, of what left the device."""
        ...


class VectorReadout:
    """Pooling and dense layers, or without pooling where each token is to have a vector; or sparse weights.

    Truncation and normalization follow on the host.
    """

    def __init__(self, checkpoint: Checkpoint, weights: Weights) -> None:
        self._sparse = None
        if checkpoint.sparse is not None:
            spec = checkpoint.architecture.masked_lm
            self._sparse = build_sparse_head(checkpoint.sparse, checkpoint.config, weights, spec)
        self._dense = [
            (weights.linear(f"dense.{index}", layer.inputs, layer.outputs, layer.bias), _ACTIVATIONS[layer.activation])
            for index, layer in enumerate(checkpoint.dense)
        ]
        self._dtype, self._int8_by_tanh = weights.dtype, checkpoint.int8_by_tanh

    def tokens(self, batch: MicroBatch) -> mx.array | None:
        """See ``Readout``."""
        return None if batch.pooling in RAGGED else pooled_tokens(batch.lengths, batch.pooling)

    def __call__(self, hidden: mx.array, batch: MicroBatch) -> mx.array:
        """float32 [B, dimension], [B, L, dimension], or what the sparse head makes."""
        if batch.pooling == SPARSE and self._sparse is not None:
            return self._sparse(hidden, batch.lengths)
        vectors = hidden if batch.pooling == TOKENS else pool(hidden, batch.lengths, batch.pooling)
        for linear, activation in self._dense:
            vectors = activation(linear(vectors.astype(self._dtype)))
        vectors = vectors.astype(mx.float32)
        return mx.round(mx.tanh(vectors) * 127) if self._int8_by_tanh else vectors

    def rows(self, output: Vectors, batch: MicroBatch) -> Rows:
        """See ``Readout``."""
        if batch.pooling == SPARSE and self._sparse is not None:
            return self._sparse.pairs(output, batch.ids, batch.lengths)
        if batch.pooling == TOKENS:
            return [row[:length].copy() for row, length in zip(output, batch.lengths, strict=True)]
        return output


class ScoreReadout:
    """A head's logits. The activation follows on the host."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def tokens(self, batch: MicroBatch) -> mx.array | None:
        """See ``Readout``."""
        tokens = self._head.tokens(batch.ids, batch.lengths)
        return None if tokens is None else mx.array(tokens)

    def __call__(self, hidden: mx.array, batch: MicroBatch) -> mx.array:
        """float32 [B, labels]."""
        return self._head(hidden, batch.lengths)

    def rows(self, output: Vectors, batch: MicroBatch) -> Rows:
        """See ``Readout``."""
        return output


def build_readout(checkpoint: BaseCheckpoint, weights: Weights) -> Readout:
    """What a checkpoint makes of hidden states, to be built before its encoder, with which it may share a table.

    Raises:
        CheckpointError: A tensor or a setting does not fit.
    """
    if isinstance(checkpoint, RerankerCheckpoint):
        config, labels = checkpoint.config, len(checkpoint.labels)
        return ScoreReadout(build_head(checkpoint.head, config, weights, labels, checkpoint.answers))
    assert isinstance(checkpoint, Checkpoint)  # there are no other kinds
    return VectorReadout(checkpoint, weights)
