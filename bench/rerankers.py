"""Which reranker is measured, on which pairs, and whether a peer's scores are the same."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from akidb_embeddings.checkpoint.reranker import RerankerCheckpoint
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.hub.cache import get_cache_dir
from akidb_embeddings.hub.download import resolve_reranker
from akidb_embeddings.tokenization.pair_tokenizer import PairTokenizer
from akidb_embeddings.tokenization.tokenizer import Tokenized
from akidb_embeddings.vectors.finish import Vectors
from bench.random_rerankers import RANDOM_RERANKER, random_reranker
from bench.texts import Texts, spread_evenly

QUERY_TOKENS, DOCUMENT_TOKENS = 12, 200
# The longest pair: what ms-marco-MiniLM-L6 takes, so that models and peers can be compared.
PAIR_TOKENS = 512
# Scores further apart than this share of their spread are not the same computation. bfloat16 has 8 bits.
_SAME, _SAME_IN_BFLOAT16 = 1e-3, 0.2
_FILLER = "a"

Pair = tuple[str, str]


@dataclass(frozen=True)
class Reranker:
    """``label`` for the report, ``config`` to load it, and the folder that peers read."""

    label: str
    config: RerankConfig
    folder: Path


def choose_reranker(name: str | None) -> Reranker:
    """The reranker of ``--reranker``: a registry name, a repository or a folder; None for random weights."""
    config = RerankConfig.resolve()
    if name in (None, RANDOM_RERANKER):
        folder = random_reranker(get_cache_dir(config.cache_dir))
        return Reranker(RANDOM_RERANKER, RerankConfig(model_name=str(folder)), folder)
    assert name is not None
    config = RerankConfig.resolve(config, model_name=name)
    files = resolve_reranker(
        name, revision=config.revision, cache_dir=config.cache_dir, auto_download=config.auto_download
    )
    return Reranker(Path(name).name if files.origin == "folder" else name, config, files.path)


class SideCounter:
    """Counts the tokens of one side of a pair, without those that stand around the sides."""

    def __init__(self, checkpoint: RerankerCheckpoint) -> None:
        self._tokenizer = PairTokenizer(checkpoint, checkpoint.max_tokens)
        self._others = self._tokenizer.encode([_FILLER], [_FILLER], checkpoint.default_prompt).counts[0] - 1
        self._prompt = checkpoint.default_prompt

    def encode(self, texts: list[str]) -> Tokenized:
        """The pairs with these documents; ``counts`` are the documents' own."""
        found = self._tokenizer.encode([_FILLER] * len(texts), texts, self._prompt)
        return replace(found, counts=[count - self._others for count in found.counts])


def ranking(texts: Texts, counter: SideCounter, documents: int) -> tuple[str, list[str]]:
    """A query, and documents of an equal number of tokens."""
    [query] = texts.exact(counter, QUERY_TOKENS, 1)
    return query, texts.exact(counter, DOCUMENT_TOKENS, documents)


def mixed_pairs(texts: Texts, counter: SideCounter, count: int) -> list[Pair]:
    """Pairs with documents of mixed lengths, of which each stretch has the same mix."""
    documents = spread_evenly(texts.passages(count))
    queries = texts.exact(counter, QUERY_TOKENS, len(documents))
    return list(zip(queries, documents, strict=True))


def difference(ours: Vectors, theirs: Vectors, *, bfloat16: bool = False) -> str:
    """By how much two libraries' scores of the same pairs differ, for the report."""
    if ours.shape != theirs.shape:
        return f"OTHER SCORES, {theirs.shape} instead of {ours.shape}: no comparison"
    largest, spread = float(np.abs(ours - theirs).max()), float(ours.std())
    is_same = largest <= (_SAME_IN_BFLOAT16 if bfloat16 else _SAME) * spread
    found = f"scores differ by at most {largest:.1e}, their deviation is {spread:.2g}"
    return found if is_same else f"OTHER SCORES: {found}; no comparison"
