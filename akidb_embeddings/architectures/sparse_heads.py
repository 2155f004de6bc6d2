"""What makes sparse weights of hidden states: BGE-M3's weight of each token, and SPLADE's of the whole vocabulary.

They compute in float32 on every device, as the heads that make scores.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.architectures.parts import LayerNorm
from akidb_embeddings.checkpoint.arguments import number, required, supported
from akidb_embeddings.checkpoint.sparse import WEIGHT_LAYER, SparseHead, Splade, TokenWeights
from akidb_embeddings.compute.fused import FUSED
from akidb_embeddings.compute.layers import expanded
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config
from akidb_embeddings.registry.heads import MaskedLMSpec
from akidb_embeddings.vectors.finish import Vectors
from akidb_embeddings.vectors.ragged import Row, highest_pairs, nonzero_pairs

Ids = NDArray[np.int32]
# So many logits are computed at once, 16 MB. A few such arrays are alive at a time.
_MOST_LOGITS = 1 << 22


class SparseReadout(Protocol):
    """Makes a micro-batch's sparse weights."""

    def __call__(self, hidden: mx.array, lengths: Ids) -> mx.array:
        """What leaves the device, float32 [B, …], of hidden states [B, L, hidden_size]."""
        ...

    def pairs(self, output: Vectors, ids: Ids, lengths: Ids) -> list[Row]:
        """The weights of each text as pairs, of what left the device and token ids [B, L]."""
        ...


class TokenWeightsHead:
    """The weight of a token is ``relu(w h + b)``; of one that a text has several times, the highest counts."""

    def __init__(self, weights: Weights, config: Config, head: TokenWeights) -> None:
        (hidden,) = required(config, "hidden_size")
        self.linear = weights.in_float32().linear(WEIGHT_LAYER, hidden, 1, head.bias)

    def __call__(self, hidden: mx.array, lengths: Ids) -> mx.array:
        """The weight of each token, float32 [B, L]."""
        return mx.maximum(self.linear(hidden.astype(mx.float32))[..., 0], 0.0)

    def pairs(self, output: Vectors, ids: Ids, lengths: Ids) -> list[Row]:
        """See ``SparseReadout``."""
        return [
            highest_pairs(row[:length], weights[:length])
            for row, weights, length in zip(ids, output, lengths, strict=True)
        ]


class SpladeHead:
    """The logits of a masked language model for each token, ``log(1 + relu(x))``, pooled over the tokens of a text."""

    def __init__(self, weights: Weights, config: Config, spec: MaskedLMSpec, head: Splade) -> None:
        hidden, self.vocab_size = required(config, "hidden_size", "vocab_size")
        weights = weights.in_float32()
        self.dense = weights.linear(spec.dense, hidden, hidden, bias=True)
        self.norm = LayerNorm(weights, spec.norm, hidden, number(config, "layer_norm_eps", 1e-12))
        gelu = supported(config, "hidden_act", "gelu", "gelu", "gelu_new", "gelu_pytorch_tanh") == "gelu"
        self.activation = FUSED.gelu if gelu else FUSED.gelu_tanh
        if head.tied:
            table = weights.peek(spec.table, self.vocab_size, hidden).table
        else:
            table = weights.matrix(spec.decoder, self.vocab_size, hidden)
        self.decoder = expanded(table, mx.float32).T
        self.bias = weights.vector(head.bias, (self.vocab_size,))
        self.strategy, self.twice, self.most = head.strategy, head.twice, head.most

    def __call__(self, hidden: mx.array, lengths: Ids) -> mx.array:
        """The weights of the whole vocabulary, float32 [B, V].

        Logits of a whole micro-batch would take gigabytes, so they are computed for a few tokens at a time. Each part
        depends on the one before, or MLX would compute them all before it pools any.
        """
        x = self.norm(self.activation(self.dense(hidden.astype(mx.float32))))
        count, length = x.shape[:2]
        real = mx.arange(length)[None, :] < mx.array(lengths)[:, None]
        step = max(1, _MOST_LOGITS // (count * self.vocab_size))
        pooled: mx.array | None = None
        for begin in range(0, length, step):
            part, is_real = x[:, begin : begin + step], real[:, begin : begin + step, None]
            if pooled is not None:
                part = mx.depends(part, pooled)
            found = self._pool(part, is_real)
            if pooled is not None:
                found = mx.maximum(pooled, found) if self.strategy == "max" else pooled + found
            pooled = found
        assert pooled is not None  # a text has a token
        return self._activate(pooled + self.bias) if self.strategy == "max" else pooled

    def pairs(self, output: Vectors, ids: Ids, lengths: Ids) -> list[Row]:
        """See ``SparseReadout``."""
        return [nonzero_pairs(weights, self.most) for weights in output]

    def _pool(self, x: mx.array, is_real: mx.array) -> mx.array:
        """float32 [B, V] of states [B, T, hidden_size]: the sum of their weights, or their highest logits.

        The bias and the activation, which grow with the logits, can follow once for all of those.
        """
        if self.strategy == "max":
            return mx.where(is_real, x @ self.decoder, -mx.inf).max(axis=1)
        return mx.where(is_real, self._activate(mx.addmm(self.bias, x, self.decoder)), 0.0).sum(axis=1)

    def _activate(self, x: mx.array) -> mx.array:
        x = mx.log1p(mx.maximum(x, 0.0))
        return mx.log1p(x) if self.twice else x


def build_sparse_head(
    head: SparseHead, config: Config, weights: Weights, spec: MaskedLMSpec | None
) -> TokenWeightsHead | SpladeHead:
    """The head of a checkpoint, to be built before its encoder.

    Args:
        head: What the folder says of it.
        config: config.json, with canonical keys.
        weights: The checkpoint's tensors; those that the head alone uses are removed.
        spec: The layers of the architecture's masked language model; None if there is none.

    Raises:
        CheckpointError: A setting is not supported, or a tensor is missing or has another shape.
    """
    if isinstance(head, TokenWeights):
        return TokenWeightsHead(weights, config, head)
    assert spec is not None  # the folder has been refused otherwise
    return SpladeHead(weights, config, spec, head)
