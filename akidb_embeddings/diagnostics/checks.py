"""Checks that every model must pass, and that need no reference vectors.

They find unmasked padding, mixed-up rows, texts truncated without a flag, dead positions, and NaN. They do not find a
model that is pooled in another way than it was trained: ``verify`` compares published similarities for that.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.checkpoint.tokenizer import Tokenizer
from akidb_embeddings.diagnostics.sample_texts import DOCUMENTS, QUERIES
from akidb_embeddings.errors import InputError, UnusableVectorError
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors, row_cosines

# A text's vectors, computed in different batches, differ by rounding alone: the weights are the same, quantized or not.
# On CPUs the cosine loses 1e-12 with 28 layers in float32; unmasked padding, or an attention window off by one, costs
# 1e-4 or more. GPUs round products to 11 bits (float16, TF32), with other kernels for other shapes: about 1e-5.
_SAME_ON_CPU = 0.999999
_SAME_ON_GPU = 0.9999
# Two texts that a model cannot distinguish give 1.0 up to rounding. Reordered words are the hardest to distinguish.
_DIFFERENT = 0.99999
_UNIT = 1e-4
# Of every length up to a few pages, so that batches are padded, and longer than the windows of local attention.
_TEXTS = (*QUERIES[::2], *DOCUMENTS[1:4], *DOCUMENTS[10:14], *DOCUMENTS[17:19], *DOCUMENTS[24:28:2], *DOCUMENTS[-4:-2])


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: The check's name.
        passed: Whether the model passed.
        text: What was found, in words.
        figure: What was measured; None if the check has no figure.
        limit: What ``figure`` was compared with; None without a figure.
    """

    name: str
    passed: bool
    text: str
    figure: float | None = None
    limit: float | None = None


def run_checks(service: EmbeddingService) -> Iterator[Check]:
    """Run all checks. If a vector is not finite or is zero, only that is reported: it would fail all others.

    Args:
        service: A service that normalizes, and truncates texts that are too long.

    Yields:
        Each result as soon as it is known.

    Raises:
        EmbeddingError: What ``EmbeddingService.encode`` raises, except UnusableVectorError.
    """
    try:
        together = service.encode(_TEXTS, prompt="").vectors
        alone = np.concatenate([service.encode([text], prompt="").vectors for text in _TEXTS])
    except UnusableVectorError as error:
        yield Check("finite", False, str(error))
        return
    yield Check("finite", True, f"all {together.size} values of {len(_TEXTS)} texts")
    same = _same_text_limit(service)
    yield _check_agreement("alone and in a batch", alone, together, same)
    back = service.encode(_TEXTS[::-1], prompt="").vectors[::-1]
    yield _check_agreement("in another order", back, together, same)
    yield _check_agreement("the same text twice", *_embed_twice(service), same)
    yield _check_length(together)
    yield _check_distinct(service, together)
    yield _check_truncation(service)
    if service.settings.pooling == "last":
        yield _check_final_token(service)


def _same_text_limit(service: EmbeddingService) -> float:
    from akidb_embeddings.compute.devices import select_backend

    return _SAME_ON_CPU if select_backend(service.config.memory, service.config.compute).name == "cpu" else _SAME_ON_GPU


def _check_agreement(name: str, one: Vectors, other: Vectors, limit: float) -> Check:
    found = row_cosines(one, other)
    worst = int(found.argmin())
    passed = bool(found[worst] >= limit)
    where = "" if passed else f", at {_TEXTS[worst]!r:.60}"
    return Check(name, passed, f"lowest cosine {found[worst]:.7f}{where}", float(found[worst]), limit)


def _embed_twice(service: EmbeddingService) -> tuple[Vectors, Vectors]:
    """Embed the same texts twice in one call, with other texts in between."""
    vectors = service.encode([*_TEXTS[:4], *_TEXTS[10:14], *_TEXTS[:4]], prompt="").vectors
    return vectors[:4], vectors[-4:]


def _check_length(vectors: Vectors) -> Check:
    off = float(np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max())
    return Check("length 1", off <= _UNIT, f"off by {off:.1e} at most", off, _UNIT)


def _check_distinct(service: EmbeddingService, vectors: Vectors) -> Check:
    """Only texts with different tokens count: a model may read a whole script as unknown tokens."""
    ids = [tuple(row.tolist()) for row in _tokenizer(service).encode(list(_TEXTS)).ids]
    first = sorted({row: index for index, row in reversed(list(enumerate(ids)))}.values())
    wide = vectors[first].astype(np.float64)
    similar = wide @ wide.T
    np.fill_diagonal(similar, -1)
    a, b = divmod(int(similar.argmax()), len(first))
    highest = float(similar[a, b])
    passed = highest < _DIFFERENT
    where = "" if passed else f", of {_TEXTS[first[a]]!r:.40} and {_TEXTS[first[b]]!r:.40}"
    text = f"highest cosine of {len(first)} different texts {highest:.4f}{where}"
    return Check("different texts differ", passed, text, highest, _DIFFERENT)


def _check_truncation(service: EmbeddingService) -> Check:
    """A text beyond the limit must be truncated at the limit and flagged; one below must be neither."""
    limit = service.settings.max_tokens
    found = service.encode(["word " * (limit + 8), "word"], prompt="")
    passed = found.truncated == [True, False] and found.token_counts[0] == limit
    text = f"{limit + 8} words: {found.token_counts[0]} tokens used of at most {limit}, "
    text += f"{'flagged' if found.truncated[0] else 'NOT flagged'}; one word: {found.token_counts[1]} tokens"
    return Check("long texts are flagged", passed, text, float(found.token_counts[0]), float(limit))


def _check_final_token(service: EmbeddingService) -> Check:
    """Every text, also a truncated or empty one, must end with the final token, which is pooled.

    In a complete sentence-transformers folder, its tokenizer decides which one that is.
    """
    name, checkpoint = "final token", service.checkpoint
    expected = checkpoint.final_token
    texts = ["word", "A sentence.", "word " * (service.settings.max_tokens + 8)]
    try:
        ends = {int(row[-1]) for row in _tokenizer(service).encode(["", *texts] if expected else texts).ids}
    except InputError as error:
        return Check(name, False, f"the empty text does not end with {expected}: {error}")
    text = f"texts end with token {', '.join(map(str, sorted(ends)))}"
    if expected is None:
        return Check(name, True, f"{text}, as the folder's tokenizer decides")
    token = FastTokenizer.from_file(str(checkpoint.path / "tokenizer.json")).token_to_id(expected)
    passed = ends == {token}
    return Check(name, passed, f"{text}, cut and empty ones too" if passed else f"{text}; must be {expected}, {token}")


def _tokenizer(service: EmbeddingService) -> Tokenizer:
    return Tokenizer(service.checkpoint, service.settings.max_tokens)
