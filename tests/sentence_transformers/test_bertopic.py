"""BERTopic's README with its real package, without UMAP, in whose place it takes PCA: numba is large.

BERTopic is imported in fixtures, since it takes seconds.
"""

import pickle
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from akidb_embeddings.sentence_transformers import MLXSentenceTransformer
from tests.sentence_transformers.topics import THEMES, documents

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:::bertopic|sklearn|joblib")]


@pytest.fixture(name="BERTopic", scope="module")
def bertopic() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its parts warn of while they are imported
        return import_module("bertopic").BERTopic


@pytest.fixture(name="MLXBackend", scope="module")
def backend(BERTopic: Any) -> Any:
    return import_module("akidb_embeddings.sentence_transformers.bertopic").MLXBackend


@pytest.fixture(scope="module")
def model() -> MLXSentenceTransformer:
    return MLXSentenceTransformer("minilm-l6-v2")


@pytest.fixture(scope="module")
def fitted(BERTopic: Any, MLXBackend: Any, model: MLXSentenceTransformer) -> Any:
    topics = BERTopic(embedding_model=MLXBackend(model), min_topic_size=5)
    return topics, topics.fit_transform(documents()[0])[0]


def test_topics_are_the_themes(fitted: Any) -> None:
    topics, found = fitted
    pairs = {(one, theme) for one, theme in zip(found, documents()[1], strict=True) if one != -1}
    assert {theme for _, theme in pairs} == set(THEMES)
    assert len({one for one, _ in pairs}) == len(pairs)  # no topic has two themes
    words = {word for one in set(found) - {-1} for word, _ in topics.get_topic(one)}
    assert words & {word for theme in THEMES.values() for word in theme}
    assert len(topics.get_topic_info()) == len(set(found))


def test_it_embeds_with_this_model(model: MLXSentenceTransformer, fitted: Any) -> None:
    topics, found = fitted
    texts = documents()[0]
    np.testing.assert_array_equal(topics._extract_embeddings(texts, method="document"), model.encode(texts))
    [best, *_], _ = topics.find_topics("the planets and their moons", top_n=2)
    assert {word for word, _ in topics.get_topic(best)} & set(THEMES["space"])
    assert topics.transform([texts[0]])[0][0] in found


def test_embeddings_that_were_computed_before(BERTopic: Any, MLXBackend: Any, model: MLXSentenceTransformer) -> None:
    texts = documents()[0]
    before = model.encode(texts, show_progress_bar=False)
    found, _ = BERTopic(embedding_model=MLXBackend(model), min_topic_size=5).fit_transform(texts, before)
    assert len(set(found) - {-1}) >= len(THEMES)


def test_a_saved_model_is_loaded_with_its_embedder(
    BERTopic: Any, MLXBackend: Any, fitted: Any, model: MLXSentenceTransformer, tmp_path: Path
) -> None:
    topics, _ = fitted
    topics.save(tmp_path / "whole", serialization="pickle")
    other = BERTopic.load(tmp_path / "whole")
    np.testing.assert_array_equal(other.embedding_model.embed(["fox"]), model.encode(["fox"]))
    topics.save(tmp_path / "parts", serialization="pickle", save_embedding_model=False)
    again = BERTopic.load(tmp_path / "parts", embedding_model=MLXBackend(model))
    assert again.find_topics("rockets")[0] == topics.find_topics("rockets")[0]


@pytest.mark.parametrize("installed", [False, True])
def test_the_model_itself_is_refused_instead_of_replaced(
    BERTopic: Any, model: MLXSentenceTransformer, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    """BERTopic embeds with a model of its own where it is given an object that it does not know, and says nothing."""
    fake, parts = ModuleType("sentence_transformers"), ModuleType("sentence_transformers.models")
    vars(fake)["SentenceTransformer"] = type("SentenceTransformer", (), {})
    vars(parts)["StaticEmbedding"] = object
    for one in (fake, parts):
        monkeypatch.setitem(sys.modules, one.__name__, one if installed else None)
    with pytest.raises(ValueError if installed else ModuleNotFoundError, match=r"sentence_transformers"):
        BERTopic(embedding_model=model).fit(documents()[0])


def test_a_name_is_enough_and_an_embedder_is_pickled(MLXBackend: Any) -> None:
    backend = MLXBackend("minilm-l6-v2")
    other = pickle.loads(pickle.dumps(backend))
    np.testing.assert_array_equal(other.embed_documents(["fox"]), backend.embed_words(["fox"]))
