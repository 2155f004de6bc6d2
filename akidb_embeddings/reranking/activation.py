"""What makes scores of logits, on the host, in float32."""

import numpy as np

from akidb_embeddings.reranking.result import Scores


def activate(logits: Scores, activation: str) -> Scores:
    """Scores of logits.

    Args:
        logits: float32, of any shape.
        activation: "sigmoid" or "identity".
    """
    return sigmoid(logits) if activation == "sigmoid" else logits


def sigmoid(logits: Scores) -> Scores:
    """``1 / (1 + exp(-x))`` in float32, without overflow: 0 and 1 are reached, and never passed."""
    exponential = np.exp(-np.abs(logits))
    positive = 1 / (1 + exponential)
    result: Scores = np.where(logits >= 0, positive, exponential * positive).astype(np.float32)
    return result
