"""Figures worked out by hand, and the bundled model on tiny tasks from end to end."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import EmbeddingError, InputError
from akidb_embeddings.evaluation import metrics
from akidb_embeddings.evaluation.metrics import (
    correlations,
    count_texts,
    evaluate_pairs,
    evaluate_retrieval,
    retrieval_scores,
)
from akidb_embeddings.evaluation.pairs import PairTask
from akidb_embeddings.evaluation.tasks import RetrievalTask, read_task
from tests.conftest import service
from tests.task_files import DOCUMENTS, QUERIES, write_beir

IDS = [f"d{number:03}" for number in range(200)]


def scores_of(ranking: list[str], judged: dict[str, int]) -> dict[str, float]:
    return retrieval_scores(np.array([[IDS.index(key) for key in ranking]]), IDS, [judged])


def retrieval(folder: Path) -> RetrievalTask:
    task = read_task(folder)
    assert isinstance(task, RetrievalTask)
    return task


def test_ndcg_weighs_gains_by_their_ranks() -> None:
    found = scores_of(IDS[:20], {"d000": 1, "d002": 3, "d012": 2, "d150": 1, "d005": 0, "d006": -1})
    gained = 1 / math.log2(2) + 3 / math.log2(4)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4) + 1 / math.log2(5)
    assert found["ndcg@10"] == pytest.approx(gained / ideal)
    assert found["recall@1"] == 1 / 4
    assert found["recall@10"] == 2 / 4
    assert found["recall@100"] == 3 / 4
    assert found["mrr@10"] == 1


def test_the_ideal_has_ten_places_however_many_are_relevant() -> None:
    assert scores_of(IDS[:100], dict.fromkeys(IDS[:50], 1))["ndcg@10"] == pytest.approx(1)
    half = scores_of([*IDS[100:105], *IDS[:5]], dict.fromkeys(IDS[:50], 1))
    discounts = [1 / math.log2(rank + 1) for rank in range(1, 11)]
    assert half["ndcg@10"] == pytest.approx(sum(discounts[5:]) / sum(discounts))
    assert half["recall@10"] == 5 / 50
    last = scores_of([*IDS[100:109], IDS[0]], dict.fromkeys(IDS[:50], 1))
    assert last["ndcg@10"] == pytest.approx(discounts[9] / sum(discounts))


def test_the_reciprocal_rank_ends_at_ten() -> None:
    assert scores_of(IDS[:20], {"d003": 1, "d004": 1})["mrr@10"] == 1 / 4
    assert scores_of(IDS[:20], {"d009": 1})["mrr@10"] == 1 / 10
    late = scores_of(IDS[:20], {"d010": 1})
    assert (late["mrr@10"], late["ndcg@10"], late["recall@10"], late["recall@100"]) == (0, 0, 0, 1)


def test_a_query_with_nothing_relevant_counts_zero() -> None:
    ranking = np.array([[0, 1], [0, 1]])
    found = retrieval_scores(ranking, IDS[:2], [{"d000": 1}, {"d001": 0}])
    assert found == {"ndcg@10": 0.5, "recall@1": 0.5, "recall@10": 0.5, "recall@100": 0.5, "mrr@10": 0.5}


def test_a_corpus_smaller_than_k_is_found_whole() -> None:
    found = retrieval_scores(np.array([[1, 0]]), IDS[:2], [{"d000": 1}])
    assert found["ndcg@10"] == pytest.approx(1 / math.log2(3))
    assert (found["recall@1"], found["recall@10"], found["recall@100"], found["mrr@10"]) == (0, 1, 1, 0.5)


def test_correlations_are_of_ranks_and_of_values() -> None:
    # Ranks 1 2 3 4 against 1 2 3.5 3.5: 1 - 6 * (0.25 + 0.25) / 60 would be without ties; with them, by hand:
    found = correlations(np.array([0.1, 0.2, 0.3, 0.9]), np.array([0.0, 1.0, 5.0, 5.0]))
    assert found["spearman"] == pytest.approx(4.5 / math.sqrt(5 * 4.5))
    assert found["pearson"] == pytest.approx(np.corrcoef([0.1, 0.2, 0.3, 0.9], [0, 1, 5, 5])[0, 1])


@pytest.mark.parametrize("equal", ["scores", "similarities"])
def test_equal_values_have_no_correlation(equal: str) -> None:
    varied, same = np.array([0.1, 0.2, 0.3]), np.ones(3)
    with pytest.raises(InputError, match=f"All 3 {equal} are equal, so the correlation is not defined"):
        correlations(*((varied, same) if equal == "scores" else (same, varied)))


def test_the_bundled_model_finds_what_is_meant(minilm: EmbeddingService, tmp_path: Path) -> None:
    task, done = retrieval(write_beir(tmp_path / "tiny")), list[int]()
    found = evaluate_retrieval(minilm, task, progress=done.append)
    assert found.scores == {"ndcg@10": 1.0, "recall@1": 1.0, "recall@10": 1.0, "recall@100": 1.0, "mrr@10": 1.0}
    assert (found.task, found.kind) == ("tiny", "retrieval")
    assert sum(done) == count_texts(task) == 7
    expected = {
        "pooling": "mean",
        "dimensions": 384,
        "precision": "float32",
        "similarity": "cosine",
        "max_tokens": 256,
        "prompts": {"query": "", "document": ""},
        "fingerprints": {"query": minilm.fingerprint(""), "document": minilm.fingerprint("")},
        "titles": True,
        "documents": 4,
        "documents_with_title": 3,
        "documents_truncated": 0,
        "queries": 3,
        "queries_truncated": 0,
        "queries_repeated": 0,
        "queries_merged": 0,
        "queries_without_judgements": 1,
        "queries_without_relevant_document": 0,
        "judgements": 4,
    }
    assert {name: found.settings[name] for name in expected} == expected
    assert found.settings.keys() - expected.keys() == {"model", "seconds"}


def test_figures_are_the_same_in_any_order_and_in_blocks(
    minilm: EmbeddingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of four equal documents one is relevant: its place depends on ties alone.
    documents = {f"d{number}": ("", "the same text") for number in range(4)} | {"e": ("", "another one")}
    queries, judgements = {"q": "the same text"}, [("q", "d1", 1)]
    backwards = dict(reversed(documents.items()))
    one, other = (
        write_beir(tmp_path / str(n), order, queries, judgements) for n, order in enumerate((documents, backwards))
    )
    first = evaluate_retrieval(minilm, retrieval(one)).scores
    assert first["mrr@10"] == pytest.approx(1 / 3)
    assert evaluate_retrieval(minilm, retrieval(other)).scores == first
    monkeypatch.setattr(metrics, "_BLOCK_DOCUMENTS", 2)
    assert evaluate_retrieval(minilm, retrieval(other)).scores == first


def test_titles_count_unless_they_are_left_out(minilm: EmbeddingService, tmp_path: Path) -> None:
    documents = {"a": ("Volcanoes", "They are hot."), "b": ("Glaciers", "They are hot, too, somewhere.")}
    task = retrieval(write_beir(tmp_path, documents, {"q": "How hot are glaciers?"}, [("q", "b", 1)]))
    assert evaluate_retrieval(minilm, task).scores["recall@1"] == 1
    without = evaluate_retrieval(minilm, task, titles=False)
    assert without.scores["recall@1"] == 0
    assert without.settings["titles"] is False


def test_queries_and_documents_have_their_prompts(tmp_path: Path) -> None:
    # Only a prompt that goes to documents alone makes the document "a dog" equal to the query.
    documents, queries = {"x": ("", "dog"), "y": ("", "a dog")}, {"q": "a dog"}
    task = retrieval(write_beir(tmp_path, documents, queries, [("q", "x", 1)]))
    with service(query_prompt="", document_prompt="a ") as prompted:
        found = evaluate_retrieval(prompted, task)
        assert found.settings["prompts"] == {"query": "", "document": "a "}
        assert found.settings["fingerprints"]["document"] == prompted.fingerprint("a ")
        assert found.settings["fingerprints"]["query"] == prompted.fingerprint("")
    assert found.scores["recall@1"] == 1


def test_cut_texts_are_counted(tmp_path: Path) -> None:
    with service(max_tokens=8) as short:
        found = evaluate_retrieval(short, retrieval(write_beir(tmp_path)))
    assert found.settings["documents_truncated"] == 4
    assert found.settings["queries_truncated"] == 2


def test_errors_name_the_text_as_the_task_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_BLOCK_DOCUMENTS", 2)
    documents = DOCUMENTS | {"cat": ("", "word " * 40)}  # the third of the ids
    with service(max_tokens=16, truncate="error") as strict:
        with pytest.raises(InputError, match=r"^document 'cat' has 42 tokens with its prompt; the limit is 16\."):
            evaluate_retrieval(strict, retrieval(write_beir(tmp_path / "a", documents)), titles=False)
        beir = write_beir(tmp_path / "b", queries=QUERIES | {"q2": "word " * 40})
        with pytest.raises(InputError, match=r"^query 'q2' has 42 tokens"):
            evaluate_retrieval(strict, retrieval(beir))
        with pytest.raises(InputError, match=r"^a sentence of pair 2 has 42 tokens"):
            evaluate_pairs(strict, PairTask("p", ["a", "word " * 40], ["a", "b"], [1.0, 2.0], None))


def test_pairs_correlate_with_people(minilm: EmbeddingService) -> None:
    sentences = ["A man plays the guitar.", "A cat sleeps.", "It rains.", "The car is red."]
    others = ["Someone plays a guitar.", "A kitten takes a nap.", "Stocks fell on Monday.", "He reads about Rome."]
    done = list[int]()
    task = PairTask("pairs", sentences, others, [5.0, 3.5, 1.0, 0.0], "test")
    found = evaluate_pairs(minilm, task, progress=done.append)
    assert found.kind == "sts"
    assert found.scores["spearman"] > 0.75
    assert found.scores["pearson"] > 0.9
    assert sum(done) == count_texts(task) == 8
    assert (found.settings["pairs"], found.settings["split"], found.settings["texts_truncated"]) == (4, "test", 0)
    assert found.settings["prompts"] == {"both": ""}
    assert found.settings["fingerprints"] == {"both": minilm.fingerprint()}
    swapped = evaluate_pairs(minilm, PairTask("pairs", sentences, others, [0.0, 1.0, 3.5, 5.0], None))
    assert swapped.scores["spearman"] == pytest.approx(-found.scores["spearman"])


def test_pairs_have_the_models_own_prompt_or_the_one_asked_for(minilm: EmbeddingService) -> None:
    task = PairTask("p", ["a", "b"], ["c", "d"], [1.0, 2.0], None)
    prompts = minilm.settings.prompts
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prompts, "STS", "similar: ")
        patch.setitem(prompts, "other", "else: ")
        own, asked = evaluate_pairs(minilm, task), evaluate_pairs(minilm, task, prompt_name="other")
    assert own.settings["prompts"] == {"both": "similar: "}
    assert own.settings["fingerprints"] == {"both": minilm.fingerprint("similar: ")}
    assert asked.settings["fingerprints"] == {"both": minilm.fingerprint("else: ")}


def test_a_missing_library_is_named_with_what_to_install(
    minilm: EmbeddingService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(EmbeddingError, match=r"needs scikit-learn: .* -m pip install -e '/.*\[evaluate\]'"):
        evaluate_retrieval(minilm, retrieval(write_beir(tmp_path)))
    with pytest.raises(EmbeddingError, match="needs scikit-learn"):
        evaluate_pairs(minilm, PairTask("p", ["a"], ["b"], [1.0], None))
