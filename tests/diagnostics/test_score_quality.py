"""The quality of a converted reranker: what is compared, and that figures follow what was lost."""

from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings.checkpoint.reranker import read_reranker
from akidb_embeddings.diagnostics.sample_texts import RANKINGS
from akidb_embeddings.diagnostics.score_quality import ScoreQuality, compare
from akidb_embeddings.tokenization.pair_tokenizer import PairTokenizer
from tests.conftest import Threads
from tests.diagnostics.test_verify_rerankers import with_tensor
from tests.fixtures import copy_model, edit_json
from tests.reranking.models import BERT, QWEN3, XLM_ROBERTA, add_crossencoder_files, folder


def of(before: list[list[float]], after: list[list[float]]) -> ScoreQuality:
    """Two queries with three and two documents."""
    pairs = (("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("b", "2"))
    return ScoreQuality(pairs, np.array(before, dtype=np.float32), np.array(after, dtype=np.float32))


def test_only_documents_of_one_query_are_compared() -> None:
    found = of([[5], [1], [0], [9], [8]], [[5], [0], [0.5], [1], [2]])
    assert (found.compared, found.in_order) == (4, 2)
    assert (found.largest, found.worst_pair, found.spread) == (8, 3, 9)


def test_documents_that_were_equal_have_no_order_and_ones_that_became_equal_lost_it() -> None:
    found = of([[1], [1], [0], [2], [1]], [[1], [2], [0], [1], [1]])
    assert (found.compared, found.in_order) == (3, 2)


def test_labels_are_compared_one_by_one() -> None:
    found = of([[3, 0], [2, 1], [1, 2], [0, 0], [1, 1]], [[3, 0], [2, 1], [1, 0.5], [0, 0], [1, -1]])
    assert (found.compared, found.in_order) == (8, 6)
    assert (found.largest, found.worst_pair, found.spread) == (2, 4, 3)


def test_the_pairs_are_different_and_some_are_long() -> None:
    assert all(len(set(documents)) == len(documents) for _, documents in RANKINGS)
    pairs = [(query, document) for query, documents in RANKINGS for document in documents]
    queries, documents = zip(*pairs, strict=True)
    tokens = PairTokenizer(read_reranker(folder(XLM_ROBERTA)), 1024).encode(queries, documents)
    assert sum(count > 512 for count in tokens.counts) >= 2
    assert sum(count < 100 for count in tokens.counts) >= 10


@pytest.mark.parametrize("name", [BERT, QWEN3])
def test_the_same_weights_agree_and_leave_no_thread(name: str, threads: Threads, tmp_path: Path) -> None:
    found = compare(folder(name), copy_model(name, tmp_path / "copy"))
    assert found.largest < 1e-5
    assert found.in_order == found.compared == 36
    assert threads() == 0


def test_both_get_the_instruction_of_the_converted_one(tmp_path: Path) -> None:
    other = copy_model(QWEN3, tmp_path / "other")
    add_crossencoder_files(other)
    edit_json(other / "config_sentence_transformers.json", prompts={"query": "Find what contradicts it"})
    assert compare(folder(QWEN3), other).largest < 1e-5


def test_a_head_of_another_sign_turns_the_order_round(tmp_path: Path) -> None:
    other = with_tensor(copy_model(BERT, tmp_path / "other"), "classifier.weight", lambda weight: -weight)
    found = compare(folder(BERT), other)
    assert found.in_order == 0
    assert found.largest > found.spread / 2
