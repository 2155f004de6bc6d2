"""What must hold for every model, whoever its authors are: checks that need nothing to compare with.

They find padding that is not masked, rows that are mixed up, texts that are cut in silence, dead positions, NaN. They
do not find a model that was pooled otherwise than it was trained: for that there are published similarities.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer as FastTokenizer

from akidb_embeddings.checkpoint.tokenizer import Tokenizer
from akidb_embeddings.diagnostics.quality import cosines
from akidb_embeddings.diagnostics.sample_texts import DOCUMENTS, QUERIES
from akidb_embeddings.errors import InputError, NonFiniteVectorError
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors

# A text's vectors, computed in other company, differ by rounding alone, since the weights are the same, quantized or
# not. On CPUs that is 1e-12 for models of 28 layers, in float32; padding that is seen, or a window off by one, is 1e-4
# and more. GPUs round products to 11 bits (float16, TF32), in other kernels for other shapes: 1e-5 or so.
_SAME_ON_CPU = 0.999999
_SAME_ON_GPU = 0.9999
# Two texts that a model cannot tell apart give 1.0 up to rounding. Words in another order are the hardest to tell.
_DIFFERENT = 0.99999
_UNIT = 1e-4
# Of every length up to a few pages, so that what is computed together is padded, and past the windows of attention.
_TEXTS = (*QUERIES[::2], *DOCUMENTS[1:4], *DOCUMENTS[10:14], *DOCUMENTS[17:19], *DOCUMENTS[24:28:2], *DOCUMENTS[-4:-2])


@dataclass(frozen=True)
class Check:
    """One finding: whether it ``passed``, what was seen in words, and the figure with its limit where there is one."""

    name: str
    passed: bool
    text: str
    figure: float | None = None
    limit: float | None = None


def run_checks(service: EmbeddingService) -> Iterator[Check]:
    """Every check, as soon as it is made; after vectors that are no numbers, none, for all would fail by that.

    ``service`` normalizes, and cuts what is too long. Raises what ``EmbeddingService.encode`` raises otherwise.
    """
    try:
        together = service.encode(_TEXTS, prompt="").vectors
        alone = np.concatenate([service.encode([text], prompt="").vectors for text in _TEXTS])
    except NonFiniteVectorError as error:
        yield Check("finite", False, str(error))
        return
    yield Check("finite", True, f"all {together.size} values of {len(_TEXTS)} texts")
    same = _least_agreement(service)
    yield _agreement("alone and in a batch", alone, together, same)
    back = service.encode(_TEXTS[::-1], prompt="").vectors[::-1]
    yield _agreement("in another order", back, together, same)
    yield _agreement("the same text twice", *_twice(service), same)
    yield _unit(together)
    yield _distinct(service, together)
    yield _truncation(service)
    if service.settings.pooling == "last":
        yield _final_token(service)


def _least_agreement(service: EmbeddingService) -> float:
    from akidb_embeddings.compute.backend import select_backend

    return _SAME_ON_CPU if select_backend(service.config.memory).name == "cpu" else _SAME_ON_GPU


def _agreement(name: str, one: Vectors, other: Vectors, limit: float) -> Check:
    found = cosines(one, other)
    worst = int(found.argmin())
    passed = bool(found[worst] >= limit)
    where = "" if passed else f", at {_TEXTS[worst]!r:.60}"
    return Check(name, passed, f"lowest cosine {found[worst]:.7f}{where}", float(found[worst]), limit)


def _twice(service: EmbeddingService) -> tuple[Vectors, Vectors]:
    """Vectors of the same texts, twice in one call, among others."""
    vectors = service.encode([*_TEXTS[:4], *_TEXTS[10:14], *_TEXTS[:4]], prompt="").vectors
    return vectors[:4], vectors[-4:]


def _unit(vectors: Vectors) -> Check:
    off = float(np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max())
    return Check("length 1", off <= _UNIT, f"off by {off:.1e} at most", off, _UNIT)


def _distinct(service: EmbeddingService, vectors: Vectors) -> Check:
    """Texts that differ in their tokens, so not those in a script that a model reads as unknown throughout."""
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


def _truncation(service: EmbeddingService) -> Check:
    """A text beyond the limit is flagged and cut at the limit; one below is neither."""
    limit = service.settings.max_tokens
    found = service.encode(["word " * (limit + 8), "word"], prompt="")
    passed = found.truncated == [True, False] and found.token_counts[0] == limit
    text = f"{limit + 8} words: {found.token_counts[0]} tokens used of at most {limit}, "
    text += f"{'flagged' if found.truncated[0] else 'NOT flagged'}; one word: {found.token_counts[1]} tokens"
    return Check("long texts are flagged", passed, text, float(found.token_counts[0]), float(limit))


def _final_token(service: EmbeddingService) -> Check:
    """The token that is pooled: every text ends with the same one, cut or empty, and with the architecture's own."""
    name, checkpoint = "final token", service.checkpoint
    wanted = checkpoint.architecture.final_token
    texts = ["word", "A sentence.", "word " * (service.settings.max_tokens + 8)]
    try:
        ends = {int(row[-1]) for row in _tokenizer(service).encode(["", *texts] if wanted else texts).ids}
    except InputError as error:
        return Check(name, False, f"the empty text does not end with {wanted}: {error}")
    text = f"texts end with token {', '.join(map(str, sorted(ends)))}"
    if wanted is None:
        return Check(name, True, f"{text}; this architecture names none that they must end with")
    token = FastTokenizer.from_file(str(checkpoint.path / "tokenizer.json")).token_to_id(wanted)
    passed = ends == {token}
    return Check(name, passed, f"{text}, cut and empty ones too" if passed else f"{text}; must be {wanted}, {token}")


def _tokenizer(service: EmbeddingService) -> Tokenizer:
    return Tokenizer(service.checkpoint, service.settings.max_tokens)
