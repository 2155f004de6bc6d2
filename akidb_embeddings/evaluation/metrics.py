"""How good a model's vectors are: nDCG, recall and MRR of exact search, correlation with people's scores of pairs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import InputError, NonFiniteVectorError
from akidb_embeddings.evaluation.pairs import PairTask
from akidb_embeddings.evaluation.search import TopK
from akidb_embeddings.evaluation.tasks import RetrievalTask
from akidb_embeddings.extras import require
from akidb_embeddings.service.result import EmbeddingResult
from akidb_embeddings.service.service import EmbeddingService
from akidb_embeddings.vectors.finish import Vectors, finish

# Documents that are embedded and searched at a time: several of the service's windows, so that the engine seldom waits.
_BLOCK = 4096
_DEEPEST = 100
_RECALLS = (1, 10, 100)
_STS_PROMPT = "STS"

Progress = Callable[[int], object]
Label = Callable[[int], str]


@dataclass(frozen=True)
class Evaluation:
    """Figures by name (``ndcg@10``, ``spearman``) and what they were computed with; ``kind``: retrieval or sts."""

    task: str
    kind: str
    scores: Mapping[str, float]
    settings: Mapping[str, Any]


def texts_of(task: RetrievalTask | PairTask) -> int:
    """How many texts are embedded for a task."""
    return len(task.queries) + len(task.corpus.ids) if isinstance(task, RetrievalTask) else 2 * len(task.first)


def evaluate_retrieval(
    service: EmbeddingService, task: RetrievalTask, *, titles: bool = True, progress: Progress | None = None
) -> Evaluation:
    """nDCG@10, recall@1, 10 and 100, and MRR@10 of exact search by cosine, as means over the queries.

    Queries get the model's query prompt, documents its document prompt; with ``titles``, a document is its title and
    its text with a space between them. ``progress`` is called with numbers of texts done.

    Raises EmbeddingError without the extra ``evaluate``, and what ``EmbeddingService.encode`` raises.
    """
    require("evaluate", "Evaluation")
    begun = time.monotonic()
    queries = _encode(service, list(task.queries.values()), "query", _labels("query", list(task.queries)), progress)
    search = TopK(queries.vectors, _DEEPEST)
    truncated, fingerprint, ids = 0, "", task.corpus.ids
    for begin in range(0, len(ids), _BLOCK):
        end = min(begin + _BLOCK, len(ids))
        texts = task.corpus.texts(begin, end, titles)
        documents = _encode(service, texts, "document", _labels("document", ids, begin), progress)
        search.add(documents.vectors)
        truncated, fingerprint = truncated + sum(documents.truncated), documents.fingerprint
    scores = retrieval_scores(search.ranking(), ids, list(task.judgements.values()))
    settings = _common(service) | {
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
    return Evaluation(task.name, "retrieval", scores, settings)


def evaluate_pairs(
    service: EmbeddingService, task: PairTask, *, prompt_name: str | None = None, progress: Progress | None = None
) -> Evaluation:
    """Spearman's and Pearson's correlation of the pairs' cosines with the scores that people gave.

    Both sentences get the prompt ``prompt_name``; without it that of queries if a ``task`` is configured for them, the
    model's prompt ``STS`` if it has one, else what texts of no kind get. ``progress`` is called with numbers of texts
    done.

    Raises InputError where all scores or all cosines are equal, EmbeddingError without the extra ``evaluate``, and
    what ``EmbeddingService.encode`` raises.
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
    scores = correlations(_cosines(first.vectors, second.vectors), np.array(task.scores))
    settings_of = service.settings
    prompt = settings_of.default_prompt if prompt_name is None else settings_of.prompt(prompt_name)
    settings = _common(service) | {
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
    """Means over queries, for ``ranking`` ``[queries, k]`` of places in ``ids`` and each query's judgements.

    As trec_eval has it: a score is the gain, and 0 or less is none; recall is the part found of all relevant
    documents; a query with no relevant document counts 0.
    """
    gains = np.zeros((len(ranking), 20))
    relevant = np.zeros(len(ranking))
    hits = np.zeros(ranking.shape, dtype=bool)
    for row, (places, judged) in enumerate(zip(ranking, judgements, strict=True)):
        left = {document: score for document, score in judged.items() if score > 0}
        relevant[row] = len(left)
        found = [left.pop(ids[place], 0) for place in places]
        hits[row] = np.array(found) > 0
        # What was found in the first ten, and the best of what was not: so both the ranking and the ideal are in it.
        missed = sorted([*left.values(), *found[10:]], reverse=True)[:10]
        gains[row, : len(found[:10])] = found[:10]
        gains[row, 10 : 10 + len(missed)] = missed
    first = np.where(hits[:, :10].any(axis=1), hits[:, :10].argmax(axis=1) + 1, np.inf)
    recall = {f"recall@{k}": float(np.mean(hits[:, :k].sum(axis=1) / np.maximum(relevant, 1))) for k in _RECALLS}
    return {"ndcg@10": _ndcg(gains), **recall, "mrr@10": float(np.mean(1 / first))}


def correlations(cosines: NDArray[np.float64], scores: NDArray[np.float64]) -> dict[str, float]:
    """Spearman's and Pearson's. InputError: there is nothing to correlate, for all of one side are equal."""
    from scipy import stats

    for name, values in (("scores", scores), ("similarities", cosines)):
        if np.all(values == values[0]):
            raise InputError(f"All {len(values)} {name} are equal, so there is no correlation; they must differ.")
    return {
        "spearman": float(stats.spearmanr(cosines, scores).statistic),
        "pearson": float(stats.pearsonr(cosines, scores).statistic),
    }


def _ndcg(gains: NDArray[np.float64]) -> float:
    from sklearn.metrics import ndcg_score

    order = np.broadcast_to(np.arange(gains.shape[1], 0, -1.0), gains.shape)
    return float(ndcg_score(gains, order, k=10, ignore_ties=True))


def _cosines(first: Vectors, second: Vectors) -> NDArray[np.float64]:
    a, b = (finish(vectors, None, True).astype(np.float64) for vectors in (first, second))
    cosines: NDArray[np.float64] = (a * b).sum(axis=1)
    return cosines


def _common(service: EmbeddingService) -> dict[str, Any]:
    return {
        "model": service.config.model_name,
        "pooling": service.settings.pooling,
        "dimensions": service.dimension,
        "precision": "float32",
        "similarity": "cosine",
        "max_tokens": service.settings.max_tokens,
    }


def _encode(
    service: EmbeddingService, texts: Sequence[str], prompt_name: str | None, label: Label, progress: Progress | None
) -> EmbeddingResult:
    """The vectors; errors call a text by its ``label`` instead of ``texts[5]``."""
    try:
        return service.encode(texts, prompt_name=prompt_name, wait=True, progress=progress)
    except (InputError, NonFiniteVectorError) as error:
        if error.index is None:
            raise
        raise error.changed(field=label(error.index), index=None) from error


def _labels(kind: str, ids: Sequence[str], first: int = 0) -> Label:
    return lambda index: f"{kind} {ids[first + index]!r}"
