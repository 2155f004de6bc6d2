"""Scores, sparse weights and token vectors of a GPU: near those of their authors, as far as 16 bits allow."""

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, RerankService
from tests.fixtures import cosines, golden, model_path
from tests.golden.texts import QUERIES, TEXTS
from tests.gpu.device import STAND_IN
from tests.outputs import golden_rows, golden_sparse
from tests.reranking.models import ONE_SCORE, chosen, folder, known

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

# A logit is a difference of large numbers: as a share of the scores' spread, what 11 bits may move it.
OF_SPREAD = 0.1
# Weights of SPLADE are logarithms of such differences: the lowest cosine in float16 on a CPU was 0.9996.
SPARSE = 0.999
STEP = 20 if STAND_IN else 3


@pytest.mark.parametrize("name", ONE_SCORE)
def test_scores_are_near_those_of_the_authors(name: str) -> None:
    places, pairs = chosen(name, STEP)
    expected, spread = golden(name)["logits"][places, 0], golden(name)["logits"][known(name), 0].std()
    with RerankService(folder(name), warm_up=False) as reranker:
        scores = reranker.score(pairs, activation="identity")
    assert np.abs(scores - expected).max() < OF_SPREAD * spread


@pytest.mark.parametrize("name", ["tiny-splade", "tiny-splade-distilbert"])
def test_sparse_weights_are_near_those_of_the_authors(name: str) -> None:
    with EmbeddingService(str(model_path(name)), warm_up=False) as service:
        found = service.encode(QUERIES, prompt_name="query", output="sparse").vectors
    for vector, other in zip(found, golden_sparse(name, "queries"), strict=True):
        dense, expected = np.zeros((2, 1 + max(vector.indices.max(), other.indices.max())), np.float32)
        dense[vector.indices], expected[other.indices] = vector.values, other.values
        assert cosines(dense, expected) >= SPARSE


@pytest.mark.parametrize("name", ["tiny-colbert", "tiny-multivector"])
@pytest.mark.parametrize(("role", "key"), [("query", "queries"), ("document", "documents")])
def test_token_vectors_are_near_those_of_the_authors(name: str, role: str, key: str) -> None:
    texts = [text for text in TEXTS if len(text) < 400]  # those of the golden file
    with EmbeddingService(str(model_path(name)), warm_up=False) as service:
        found = service.encode(texts, prompt_name=role, output="tokens").vectors
    for vectors, expected in zip(found, golden_rows(name, key), strict=True):
        assert cosines(vectors, expected).min() >= SPARSE
