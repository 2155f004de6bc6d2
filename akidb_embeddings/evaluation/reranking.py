"""Reranking what was retrieved: the same metrics after the best documents of every query were scored with it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import InputError, UnusableVectorError
from akidb_embeddings.evaluation.metrics import Evaluation, ProgressCallback, retrieval_scores, retrieve
from akidb_embeddings.evaluation.tasks import RetrievalTask
from akidb_embeddings.reranking.result import ScoreResult
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.service.service import EmbeddingService

# Pairs scored in one call: several of the service's windows, so that the engine rarely waits.
_BLOCK_PAIRS = 4096


@dataclass(frozen=True)
class Reranker:
    """What reranks: the service, and how many of the best documents of every query it gets."""

    service: RerankService
    top: int

    def count_pairs(self, task: RetrievalTask) -> int:
        """How many pairs are scored for a task."""
        return len(task.queries) * min(self.top, len(task.corpus.ids))


def evaluate_reranked(
    service: EmbeddingService,
    reranker: Reranker,
    task: RetrievalTask,
    *,
    titles: bool = True,
    progress: ProgressCallback | None = None,
    pair_progress: ProgressCallback | None = None,
) -> tuple[Evaluation, Evaluation]:
    """The metrics of ``evaluate_retrieval``, and the same after reranking.

    The best ``top`` documents of every query are ordered by their scores, of equal scores the one with the greater id
    first, as in trec_eval. All others keep their order, behind them. A document's text is what was embedded, without a
    prompt: its title, a space and its text, as MTEB gives it to cross-encoders.

    Args:
        service: The embedding model.
        reranker: What reranks.
        task: The task.
        titles: Whether to put a document's title and a space before its text.
        progress: Called with the number of texts embedded since the last call.
        pair_progress: Called with the number of pairs scored since the last call.

    Raises:
        InputError: The reranker gives several scores to a pair, or a query or document cannot be scored.
        EmbeddingError: The extra ``evaluate`` is not installed, or what the services raise.
    """
    before, ranking = retrieve(service, task, titles=titles, progress=progress, depth=reranker.top)
    begun = time.monotonic()
    top = min(reranker.top, ranking.shape[1])
    ordered, cut, fingerprint = ranking.copy(), 0, reranker.service.fingerprint()
    for rows in _blocks(len(ranking), top):
        result = _score(reranker.service, task, ranking[rows, :top], rows, titles, pair_progress)
        ordered[rows, :top] = _by_logit(ranking[rows, :top], result.logits.reshape(-1, top))
        cut += sum(result.truncated)
    scores = retrieval_scores(ordered, task.corpus.ids, list(task.judgements.values()))
    settings = {
        "model": reranker.service.config.model_name,
        "instruction": reranker.service.instruction,
        "max_tokens": reranker.service.max_tokens,
        "fingerprints": {"pair": fingerprint},
        "titles": titles,
        "top": reranker.top,
        "pairs": len(ranking) * top,
        "pairs_truncated": cut,
        "seconds": round(time.monotonic() - begun, 3),
    }
    return before, Evaluation(task.name, "reranking", scores, settings)


def _blocks(queries: int, top: int) -> Iterator[slice]:
    """Ranges of queries whose pairs are scored in one call."""
    step = max(1, _BLOCK_PAIRS // top)
    return (slice(begin, min(begin + step, queries)) for begin in range(0, queries, step))


def _score(
    service: RerankService,
    task: RetrievalTask,
    places: NDArray[np.int64],
    rows: slice,
    titles: bool,
    progress: ProgressCallback | None,
) -> ScoreResult:
    """The scores of these queries' documents, int64 [queries, top], row by row."""
    queries = list(task.queries.items())[rows]
    top, documents = places.shape[1], places.ravel().tolist()
    pairs = [(queries[at // top][1], text) for at, text in enumerate(task.corpus.texts(documents, titles))]
    try:
        return service.score_details(pairs, wait=True, progress=progress)
    except (InputError, UnusableVectorError) as error:
        if error.index is None:
            raise
        query, document = queries[error.index // top][0], task.corpus.ids[documents[error.index]]
        raise error.changed(field=f"query {query!r} with document {document!r}", index=None) from error


def _by_logit(places: NDArray[np.int64], logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """The documents of each row by logit, the best first. Places are in descending order of the ids.

    Near 1, float32 makes the sigmoids of different logits equal.
    """
    order = np.lexsort((places, -logits), axis=-1)
    return np.take_along_axis(places, order, axis=-1)
