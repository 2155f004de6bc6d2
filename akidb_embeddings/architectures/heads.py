"""What makes scores of hidden states: the heads of transformers' classifiers, and the answer of a language model.

Heads compute in float32 on every device: they are small, and their rounding would decide the order of near scores.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.architectures.parts import LayerNorm
from akidb_embeddings.checkpoint.arguments import number, required, supported
from akidb_embeddings.compute.fused import FUSED
from akidb_embeddings.compute.pooling import pool
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.registry.architectures import Config
from akidb_embeddings.registry.heads import HeadSpec

Ids = NDArray[np.int32]


class Layers(Protocol):
    """A head's layers: float32 [B, hidden_size] to logits, float32 [B, labels]."""

    def __call__(self, x: mx.array) -> mx.array:
        """The logits."""
        ...


class Head(NamedTuple):
    """A head, and what it reads.

    Attributes:
        layers: The layers.
        pooling: How it reads a text: "cls", "mean" or "last".
        skipped: For "last", the token that does not count as one, wherever it stands; None for none.
    """

    layers: Layers
    pooling: str
    skipped: int | None = None

    def tokens(self, ids: Ids, lengths: Ids) -> Ids | None:
        """The token that is read of each text, int32 [B]; None if all are.

        Args:
            ids: Token ids, int32 [B, L].
            lengths: The number of tokens of each text, int32 [B].
        """
        if self.pooling == "mean":
            return None
        if self.pooling == "cls":
            return np.zeros_like(lengths)
        places = np.arange(ids.shape[1], dtype=np.int32)
        counts = places[None] < lengths[:, None]
        if self.skipped is not None:
            counts &= ids != self.skipped
        # As in transformers, the first token where no token counts.
        last: Ids = (places * counts).max(axis=1)
        return last

    def __call__(self, hidden: mx.array, lengths: Ids) -> mx.array:
        """Logits, float32 [B, labels], of hidden states [B, L, hidden_size], or [B, 1, hidden_size] of ``tokens``."""
        return self.layers(pool(hidden, lengths, "mean" if self.pooling == "mean" else "cls"))


class Classifier:
    """Two linear layers with an activation, and a norm, between them; or the last layer alone."""

    def __init__(self, weights: Weights, config: Config, spec: HeadSpec, labels: int) -> None:
        (hidden,) = required(config, "hidden_size")
        has_bias = bool(config.get(spec.dense_bias_key, False)) if spec.dense_bias_key else True
        self.dense = weights.linear(spec.dense, hidden, hidden, has_bias) if spec.dense else None
        self.activation = _ACTIVATIONS[spec.activation]
        self.norm: LayerNorm | None = None
        if spec.norm:
            bias = bool(config.get("norm_bias", False))
            self.norm = LayerNorm(weights, spec.norm, hidden, number(config, "norm_eps", 1e-5), bias)
        self.output = weights.linear(spec.output, hidden, labels, spec.output_bias)

    def __call__(self, x: mx.array) -> mx.array:
        """The logits, float32 [B, labels]."""
        if self.dense is not None:
            x = self.activation(self.dense(x))
        if self.norm is not None:
            x = self.norm(x)
        return self.output(x)


class Answer:
    """How much rather a language model says one token than another: the difference of their logits."""

    def __init__(self, weights: Weights, config: Config, answers: tuple[int, int]) -> None:
        hidden, vocab_size = required(config, "hidden_size", "vocab_size")
        is_tied = config.get("tie_word_embeddings") is True
        table = weights.peek("embed_tokens" if is_tied else "lm_head", vocab_size, hidden)
        self.rows = table(mx.array(answers)).T

    def __call__(self, x: mx.array) -> mx.array:
        """The difference, float32 [B, 1]."""
        logits = x @ self.rows
        return logits[:, :1] - logits[:, 1:]


def build_head(
    spec: HeadSpec, config: Config, weights: Weights, labels: int, answers: tuple[int, int] | None = None
) -> Head:
    """The head of a checkpoint, to be built before its encoder.

    Args:
        spec: The head's layers and names.
        config: config.json, with canonical keys.
        weights: The checkpoint's tensors; those that the head uses are removed.
        labels: The number of labels.
        answers: The tokens of a language model for relevant and not relevant.

    Raises:
        CheckpointError: A setting is not supported, or a tensor is missing or has another shape.
    """
    weights = weights.in_float32()
    for key, value in spec.settings.items():
        supported(config, key, value, value)
    pooling = supported(config, "classifier_pooling", "cls", "cls", "mean") if spec.pooling is None else spec.pooling
    if answers is not None:
        return Head(Answer(weights, config, answers), pooling)
    skipped = config.get("pad_token_id") if spec.skips_padding else None
    return Head(Classifier(weights, config, spec, labels), pooling, skipped)


_ACTIVATIONS: Mapping[str, Callable[[mx.array], mx.array]] = {
    "tanh": mx.tanh,
    "relu": lambda x: mx.maximum(x, 0.0),
    "gelu": FUSED.gelu.alone,
}
