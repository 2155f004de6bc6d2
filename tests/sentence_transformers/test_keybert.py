"""KeyBERT's README with its real package, which is imported in fixtures, since it takes seconds."""

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from akidb_embeddings.sentence_transformers import MLXSentenceTransformer

pytestmark = pytest.mark.long
DOCUMENT = """
    Supervised learning is the machine learning task of learning a function that maps an input to an output based on
    example input-output pairs. It infers a function from labeled training data consisting of a set of training
    examples. In supervised learning, each example is a pair consisting of an input object (typically a vector) and a
    desired output value (also called the supervisory signal).
"""


@pytest.fixture(name="KeyBERT", scope="module")
def keybert() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its parts warn of while they are imported
        return import_module("keybert").KeyBERT


@pytest.fixture(name="MLXBackend", scope="module")
def backend(KeyBERT: Any) -> Any:
    return import_module("akidb_embeddings.sentence_transformers.keybert").MLXBackend


@pytest.fixture(scope="module")
def model() -> MLXSentenceTransformer:
    return MLXSentenceTransformer("minilm-l6-v2")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keyphrase_ngram_range": (1, 2), "stop_words": None},
        {"keyphrase_ngram_range": (3, 3), "stop_words": "english", "use_mmr": True, "diversity": 0.7},
        {"keyphrase_ngram_range": (3, 3), "stop_words": "english", "use_maxsum": True, "nr_candidates": 10, "top_n": 3},
    ],
)
def test_keywords_are_about_the_document(
    KeyBERT: Any, MLXBackend: Any, model: MLXSentenceTransformer, options: dict[str, Any]
) -> None:
    found = KeyBERT(model=MLXBackend(model)).extract_keywords(DOCUMENT, **options)
    assert any("supervised" in word or "learning" in word for word, _ in found)


def test_scores_are_the_models_cosines(KeyBERT: Any, MLXBackend: Any, model: MLXSentenceTransformer) -> None:
    for word, score in KeyBERT(model=MLXBackend(model)).extract_keywords(DOCUMENT):
        assert score == pytest.approx(model.similarity(model.encode(word), model.encode(DOCUMENT)).item(), abs=1e-3)


def test_options_of_encode_are_passed_on(MLXBackend: Any, model: MLXSentenceTransformer) -> None:
    backend = MLXBackend(model, prompt="word: ")
    np.testing.assert_array_equal(backend.embed(["fox"]), model.encode(["fox"], prompt="word: "))
    np.testing.assert_array_equal(MLXBackend("minilm-l6-v2").embed(["fox"]), model.encode(["fox"]))


@pytest.mark.parametrize("installed", [False, True])
def test_the_model_itself_is_refused_instead_of_replaced(
    KeyBERT: Any, model: MLXSentenceTransformer, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    fake = ModuleType("sentence_transformers")
    vars(fake)["SentenceTransformer"] = type("SentenceTransformer", (), {})
    monkeypatch.setitem(sys.modules, fake.__name__, fake if installed else None)
    with pytest.raises(ValueError if installed else ModuleNotFoundError, match=r"sentence_transformers"):
        KeyBERT(model=model)
