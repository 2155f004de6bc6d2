"""What a call that embeds returns."""

import logging
from dataclasses import dataclass, field

from akidb_embeddings.vectors.finish import Vectors
from akidb_embeddings.vectors.precision import Quantized
from akidb_embeddings.vectors.sparse import SparseVector

_log = logging.getLogger(__name__)


@dataclass
class Timings:
    """Where a call's time went, in seconds; windows of a long list add up.

    They overlap, since the next window is tokenized while one is computed: ``total`` is less than their sum.

    Attributes:
        tokenize: Turning texts into token ids.
        queue: Waiting in the engine's queue.
        compute: From the first micro-batch to the last vector.
        total: The whole call.
    """

    tokenize: float = 0.0
    queue: float = 0.0
    compute: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class EmbeddingResult:
    """Vectors, and what became of each text.

    Attributes:
        vectors: ``[n, dimension]`` in the precision of the call, float32 by default; for ``binary`` and ``ubinary``
            ``[n, ceil(dimension / 8)]``.
        token_counts: How many tokens of each text the model saw, prompt and special tokens included.
        truncated: Whether a text had more tokens than that.
        fingerprint: The space that the vectors lie in. Vectors of different fingerprints must not be compared.
        timings: Where the call's time went.
    """

    vectors: Quantized
    token_counts: list[int]
    truncated: list[bool]
    fingerprint: str
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True)
class SparseResult:
    """Sparse vectors, and what became of each text.

    Attributes:
        vectors: One per text. ``EmbeddingService.token_strings`` has the tokens of their indices.
        token_counts: As in ``EmbeddingResult``, and so the following ones.
        truncated: Whether a text had more tokens than that.
        fingerprint: The space that the vectors lie in.
        timings: Where the call's time went.
    """

    vectors: list[SparseVector]
    token_counts: list[int]
    truncated: list[bool]
    fingerprint: str
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True)
class TokensResult:
    """Token vectors, and what became of each text.

    Attributes:
        vectors: float32 ``[tokens, dimension]`` of each text, one row per token that counts; ``maxsim`` compares them.
        token_counts: As in ``EmbeddingResult``, and so the following ones. Tokens that expand a query are among them.
        truncated: Whether a text had more tokens than that.
        fingerprint: The space that the vectors lie in.
        timings: Where the call's time went.
    """

    vectors: list[Vectors]
    token_counts: list[int]
    truncated: list[bool]
    fingerprint: str
    timings: Timings = field(default_factory=Timings)


Result = EmbeddingResult | SparseResult | TokensResult
"""What ``encode`` returns, by its output."""


def warn_about_truncation(result: EmbeddingResult, limit: int) -> None:
    """Log how many texts were truncated, for callers that do not see ``truncated``."""
    _log.warning(
        "%d of %d texts were truncated at %d tokens. encode() returns which; truncate='error' rejects them. "
        "Later ones are truncated without a warning.",
        sum(result.truncated),
        len(result.truncated),
        limit,
    )
