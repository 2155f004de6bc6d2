"""What must hold for every model that makes sparse weights or token vectors.

The same as for ``vector_checks``: a text has the same numbers whatever is computed with it, and is not cut in silence.
These outputs are compared by dot products, so that here lengths count, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.checkpoint.sparse import Splade
from akidb_embeddings.checkpoint.token_vectors import DOCUMENT, QUERY, TokenVectors
from akidb_embeddings.diagnostics.checks import Check, Rows, Subject, check_agreement, check_truncation
from akidb_embeddings.diagnostics.vector_checks import TEXTS, check_distinct, check_length
from akidb_embeddings.registry.outputs import TOKENS
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from akidb_embeddings.vectors.finish import Vectors
from akidb_embeddings.vectors.sparse import SparseVector

# How much of a vector may differ between batches, as in ``vector_checks``: a cosine of 1 - x is a difference of
# sqrt(2x).
_SAME_ON_CPU = 1.5e-3
_SAME_ON_GPU = 1.5e-2
# Of fewer weights, different texts may have the same ones.
_FEW_WEIGHTS = 16


def sparse_rows(service: EmbeddingService, texts: Sequence[str]) -> Rows:
    """The weights of texts, with zeros for all other tokens, float32 [n, vocabulary]."""
    rows = np.zeros((len(texts), int(service.checkpoint.config["vocab_size"])), dtype=np.float32)
    for row, vector in zip(rows, _sparse(service, texts), strict=True):
        row[vector.indices] = vector.values
    return rows


def token_rows(service: EmbeddingService, texts: Sequence[str], role: str = DOCUMENT) -> Rows:
    """The vectors of texts' tokens, with zeros after the last one, float32 [n, limit, d]."""
    limit = service.token_limit(output=TOKENS, prompt_name=role)
    rows = np.zeros((len(texts), limit, service.dimension), dtype=np.float32)
    for row, vectors in zip(rows, _tokens(service, texts, role), strict=True):
        row[: len(vectors)] = vectors[:limit]
    return rows


def _sparse(service: EmbeddingService, texts: Sequence[str]) -> list[SparseVector]:
    return service.encode(texts, prompt="", output="sparse").vectors


def _tokens(service: EmbeddingService, texts: Sequence[str], role: str) -> list[Vectors]:
    return service.encode(texts, prompt_name=role, output="tokens").vectors


def check_sparse(service: EmbeddingService) -> Iterator[Check]:
    """Run all checks of sparse weights.

    Args:
        service: A service that truncates texts that are too long, of a model with this output.

    Yields:
        Each result as soon as it is known.

    Raises:
        EmbeddingError: What ``EmbeddingService.encode`` raises, except UnusableVectorError.
    """
    subject = Subject("text", TEXTS, lambda texts: sparse_rows(service, texts), _Comparison(service))
    rows = yield from check_agreement(subject)
    if rows is None:
        return
    yield _check_weights(_sparse(service, TEXTS))
    sparse, limit = service.checkpoint.sparse, service.settings.max_tokens
    # Of BGE-M3's tokens, any may have no weight.
    if isinstance(sparse, Splade) and (sparse.most or _FEW_WEIGHTS) >= _FEW_WEIGHTS:
        ids = Tokenizer(service.checkpoint, limit).encode(list(TEXTS)).ids
        yield check_distinct(TEXTS, [row.tolist() for row in ids], _directions(rows))
    found = service.encode(["word " * (limit + 8), "word"], prompt="", output="sparse")
    yield check_truncation("text", limit, found.token_counts, found.truncated)


def _check_weights(vectors: Sequence[SparseVector]) -> Check:
    values = np.concatenate([vector.values for vector in vectors])
    passed = bool(values.size and (values > 0).all())
    lowest, highest = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return Check("positive weights", passed, f"{values.size} weights from {lowest:.2g} to {highest:.2g}")


def check_tokens(service: EmbeddingService) -> Iterator[Check]:
    """Run all checks of token vectors, of documents and of queries. As ``check_sparse``."""
    late = service.checkpoint.late
    assert late is not None  # the model has this output
    for role, prefix in ((DOCUMENT, ""), (QUERY, "queries: ")):
        for check in _check_role(service, role, late):
            yield replace(check, name=f"{prefix}{check.name}")


def _check_role(service: EmbeddingService, role: str, late: TokenVectors) -> Iterator[Check]:
    limit = service.token_limit(output=TOKENS, prompt_name=role)
    subject = Subject("text", TEXTS, lambda texts: token_rows(service, texts, role), _Comparison(service))
    rows = yield from check_agreement(subject)
    if rows is None:
        return
    tokenizer = Tokenizer(service.checkpoint, limit)
    ids = [row.tolist() for row in tokenizer.encode(list(TEXTS), service.settings.prompt(role)).ids]
    skipped = tokenizer.skipped if role in late.skipped_in else ()
    least = late.expansion.length if role == QUERY and late.expansion else 0
    wanted = [sum(token not in skipped for token in row) + max(0, least - len(row)) for row in ids]
    vectors = _tokens(service, TEXTS, role)
    yield _check_number(wanted, [len(one) for one in vectors])
    if late.normalize and any(map(len, vectors)):
        yield check_length(np.concatenate(vectors))
    longest = max(1, *map(len, vectors))
    yield check_distinct(TEXTS, ids, _directions(rows[:, :longest].reshape(len(rows), -1)))
    found = service.encode(["word " * (limit + 8), "word"], prompt_name=role, output=TOKENS)
    yield check_truncation("text", limit, found.token_counts, found.truncated)


def _check_number(wanted: Sequence[int], found: Sequence[int]) -> Check:
    """Check how many vectors texts have: one of each token, but for those of the skiplist, and those that are added."""
    wrong = next((at for at, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1]), None)
    text = f"{sum(found)} vectors of {len(found)} texts"
    if wrong is not None:
        text = f"{found[wrong]} vectors of {TEXTS[wrong]!r:.60}; must be {wanted[wrong]}"
    return Check("one vector per token", wrong is None, text)


class _Comparison:
    """What compares two arrays of rows of the same texts, for ``Subject``."""

    def __init__(self, service: EmbeddingService) -> None:
        self._limit = _SAME_ON_CPU if service.backend == "cpu" else _SAME_ON_GPU

    def __call__(self, name: str, texts: Sequence[str], one: Rows, other: Rows, _: Rows) -> Check:
        found = differences(one, other)
        worst = int(found.argmax())
        passed = bool(found[worst] <= self._limit)
        where = "" if passed else f", at {texts[worst]!r:.60}"
        return Check(name, passed, f"largest difference {found[worst]:.1e}{where}", float(found[worst]), self._limit)


def differences(one: Rows, other: Rows) -> NDArray[np.float64]:
    """The largest difference of each text's vectors, relative to the longer one; rows are [d] or [tokens, d]."""
    a, b = (rows.reshape(-1, rows.shape[-1]).astype(np.float64) for rows in (one, other))
    lengths = np.maximum(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    relative = np.linalg.norm(a - b, axis=1) / np.where(lengths > 0, lengths, 1)
    largest: NDArray[np.float64] = relative.reshape(len(one), -1).max(axis=1)
    return largest


def _directions(rows: Rows) -> Vectors:
    """Rows of length 1, or of zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
