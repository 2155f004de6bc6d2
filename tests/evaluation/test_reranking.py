"""Figures after reranking: rankings worked out by hand, and tiny rerankers on a tiny task from end to end."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.errors import InputError
from akidb_embeddings.evaluation import reranking
from akidb_embeddings.evaluation.metrics import evaluate_retrieval
from akidb_embeddings.evaluation.reranking import Reranker, evaluate_reranked
from akidb_embeddings.evaluation.tasks import RetrievalTask, read_task
from akidb_embeddings.reranking.activation import sigmoid
from akidb_embeddings.reranking.result import ScoreResult
from tests.fixtures import model_path
from tests.task_files import DOCUMENTS, QUERIES, write_beir

Pair = tuple[str, str]
BERT = str(model_path("tiny-bert-reranker"))
XLM = str(model_path("tiny-xlm-roberta-reranker"))


class KnownScores:
    """In place of a rerank service: logits by a function of query and document. It keeps the pairs of each call."""

    def __init__(self, score: Callable[[str, str], float]) -> None:
        self.score, self.calls = score, list[list[Pair]]()
        self.config = type("Config", (), {"model_name": "known"})
        self.instruction, self.max_tokens = None, 9

    def fingerprint(self, **options: Any) -> str:
        return "known"

    def score_details(self, pairs: Sequence[Pair], **options: Any) -> ScoreResult:
        self.calls.append(list(pairs))
        logits = np.array([self.score(*pair) for pair in pairs], dtype=np.float32)
        if progress := options.get("progress"):
            progress(len(pairs))
        flags = ["cut" in text for _, text in pairs]
        return ScoreResult(sigmoid(logits), logits, [1] * len(pairs), flags, "known")


def known(score: Callable[[str, str], float], top: int) -> tuple[Reranker, KnownScores]:
    fake = KnownScores(score)
    return Reranker(cast("RerankService", fake), top), fake


def task_of(folder: Path, **parts: Any) -> RetrievalTask:
    task = read_task(write_beir(folder, **parts))
    assert isinstance(task, RetrievalTask)
    return task


# "near" is what each document's text has in common with the query, so that the bundled model ranks a, b, c, d.
NEAR = {
    "a": ("", "the cat sat on the mat"),
    "b": ("", "a cat sat on a mat in the house"),
    "c": ("", "a dog in the house"),
    "d": ("", "interest rates and inflation"),
}
ONE = {"q": "the cat sat on the mat"}


@pytest.mark.long
def test_the_task_ranks_as_the_other_tests_assume(minilm: EmbeddingService, tmp_path: Path) -> None:
    for place, document in enumerate("abcd", start=1):
        found = evaluate_retrieval(
            minilm, task_of(tmp_path, documents=NEAR, queries=ONE, judgements=[("q", document, 1)])
        )
        assert found.scores["mrr@10"] == 1 / place


def scores_after(
    minilm: EmbeddingService, folder: Path, scores: dict[str, float], top: int, relevant: str
) -> tuple[float, float]:
    """The reciprocal ranks of one relevant document before and after."""
    task = task_of(folder, documents=NEAR, queries=ONE, judgements=[("q", relevant, 1)])
    texts = {text: key for key, (_, text) in NEAR.items()}
    reranker, _ = known(lambda _, text: scores[texts[text]], top)
    before, after = evaluate_reranked(minilm, reranker, task)
    assert after.scores["ndcg@10"] == pytest.approx(1 / math.log2(1 + round(1 / after.scores["mrr@10"])))
    return before.scores["mrr@10"], after.scores["mrr@10"]


@pytest.mark.parametrize(
    ("top", "order"),
    [
        (1, "abcd"),  # one document has no order
        (2, "bacd"),
        (3, "cbad"),
        (4, "dcba"),
        (100, "dcba"),
    ],
)
def test_the_best_are_ordered_by_score_and_the_others_stay_behind(
    top: int, order: str, minilm: EmbeddingService, tmp_path: Path
) -> None:
    scores = {"a": -4.0, "b": -3.0, "c": -2.0, "d": 10.0}
    for place, document in enumerate(order, start=1):
        found = scores_after(minilm, tmp_path, scores, top, document)
        assert found == (1 / ("abcd".index(document) + 1), 1 / place)


def test_of_equal_scores_the_greater_id_comes_first(minilm: EmbeddingService, tmp_path: Path) -> None:
    scores = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 1.0}
    for place, document in enumerate("bdca", start=1):
        assert scores_after(minilm, tmp_path, scores, 4, document)[1] == 1 / place


def test_figures_by_hand(minilm: EmbeddingService, tmp_path: Path) -> None:
    """a b c d becomes c b a d: gains 0, 3, 1, 0 instead of 1, 3, 0, 0."""
    task = task_of(tmp_path, documents=NEAR, queries=ONE, judgements=[("q", "a", 1), ("q", "b", 3), ("q", "c", 0)])
    order = {NEAR[key][1]: -place for place, key in enumerate("cba")}
    reranker, _ = known(lambda _, text: order[text], 3)
    before, after = evaluate_reranked(minilm, reranker, task)
    ideal = 3 + 1 / math.log2(3)
    assert before.scores["ndcg@10"] == pytest.approx((1 + 3 / math.log2(3)) / ideal)
    assert after.scores["ndcg@10"] == pytest.approx((3 / math.log2(3) + 1 / math.log2(4)) / ideal)
    assert (before.scores["recall@1"], after.scores["recall@1"]) == (0.5, 0.0)
    assert before.scores["recall@10"] == after.scores["recall@10"] == 1.0
    assert (before.scores["mrr@10"], after.scores["mrr@10"]) == (1.0, 0.5)


@pytest.mark.parametrize("titles", [True, False])
@pytest.mark.parametrize("block", [1, 4, 9, 4096])
def test_every_query_is_scored_with_the_texts_of_its_documents(
    titles: bool, block: int, minilm: EmbeddingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reranking, "_BLOCK_PAIRS", block)
    reranker, fake = known(lambda query, text: len(query) - len(text), 3)
    done: list[int] = []
    before, after = evaluate_reranked(
        minilm, reranker, task := task_of(tmp_path), titles=titles, pair_progress=done.append
    )
    pairs = [pair for call in fake.calls for pair in call]
    texts = {f"{title} {text}" if titles and title else text for title, text in DOCUMENTS.values()}
    assert [query for query, _ in pairs] == [QUERIES[key] for key in ("q1", "q2", "q3") for _ in range(3)]
    assert {text for _, text in pairs} <= texts
    assert len(set(pairs)) == len(pairs) == sum(done) == reranker.count_pairs(task) == 9
    assert max(map(len, fake.calls)) == {1: 3, 4: 3, 9: 9, 4096: 9}[block]
    assert (after.task, after.kind) == (tmp_path.name, "reranking")
    assert after.settings["titles"] is titles
    assert before.scores == evaluate_retrieval(minilm, task, titles=titles).scores


def test_settings_say_what_was_reranked_and_what_was_cut(minilm: EmbeddingService, tmp_path: Path) -> None:
    documents = {key: (title, f"{text} cut" if key == "d" else text) for key, (title, text) in NEAR.items()}
    task = task_of(tmp_path, documents=documents, queries=ONE, judgements=[("q", "a", 1)])
    _, after = evaluate_reranked(minilm, known(lambda *_: 0.0, 7)[0], task)
    found = {key: value for key, value in after.settings.items() if key != "seconds"}
    assert found == {
        "model": "known",
        "instruction": None,
        "max_tokens": 9,
        "fingerprints": {"pair": "known"},
        "titles": True,
        "top": 7,
        "pairs": 4,
        "pairs_truncated": 1,
    }


def test_more_than_a_hundred_documents_can_be_reranked(minilm: EmbeddingService, tmp_path: Path) -> None:
    documents = {f"d{number:03}": ("", f"text number {number}") for number in range(130)}
    task = task_of(tmp_path, documents=documents, queries=ONE, judgements=[("q", "d077", 1)])
    reranker, fake = known(lambda _, text: float(text == "text number 77"), 130)
    _, after = evaluate_reranked(minilm, reranker, task)
    assert [len(call) for call in fake.calls] == [130]
    assert after.scores["ndcg@10"] == 1.0


@pytest.mark.parametrize("model", [BERT, XLM])
def test_real_scores_order_the_documents(model: str, minilm: EmbeddingService, tmp_path: Path) -> None:
    """The ranking that the library's own scores of single pairs give, and a plain formula of nDCG."""
    task = task_of(tmp_path)
    with RerankService(model) as service:
        _, after = evaluate_reranked(minilm, Reranker(service, 4), task)
        expected = []
        for key, query in task.queries.items():
            texts = {name: f"{title} {text}".strip() for name, (title, text) in DOCUMENTS.items()}
            scores = {name: float(service.score([(query, text)])[0]) for name, text in texts.items()}
            order = sorted(scores, key=lambda name: -scores[name])
            gains = [task.judgements[key].get(name, 0) for name in order]
            ideal = sorted(gains, reverse=True)
            dcg, best = (sum(g / math.log2(r + 2) for r, g in enumerate(row)) for row in (gains, ideal))
            expected.append(dcg / best)
        assert after.settings["fingerprints"]["pair"] == service.fingerprint()
    assert after.scores["ndcg@10"] == pytest.approx(sum(expected) / len(expected))
    assert after.settings["pairs"] == 12


def test_logits_are_ranked_since_their_sigmoids_may_be_equal(minilm: EmbeddingService, tmp_path: Path) -> None:
    logits = {"a": 30.0, "b": 31.0, "c": -200.0, "d": -199.0}
    assert len(set(sigmoid(np.array([*logits.values()], dtype=np.float32)).tolist())) == 2
    for place, document in enumerate("badc", start=1):
        assert scores_after(minilm, tmp_path, logits, 4, document)[1] == 1 / place


def test_errors_name_the_query_and_the_document(minilm: EmbeddingService, tmp_path: Path) -> None:
    long = {**DOCUMENTS, "moon": ("", "The Moon orbits " + "and orbits " * 100)}
    task = task_of(tmp_path, documents=long)
    with (
        RerankService(BERT, truncate="error", max_tokens=60) as service,
        pytest.raises(InputError, match=r"^query 'q1' with document 'moon' has \d+ tokens") as raised,
    ):
        evaluate_reranked(minilm, Reranker(service, 100), task)
    assert raised.value.limit == 60


def test_a_model_with_several_labels_is_an_error(minilm: EmbeddingService, tmp_path: Path) -> None:
    with (
        RerankService(str(model_path("tiny-bert-labels"))) as service,
        pytest.raises(InputError, match="gives 3 scores to each pair"),
    ):
        evaluate_reranked(minilm, Reranker(service, 10), task_of(tmp_path))
