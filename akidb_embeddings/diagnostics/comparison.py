"""Published numbers beside our own: similarities of an embedding model, scores of a reranker."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.registry import CardExample, RerankExample

Numbers = NDArray[np.float32]

# Cards give four digits, but from runs in bfloat16, whose own error is 3e-3.
_TOLERANCE = 0.005
# Tolerances by bits per weight. Measured with all-MiniLM-L6-v2, as the largest difference on its card and the root mean
# square over all pairs of 43 texts: 8 bits 0.002 and 0.002, 6 bits 0.011 and 0.006, 5 bits 0.014 and 0.017, 4 bits
# 0.022 and 0.036. Each limit is about three times the latter. Mistakes are still visible at 8 bits: pooling the last
# token instead of the mean gives 0.13 on that card, the first token 0.61. Below 4 bits (3 bits: 0.11, 2 bits: 0.26),
# similarities no longer match the published ones, so the limit does not grow further.
_TOLERANCES = {8: 0.01, 6: 0.03, 5: 0.06}
_COARSEST = 0.1

# The same for scores, as shares of the spread of a card's scores: logits have no common scale. Some cards are from runs
# in bfloat16, whose own error is 0.005, as the root mean square that is explained below. It rounds logits of 20 by up
# to 0.06, and Qwen3-Reranker's scores are differences of two: 0.007 of their spread. Our own GPUs round as well.
_SCORE_TOLERANCE = 0.02
# Measured with the encoder of all-MiniLM-L6-v2 and 50 random heads, as the root mean square and the largest difference
# of the logits of 150 pairs: 8 bits 0.004 and 0.01, 6 bits 0.018 and 0.04, 5 bits 0.035 and 0.08, 4 bits 0.07 and 0.17.
# Each limit is about three times the former. Below 4 bits (3 bits: 0.14 and 0.35), it does not grow further, as above.
_SCORE_TOLERANCES = {8: 0.02, 6: 0.05, 5: 0.1}
_COARSEST_SCORES = 0.2


@dataclass(frozen=True)
class Comparison(ABC):
    """Published and computed numbers of a model of either kind.

    Attributes:
        card: The texts and the published numbers.
        computed: float32, of the same shape as the published numbers.
        tolerance: The largest difference that rounding explains.
    """

    card: CardExample | RerankExample
    computed: Numbers
    tolerance: float

    @property
    def published(self) -> Numbers:
        """The authors' numbers, float32."""
        return np.array(self.card.scores, dtype=np.float32)

    @property
    def differences(self) -> Numbers:
        """Computed minus published numbers, float32."""
        return self.computed - self.published

    @property
    def largest(self) -> float:
        """The largest absolute difference."""
        return float(np.abs(self.differences).max())

    @property
    def same_order(self) -> bool:
        """Whether documents are in the published order, where that counts."""
        return True

    @property
    def reproduced(self) -> bool:
        """Whether every difference is within the tolerance, and the order the same."""
        return self.same_order and self.largest <= self.tolerance

    @property
    @abstractmethod
    def pairs(self) -> Iterator[tuple[str, str]]:
        """The query and the document of each number, in the numbers' order."""

    @property
    def rows(self) -> Iterator[tuple[str, str, float, float]]:
        """The query, the document, the published number as on the card, and ours."""
        numbers = zip(np.ravel(self.card.scores).tolist(), self.computed.ravel().tolist(), strict=True)
        return (texts + both for texts, both in zip(self.pairs, numbers, strict=True))


@dataclass(frozen=True)
class SimilarityComparison(Comparison):
    """Published and computed similarities, [queries, documents]."""

    card: CardExample

    @property
    def pairs(self) -> Iterator[tuple[str, str]]:
        """See ``Comparison``."""
        return ((query, document) for query in self.card.queries for document in self.card.documents)


@dataclass(frozen=True)
class ScoreComparison(Comparison):
    """Published and computed scores of a reranker, [documents]."""

    card: RerankExample

    @property
    def same_order(self) -> bool:
        """See ``Comparison``. Documents whose scores are within the tolerance of each other may change places."""
        is_better = self.published[:, None] - self.published > self.tolerance
        return bool((self.computed[:, None] > self.computed)[is_better].all())

    @property
    def pairs(self) -> Iterator[tuple[str, str]]:
        """See ``Comparison``."""
        return ((self.card.query, document) for document in self.card.documents)


def tolerance(bits: int | None) -> float:
    """The largest difference from published similarities that rounding explains.

    Args:
        bits: Bits per weight; None for weights that are not quantized.
    """
    return _TOLERANCE if bits is None else _TOLERANCES.get(bits, _COARSEST)


def score_tolerance(card: RerankExample, bits: int | None) -> float:
    """The same for published scores.

    Args:
        card: The scores, whose spread counts.
        bits: See ``tolerance``.
    """
    share = _SCORE_TOLERANCE if bits is None else _SCORE_TOLERANCES.get(bits, _COARSEST_SCORES)
    return share * (max(card.scores) - min(card.scores))
