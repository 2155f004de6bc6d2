"""What must hold for every model that makes vectors.

Beside what ``checks`` finds, dead positions and vectors that are not of length 1. None of this finds a model that is
pooled in another way than it was trained: ``verify`` compares published similarities for that.
"""

import contextlib
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from fractions import Fraction

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.diagnostics.checks import Check, Rows, Subject, check_agreement, check_truncation
from akidb_embeddings.diagnostics.sample_texts import DOCUMENTS, QUERIES
from akidb_embeddings.errors import InputError
from akidb_embeddings.registry.architectures import MODEL2VEC
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
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
TEXTS = (*QUERIES[::2], *DOCUMENTS[1:4], *DOCUMENTS[10:14], *DOCUMENTS[17:19], *DOCUMENTS[24:28:2], *DOCUMENTS[-4:-2])


def check_vectors(service: EmbeddingService) -> Iterator[Check]:
    """Run all checks. If a vector is not finite or is zero, only that is reported: it would fail all others.

    Args:
        service: A service that normalizes, and truncates texts that are too long.

    Yields:
        Each result as soon as it is known.

    Raises:
        EmbeddingError: What ``EmbeddingService.encode`` raises, except UnusableVectorError.
    """

    limit = _SAME_ON_CPU if service.backend == "cpu" else _SAME_ON_GPU

    def compute(texts: Sequence[str]) -> Vectors:
        return service.encode(texts, prompt="").vectors

    def compare(name: str, texts: Sequence[str], one: Rows, other: Rows, _: Rows) -> Check:
        found = row_cosines(one, other)
        worst = int(found.argmin())
        passed = bool(found[worst] >= limit)
        where = "" if passed else f", at {texts[worst]!r:.60}"
        return Check(name, passed, f"lowest cosine {found[worst]:.7f}{where}", float(found[worst]), limit)

    texts = _readable(service)
    vectors = yield from check_agreement(Subject("text", texts, compute, compare))
    if vectors is None:
        return
    yield check_length(vectors)
    ids = [row.tolist() for row in _tokenizer(service).encode(list(texts)).ids]
    yield check_distinct(texts, ids, vectors, static=service.checkpoint.architecture.is_static)
    max_tokens = service.settings.max_tokens
    found = service.encode(["word " * (max_tokens + 8), "word"], prompt="")
    # model2vec cuts texts in characters before it counts tokens.
    may_be_fewer = service.checkpoint.config["model_type"] == MODEL2VEC
    yield check_truncation("text", max_tokens, found.token_counts, found.truncated, may_be_fewer=may_be_fewer)
    if service.settings.pooling == "last":
        yield _check_final_token(service)


def _readable(service: EmbeddingService) -> tuple[str, ...]:
    """The texts that have a token: model2vec drops unknown ones, and a model may know nothing of a whole script."""
    if service.checkpoint.config["model_type"] != MODEL2VEC:
        return TEXTS
    tokenizer, readable = _tokenizer(service), []
    for text in TEXTS:
        with contextlib.suppress(InputError):
            tokenizer.encode([text])
            readable.append(text)
    return tuple(readable)


def check_length(vectors: Vectors) -> Check:
    """Check that vectors [n, d] have length 1."""
    off = float(np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max())
    return Check("length 1", off <= _UNIT, f"off by {off:.1e} at most", off, _UNIT)


def check_distinct(
    texts: Sequence[str], ids: Sequence[Sequence[int]], vectors: Vectors, *, static: bool = False
) -> Check:
    """Check that texts with different tokens have different vectors: a model may read a whole script as unknown tokens.

    Args:
        texts: The texts.
        ids: The token ids of each.
        vectors: float32 [n, d], each of length 1 or zero.
        static: Whether a vector is the mean of its tokens', whatever their order and number.
    """
    rows: list[Hashable] = [tuple(_shares(row) if static else row) for row in ids]
    first = sorted({row: index for index, row in reversed(list(enumerate(rows)))}.values())
    wide = vectors[first].astype(np.float64)
    similar = wide @ wide.T
    np.fill_diagonal(similar, -1)
    a, b = divmod(int(similar.argmax()), len(first))
    highest = float(similar[a, b])
    passed = highest < _DIFFERENT
    where = "" if passed else f", of {texts[first[a]]!r:.40} and {texts[first[b]]!r:.40}"
    text = f"highest cosine of {len(first)} different texts {highest:.4f}{where}"
    return Check("different texts differ", passed, text, highest, _DIFFERENT)


def _shares(ids: Sequence[int]) -> list[tuple[int, Fraction]]:
    """The tokens of a text, and which part of it each is."""
    return sorted((token, Fraction(count, len(ids))) for token, count in Counter(ids).items())


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
    token = FastTokenizer.from_file(str(checkpoint.folder.tokenizer / "tokenizer.json")).token_to_id(expected)
    passed = ends == {token}
    return Check(name, passed, f"{text}, cut and empty ones too" if passed else f"{text}; must be {expected}, {token}")


def _tokenizer(service: EmbeddingService) -> Tokenizer:
    return Tokenizer(service.checkpoint, service.settings.max_tokens)
