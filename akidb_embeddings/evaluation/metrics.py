"""Quality metrics: nDCG, recall and MRR of exact search, and correlation with human similarity scores."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import InputError, UnusableVectorError
from akidb_embeddings.evaluation.pairs import PairTask
from akidb_embeddings.evaluation.search import TopK
from akidb_embeddings.evaluation.tasks import RetrievalTask
from akidb_embeddings.extras import require
from akidb_embeddings.service.result import EmbeddingResult
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import row_cosines

# Documents embedded and searched at a time: several of the service's windows, so that the engine rarely waits.
_BLOCK_DOCUMENTS = 4096
_SEARCH_DEPTH = 100
_RECALL_CUTOFFS = (1, 10, 100)
_STS_PROMPT = "STS"

ProgressCallback = Callable[[int], object]
LabelOf = Callable[[int], str]


@dataclass(frozen=True)
class Evaluation:
    """The result of one task.

    Attributes:
        task: The task's name.
        kind: ``"retrieval"``, ``"reranking"`` or ``"sts"``.
        scores: Metrics by name (``ndcg@10``, ``spearman``).
        settings: What the scores were computed with.
    """

    task: str
    kind: str
    scores: Mapping[str, float]
    settings: Mapping[str, Any]


def count_texts(task: RetrievalTask | PairTask) -> int:
    """Return how many texts are embedded for a task."""
    return len(task.queries) + len(task.corpus.ids) if isinstance(task, RetrievalTask) else 2 * len(task.first)


def evaluate_retrieval(
    service: EmbeddingService, task: RetrievalTask, *, titles: bool = True, progress: ProgressCallback | None = None
) -> Evaluation:
    """Compute nDCG@10, recall@1, @10 and @100, and MRR@10 of exact search by cosine, as means over the queries.

    Queries get the model's query prompt, documents its document prompt.

    Args:
        service: The model.
        task: The task.
        titles: Whether to put a document's title and a space before its text.
        progress: Called with the number of texts embedded since the last call.

    Returns:
        The scores.

    Raises:
        EmbeddingError: The extra ``evaluate`` is not installed, or what ``EmbeddingService.encode`` raises.
    """
    return retrieve(service, task, titles=titles, progress=progress)[0]


def retrieve(
    service: EmbeddingService,
    task: RetrievalTask,
    *,
    titles: bool = True,
    progress: ProgressCallback | None = None,
    depth: int = 1,
) -> tuple[Evaluation, NDArray[np.int64]]:
    """``evaluate_retrieval``, with what was found: places in the corpus, the nearest first, int64 [queries, n].

    ``n`` is ``depth``, but at least what the metrics need, and at most the corpus.
    """
    require("evaluate", "Evaluation")
    begun = time.monotonic()
    queries = _encode(service, list(task.queries.values()), "query", _labels("query", list(task.queries)), progress)
    search = TopK(queries.vectors, max(_SEARCH_DEPTH, depth))
    truncated, fingerprint, ids = 0, "", task.corpus.ids
    for begin in range(0, len(ids), _BLOCK_DOCUMENTS):
        end = min(begin + _BLOCK_DOCUMENTS, len(ids))
        texts = task.corpus.texts(range(begin, end), titles)
        documents = _encode(service, texts, "document", _labels("document", ids, begin), progress)
        search.add(documents.vectors)
        truncated, fingerprint = truncated + sum(documents.truncated), documents.fingerprint
    ranking = search.ranking()
    scores = retrieval_scores(ranking, ids, list(task.judgements.values()))
    settings = _common_settings(service) | {
        "prompts": {kind: service.settings.prompt(kind) for kind in ("query", "document")},
        "fingerprints": {"query": queries.fingerprint, "document": fingerprint},
        "titles": titles,
        "documents": len(ids),
        "documents_with_title": task.corpus.titled,
        "documents_truncated": truncated,
        "queries": len(task.queries),
        "queries_truncated": sum(queries.truncated),
        "queries_repeated": task.repeated,
        "queries_merged": task.merged,
        "queries_without_judgements": task.unjudged,
        "queries_without_relevant_document": sum(max(of.values()) <= 0 for of in task.judgements.values()),
        "judgements": sum(map(len, task.judgements.values())),
        "seconds": round(time.monotonic() - begun, 3),
    }
    return Evaluation(task.name, "retrieval", scores, settings), ranking


def evaluate_pairs(
    service: EmbeddingService,
    task: PairTask,
    *,
    prompt_name: str | None = None,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Compute Spearman's and Pearson's correlation of the pairs' cosines with their human scores.

    Args:
        service: The model.
        task: The task.
        prompt_name: The model's prompt for both sentences. None for the query prompt if a ``task`` is configured for
            queries, else for the model's prompt ``STS`` if it has one, else for the default prompt.
        progress: Called with the number of texts embedded since the last call.

    Returns:
        The scores.

    Raises:
        InputError: All scores or all cosines are equal.
        EmbeddingError: The extra ``evaluate`` is not installed, or what ``EmbeddingService.encode`` raises.
    """
    require("evaluate", "Evaluation")
    begun = time.monotonic()
    if prompt_name is None and service.config.task is not None:
        prompt_name = "query"
    elif prompt_name is None and _STS_PROMPT in service.settings.prompts:
        prompt_name = _STS_PROMPT
    first, second = (
        _encode(service, texts, prompt_name, lambda index: f"a sentence of pair {index + 1}", progress)
        for texts in (task.first, task.second)
    )
    scores = correlations(row_cosines(first.vectors, second.vectors), np.array(task.scores))
    model_settings = service.settings
    prompt = model_settings.default_prompt if prompt_name is None else model_settings.prompt(prompt_name)
    settings = _common_settings(service) | {
        "prompts": {"both": prompt},
        "fingerprints": {"both": first.fingerprint},
        "split": task.split,
        "pairs": len(task.scores),
        "texts_truncated": sum(first.truncated) + sum(second.truncated),
        "seconds": round(time.monotonic() - begun, 3),
    }
    return Evaluation(task.name, "sts", scores, settings)


def retrieval_scores(
    ranking: NDArray[np.int64], ids: Sequence[str], judgements: Sequence[Mapping[str, int]]
) -> dict[str, float]:
    """Compute the retrieval metrics as means over the queries, by trec_eval's rules.

    A judgement's score is the gain; 0 or less means not relevant. Recall is the share of all relevant documents that
    was found. A query without relevant documents counts 0.

    Args:
        ranking: Indices into ``ids``, the nearest document first, int64 [queries, k].
        ids: The documents' ids.
        judgements: Document id -> score, for each query.

    Returns:
        Scores by name.
    """
    gains = np.zeros((len(ranking), 20))
    relevant = np.zeros(len(ranking))
    hits = np.zeros(ranking.shape, dtype=bool)
    for row, (places, judged) in enumerate(zip(ranking, judgements, strict=True)):
        left = {document: score for document, score in judged.items() if score > 0}
        relevant[row] = len(left)
        found = [left.pop(ids[place], 0) for place in places]
        hits[row] = np.array(found) > 0
        # The gains of the first ten documents found, and the best of all others, which the ideal ranking may need.
        missed = sorted([*left.values(), *found[10:]], reverse=True)[:10]
        gains[row, : len(found[:10])] = found[:10]
        gains[row, 10 : 10 + len(missed)] = missed
    first = np.where(hits[:, :10].any(axis=1), hits[:, :10].argmax(axis=1) + 1, np.inf)
    recall = {f"recall@{k}": float(np.mean(hits[:, :k].sum(axis=1) / np.maximum(relevant, 1))) for k in _RECALL_CUTOFFS}
    return {"ndcg@10": _ndcg(gains), **recall, "mrr@10": float(np.mean(1 / first))}


def correlations(cosines: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, float]:
    """Compute Spearman's and Pearson's correlation.

    Args:
        cosines: float64 [n].
        scores: float64 [n].

    Returns:
        Correlations by name.

    Raises:
        InputError: All values of one side are equal.
    """
    from scipy import stats

    for name, values in (("scores", scores), ("similarities", cosines)):
        if np.all(values == values[0]):
            raise InputError(
                f"All {len(values)} {name} are equal, so the correlation is not defined; they must differ."
            )
    return {
        "spearman": float(stats.spearmanr(cosines, scores).statistic),
        "pearson": float(stats.pearsonr(cosines, scores).statistic),
    }


def _ndcg(gains: NDArray[np.float64]) -> float:
    from sklearn.metrics import ndcg_score

    order = np.broadcast_to(np.arange(gains.shape[1], 0, -1.0), gains.shape)
    return float(ndcg_score(gains, order, k=10, ignore_ties=True))


def _common_settings(service: EmbeddingService) -> dict[str, Any]:
    return {
        "model": service.config.model_name,
        "pooling": service.settings.pooling,
        "dimensions": service.dimension,
        "precision": "float32",
        "similarity": "cosine",
        "max_tokens": service.settings.max_tokens,
    }


def _encode(
    service: EmbeddingService,
    texts: Sequence[str],
    prompt_name: str | None,
    label: LabelOf,
    progress: ProgressCallback | None,
) -> EmbeddingResult:
    """Embed texts; errors name a text by its ``label`` instead of ``texts[5]``."""
    try:
        return service.encode(texts, prompt_name=prompt_name, wait=True, progress=progress)
    except (InputError, UnusableVectorError) as error:
        if error.index is None:
            raise
        raise error.changed(field=label(error.index), index=None) from error


def _labels(kind: str, ids: Sequence[str], first: int = 0) -> LabelOf:
    return lambda index: f"{kind} {ids[first + index]!r}"
