"""The quality of a converted reranker: its logits beside its original's, over built-in queries and documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint, read_reranker
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.diagnostics.sample_texts import RANKINGS
from akidb_embeddings.reranking.service import RerankService

Logits = NDArray[np.float32]

# Longer than windows of local attention, and short enough for models that would take an hour for a whole book.
_MAX_TOKENS = 1024


@dataclass(frozen=True)
class ScoreQuality:
    """The logits of each pair by two models.

    Attributes:
        pairs: Queries and documents. The documents of a query follow each other.
        before: The original's logits, float32 [pairs, labels].
        after: The converted model's.
    """

    pairs: tuple[tuple[str, str], ...]
    before: Logits
    after: Logits

    @property
    def largest(self) -> float:
        """The largest difference of a pair's logits."""
        return float(self._off.max())

    @property
    def worst_pair(self) -> int:
        """The index of the pair with the largest difference."""
        return int(self._off.argmax())

    @property
    def spread(self) -> float:
        """The distance between the highest and the lowest of the original's logits, of the label with the largest."""
        return float(np.ptp(self.before, axis=0).max())

    @property
    def compared(self) -> int:
        """How many times two documents of a query are compared; once for each label."""
        return sum(order.size for order in self._orders())

    @property
    def in_order(self) -> int:
        """How many of these times they are in the original's order."""
        return int(sum(order.sum() for order in self._orders()))

    @property
    def _off(self) -> Logits:
        off: Logits = np.abs(self.after - self.before).max(axis=1)
        return off

    def _orders(self) -> Iterator[NDArray[np.bool_]]:
        """For two documents of one query, by label: whether the same one is better. Equal ones have no order."""
        for one, (query, _) in enumerate(self.pairs):
            for other in range(one):
                if self.pairs[other][0] == query:
                    before = np.sign(self.before[one] - self.before[other])
                    after = np.sign(self.after[one] - self.after[other])
                    yield (before == after)[before != 0]


def compare(original: Path, converted: Path) -> ScoreQuality:
    """Score the built-in pairs with two models, one after the other.

    Both get the prompt of ``converted``, and the lower of their token limits.

    Args:
        original: Folder of the original model.
        converted: Folder of the converted model.

    Returns:
        The logits of all pairs.

    Raises:
        EmbeddingError: What ``RerankService`` raises; NonFiniteVectorError if a model gives NaN.
    """
    before, after = read_reranker(original), read_reranker(converted)
    limit = min(before.max_tokens, after.max_tokens, _MAX_TOKENS)
    pairs = tuple((query, document) for query, documents in RANKINGS for document in documents)
    logits = [_score(folder, pairs, limit, after) for folder in (converted, original)]
    return ScoreQuality(pairs, logits[1], logits[0])


def _score(folder: Path, pairs: tuple[tuple[str, str], ...], limit: int, prompts: RerankerCheckpoint) -> Logits:
    """float32 [pairs, labels]."""
    # An absolute path is always taken as a folder, never as a model's name.
    config = RerankConfig(model_name=str(folder.absolute()), max_tokens=limit)
    with RerankService(config=config) as service:
        instruction = prompts.default_prompt if service.checkpoint.framed else None
        found = service.score_details(pairs, instruction=instruction, activation="identity", all_labels=True, wait=True)
        return found.scores
