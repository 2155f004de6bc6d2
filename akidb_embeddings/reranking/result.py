"""What a call that scores pairs returns."""

import logging
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.service.result import Timings

_log = logging.getLogger(__name__)

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hit:
    """One document of a ranking.

    Attributes:
        index: The document's place in the list that was given, counted from 0.
        score: Its score.
        truncated: Whether only a part of it, or of the query, was read.
    """

    index: int
    score: float
    truncated: bool


@dataclass(frozen=True)
class ScoreResult:
    """Scores, and what became of each pair.

    Attributes:
        scores: float32 ``[n]``; ``[n, labels]`` with ``all_labels``.
        logits: The scores before their activation, of the same shape.
        token_counts: How many tokens of each pair the model saw, query and special tokens included; of a document that
            was divided into passages, their sum.
        truncated: Whether a pair had more tokens than that.
        fingerprint: What the scores depend on. Scores of different fingerprints must not be compared.
        timings: Where the call's time went.
    """

    scores: Scores
    logits: Scores
    token_counts: list[int]
    truncated: list[bool]
    fingerprint: str
    timings: Timings = field(default_factory=Timings)


def ranked(result: ScoreResult, top_k: int | None) -> list[Hit]:
    """The documents by score, the best first; of equal scores, in the order in which they were given.

    Logits decide: near 1, float32 makes the sigmoids of different logits equal.

    Args:
        result: The scores of one query's documents, float32 [n].
        top_k: How many are wanted; None for all.
    """
    order = np.argsort(-result.logits, kind="stable")[:top_k]
    return [Hit(int(index), float(result.scores[index]), result.truncated[index]) for index in order]


def warn_about_truncation(result: ScoreResult, limit: int) -> None:
    """Log how many pairs were truncated, for callers that do not see ``truncated``."""
    _log.warning(
        "%d of %d pairs were truncated at %d tokens. score_details() returns which; truncate='error' rejects them, and "
        "max_over_passages=True reads long documents whole. Later ones are truncated without a warning.",
        sum(result.truncated),
        len(result.truncated),
        limit,
    )
