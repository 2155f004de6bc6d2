"""What must hold for every model that makes scores of pairs.

Beside what ``checks`` finds, dead positions, and queries that do not count. None of this finds a model whose head or
prompt is another than it was trained with: ``verify`` compares published scores for that.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from akidb_embeddings.diagnostics.checks import Check, Rows, Subject, check_agreement, check_truncation
from akidb_embeddings.diagnostics.sample_texts import DOCUMENTS, QUERIES
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.tokenization.pair_tokenizer import PairTokenizer

Pair = tuple[str, str]

# Shares of the spread of all logits. A pair's logits, computed in different batches, differ by rounding alone. On CPUs
# that is 1e-6; unmasked padding costs the tiny models 0.15 or more. GPUs round to 16 bits, with other kernels for other
# shapes: MiniLM's encoder loses 2e-3 in float16 and 2e-2 in bfloat16, at most, compared with float32.
_SAME_ON_CPU = 1e-4
_SAME_ON_GPU = 3e-2
# Pairs that a model cannot distinguish give the same up to rounding. Reordered words are the hardest to distinguish.
_DIFFERENT = 1e-5
_QUERY = "which animal was bitten"
_NEAR: tuple[tuple[Pair, Pair], ...] = (
    ((_QUERY, "A dog bites a man."), (_QUERY, "A man bites a dog.")),
    (("A dog bites a man.", _QUERY), (_QUERY, "A dog bites a man.")),
    ((QUERIES[0], DOCUMENTS[9]), (QUERIES[3], DOCUMENTS[9])),
)
# Of every length up to a page or two, so that batches are padded, and longer than the windows of local attention.
_PAIRS: tuple[Pair, ...] = (
    *(pair for pairs in _NEAR for pair in pairs),
    *zip(QUERIES, (*DOCUMENTS[7:11], *DOCUMENTS[24:26], *DOCUMENTS[-4:-2]), strict=False),
)
_ENDING = 4  # tokens of the frame


def check_scores(service: RerankService) -> Iterator[Check]:
    """Run all checks. If a score is not finite, only that is reported: it would fail all others.

    Args:
        service: A service that truncates pairs that are too long.

    Yields:
        Each result as soon as it is known.

    Raises:
        EmbeddingError: What ``RerankService.score`` raises, except UnusableVectorError.
    """
    share = _SAME_ON_CPU if service.backend == "cpu" else _SAME_ON_GPU

    def compute(pairs: Sequence[Pair]) -> Rows:
        return _logits(service, pairs)

    def compare(name: str, pairs: Sequence[Pair], one: Rows, other: Rows, everything: Rows) -> Check:
        off = np.abs(one - other).max(axis=1)
        worst, limit = int(off.argmax()), share * _spread(everything)
        passed = bool(off[worst] <= limit)
        where = "" if passed else f", at {pairs[worst][0]!r:.30} and {pairs[worst][1]!r:.30}"
        return Check(name, passed, f"largest difference of logits {off[worst]:.1e}{where}", float(off[worst]), limit)

    logits = yield from check_agreement(Subject("pair", _PAIRS, compute, compare))
    if logits is None:
        return
    yield _check_distinct(service, _spread(logits))
    yield _check_truncation(service)
    if service.checkpoint.framed:
        yield _check_ending(service)


def _logits(service: RerankService, pairs: Sequence[Pair]) -> Rows:
    """float32 [n, labels]."""
    return service.score_details(pairs, activation="identity", all_labels=True).scores


def _spread(logits: Rows) -> float:
    """The distance between the highest and the lowest of all pairs' logits, of the label with the largest."""
    return float(np.ptp(logits, axis=0).max())


def _check_distinct(service: RerankService, spread: float) -> Check:
    """Only pairs with different tokens count: a model may read a whole script as unknown tokens."""
    tokenizer = _tokenizer(service)
    nearest, limit, count = np.inf, _DIFFERENT * spread, 0
    where = ""
    for pairs in _NEAR:
        queries, documents = zip(*pairs, strict=True)
        one, other = tokenizer.encode(queries, documents).ids
        if np.array_equal(one, other):
            continue
        first, second = _logits(service, pairs)
        off = float(np.abs(first - second).max())
        count += 1
        if off < nearest:
            nearest, where = off, f", of {pairs[0]!r:.60} and {pairs[1]!r:.60}"
    passed = nearest > limit
    text = f"smallest difference of {count} times two near pairs {nearest:.1e}{'' if passed else where}"
    return Check("different pairs differ", passed, text, nearest, limit)


def _check_truncation(service: RerankService) -> Check:
    words = "word " * (service.max_tokens + 8)
    found = service.score_details([("word", words), ("word", "word")], all_labels=True)
    return check_truncation("pair", service.max_tokens, found.token_counts, found.truncated)


def _check_ending(service: RerankService) -> Check:
    """Every pair, also a truncated one, must end with the frame's last tokens, of which the last one is read."""
    documents = ["word", "A sentence.", "word " * (service.max_tokens + 8)]
    rows = _tokenizer(service).encode(["word"] * len(documents), documents).ids
    ends = sorted({tuple(row[-_ENDING:].tolist()) for row in rows})
    text = f"pairs end with tokens {' or '.join(' '.join(map(str, end)) for end in ends)}"
    return Check("final tokens", len(ends) == 1, f"{text}, cut ones too" if len(ends) == 1 else text)


def _tokenizer(service: RerankService) -> PairTokenizer:
    return PairTokenizer(service.checkpoint, service.max_tokens)
