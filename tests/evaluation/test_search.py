"""Exact search block by block: against sorting everything, with ties, and in any order of the corpus."""

import numpy as np
import pytest
from numpy.typing import NDArray

from akidb_embeddings.evaluation import search
from akidb_embeddings.evaluation.search import TopK
from akidb_embeddings.vectors.finish import Vectors


def vectors(count: int, seed: int) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


def found(queries: Vectors, documents: Vectors, k: int, block: int) -> NDArray[np.int64]:
    top = TopK(queries, k)
    for begin in range(0, len(documents), block):
        top.add(documents[begin : begin + block])
    return top.ranking()


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_it_is_the_beginning_of_sorting_everything(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_QUERY_BLOCK", 5)
    queries, documents = vectors(12, 0), vectors(300, 1) * np.linspace(0.1, 9, 300, dtype=np.float32)[:, None]
    lengths = np.linalg.norm(documents.astype(np.float64), axis=1)
    everything = np.argsort(-(queries.astype(np.float64) @ documents.T / lengths), axis=1)
    np.testing.assert_array_equal(found(queries, documents, 20, block), everything[:, :20])


@pytest.mark.parametrize("block", [1, 3, 40])
def test_of_equal_documents_the_earlier_comes_first_in_whatever_block(block: int) -> None:
    documents = vectors(40, 2)
    documents[[5, 17, 23, 38]] = documents[11]
    ranking = found(documents[[11]], documents, 3, block)
    assert ranking.tolist() == [[5, 11, 17]]


def test_opposite_and_orthogonal_documents_keep_their_order() -> None:
    query = np.eye(1, 4, dtype=np.float32)
    documents = np.array([[-1, 0, 0, 0], [-0.5, 1, 0, 0], [0, -1, 0, 0], [0, 1, 0, 0], [-0.0, 0, 1, 0], [1, 0, 0, 0]])
    assert found(query, documents.astype(np.float32), 9, 2).tolist() == [[5, 2, 3, 4, 1, 0]]


def test_a_small_corpus_is_ranked_whole() -> None:
    assert sorted(found(vectors(2, 3), vectors(3, 4), 100, 2)[0].tolist()) == [0, 1, 2]


def test_only_the_best_are_kept() -> None:
    top = TopK(vectors(3, 5), 10)
    for seed in range(6):
        top.add(vectors(50, seed))
    assert top._keys.shape == (3, 10)


def test_what_rounds_to_zero_is_zero_on_either_side() -> None:
    assert len(set(search._sortable(np.array([-1e-60, -0.0, 0.0, 1e-60])).tolist())) == 1
