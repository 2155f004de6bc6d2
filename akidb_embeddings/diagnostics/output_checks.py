"""What must hold for every model that makes sparse weights or token vectors.

The same as for ``vector_checks``: a text has the same numbers whatever is computed with it, and is not cut in silence.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.checkpoint.sparse import Splade
from akidb_embeddings.checkpoint.token_vectors import DOCUMENT, QUERY
from akidb_embeddings.diagnostics.checks import Check, Rows, Subject, check_agreement, check_truncation
from akidb_embeddings.diagnostics.vector_checks import TEXTS, check_distinct, check_length, comparison
from akidb_embeddings.registry.outputs import SPARSE, TOKENS
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors, row_cosines


def check_sparse(service: EmbeddingService) -> Iterator[Check]:
    """Run all checks of sparse weights.

    Args:
        service: A service that truncates texts that are too long, of a model with this output.

    Yields:
        Each result as soon as it is known.

    Raises:
        EmbeddingError: What ``EmbeddingService.encode`` raises, except UnusableVectorError.
    """
    width = int(service.checkpoint.config["vocab_size"])

    def compute(texts: Sequence[str]) -> Rows:
        rows = np.zeros((len(texts), width), dtype=np.float32)
        for row, vector in zip(rows, service.encode(texts, prompt="", output=SPARSE).vectors, strict=True):
            row[vector.indices] = vector.values
        return rows

    rows = yield from _check_rows(service, compute)
    if rows is None:
        return
    if isinstance(service.checkpoint.sparse, Splade):  # of BGE-M3's tokens, any may have no weight
        yield check_distinct(service, TEXTS, _directions(rows))
    limit = service.settings.max_tokens
    found = service.encode(["word " * (limit + 8), "word"], prompt="", output=SPARSE)
    yield check_truncation("text", limit, found.token_counts, found.truncated)


def check_tokens(service: EmbeddingService) -> Iterator[Check]:
    """Run all checks of token vectors, of documents and of queries. As ``check_sparse``."""
    late = service.checkpoint.late
    assert late is not None  # the model has this output
    for role, prefix in ((DOCUMENT, ""), (QUERY, "queries: ")):
        for check in _check_role(service, role, is_normalized=late.normalize):
            yield replace(check, name=f"{prefix}{check.name}")


def _check_role(service: EmbeddingService, role: str, *, is_normalized: bool) -> Iterator[Check]:
    settings = service.settings
    limit = settings.max_tokens if role == DOCUMENT else settings.query_tokens
    assert limit is not None  # token vectors have one for queries

    def compute(texts: Sequence[str]) -> Rows:
        rows = np.zeros((len(texts), limit, service.dimension), dtype=np.float32)
        for row, vectors in zip(rows, service.encode(texts, prompt_name=role, output=TOKENS).vectors, strict=True):
            row[: len(vectors)] = vectors
        return rows

    rows = yield from _check_rows(service, compute)
    if rows is None:
        return
    are_vectors = rows.any(axis=-1)
    if is_normalized:
        yield check_length(rows[are_vectors])
    longest = int(are_vectors.sum(axis=1).max())
    yield check_distinct(service, TEXTS, _directions(rows[:, :longest].reshape(len(rows), -1)))
    found = service.encode(["word " * (limit + 8), "word"], prompt_name=role, output=TOKENS)
    yield check_truncation("text", limit, found.token_counts, found.truncated)


def _check_rows(
    service: EmbeddingService, compute: Callable[[Sequence[str]], Rows]
) -> Generator[Check, None, Rows | None]:
    return (yield from check_agreement(Subject("text", TEXTS, compute, comparison(service, _lowest_cosines))))


def _lowest_cosines(one: Rows, other: Rows) -> NDArray[np.float64]:
    """The lowest cosine of each text, whose rows are [d] or [tokens, d]; 1 where both have nothing."""
    a, b = (rows.reshape(-1, rows.shape[-1]) for rows in (one, other))
    cosines = np.where(a.any(axis=1) | b.any(axis=1), row_cosines(a, b), 1.0)
    lowest: NDArray[np.float64] = cosines.reshape(len(one), -1).min(axis=1)
    return lowest


def _directions(rows: Rows) -> Vectors:
    """Rows of length 1, or of zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
