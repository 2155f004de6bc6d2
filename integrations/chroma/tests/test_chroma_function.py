"""The function by itself: sides, settings, copies, and what Chroma asks of it."""

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chroma_akidb import MLXEmbeddingFunction
from chromadb.api.types import validate_embedding_function
from chromadb.utils.embedding_functions import config_to_embedding_function, known_embedding_functions

from akidb_embeddings import EmbeddingConfig, EmbeddingService, close_shared_services
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import ConfigurationError, InputError
from tests.fixtures import DATA

pytestmark = pytest.mark.usefixtures("no_network")

MINILM = "minilm-l6-v2"
PROMPTED = DATA / "models" / "tiny-gemma3"  # with another prompt for queries than for documents
TEXTS = ["the river", "über 東京 🦊", "a stone " * 40]
SETTINGS: dict[str, Any] = {"dimensions": 16, "untrained_dimensions": True, "max_tokens": 11, "document_prompt": "x: "}


@pytest.fixture(autouse=True, scope="module")
def nothing_loaded_stays() -> Iterator[None]:
    yield
    close_shared_services()


def function(model: str | Path = MINILM, **settings: Any) -> MLXEmbeddingFunction:
    return MLXEmbeddingFunction(model, config=EmbeddingConfig(), **settings)


def test_each_side_gets_its_prompt() -> None:
    ours = function(PROMPTED)
    with EmbeddingService(PROMPTED, config=EmbeddingConfig()) as reference:
        documents = reference.embed(TEXTS, prompt="title: none | text: ")
        queries = reference.embed(TEXTS, prompt="task: search result | query: ")
    np.testing.assert_allclose(ours(TEXTS), documents, atol=1e-6)
    np.testing.assert_allclose(ours.embed_query(TEXTS), queries, atol=1e-6)
    assert not np.allclose(documents, queries, atol=1e-2)
    assert {vector.dtype for vector in [*ours(TEXTS), *ours.embed_query(TEXTS)]} == {np.dtype(np.float32)}


def test_settings_reach_the_vectors() -> None:
    with EmbeddingService(PROMPTED, config=EmbeddingConfig(), **SETTINGS) as reference:
        np.testing.assert_allclose(function(PROMPTED, **SETTINGS)(TEXTS), reference.embed_documents(TEXTS), atol=1e-6)
    assert function(normalize_embeddings=False, truncate_dim=5, cache_folder="models").config == EmbeddingConfig(
        model_name=MINILM, normalize=False, dimensions=5, cache_dir="models"
    )


def test_chroma_finds_the_function_by_its_name() -> None:
    assert known_embedding_functions["akidb"] is MLXEmbeddingFunction
    ours = function(PROMPTED, task="Find duplicates")
    assert config_to_embedding_function({"name": ours.name(), "config": ours.get_config()}) == ours
    validate_embedding_function(ours)
    assert not ours.is_legacy()
    assert (ours.default_space(), ours.supported_spaces()) == ("cosine", ["cosine", "l2", "ip"])


def test_a_configuration_survives_json() -> None:
    ours = function(**SETTINGS)
    values = json.loads(json.dumps(ours.get_config()))
    ours.validate_config(values)
    assert MLXEmbeddingFunction.build_from_config(values) == ours


@pytest.mark.parametrize("changes", [{"colour": "red"}, {"max_tokens": -1}, {"model_name": ""}], ids=str)
def test_a_configuration_with_a_fault_is_refused(changes: dict[str, Any]) -> None:
    values = function().get_config() | changes
    for read in (MLXEmbeddingFunction.validate_config, MLXEmbeddingFunction.build_from_config):
        with pytest.raises(ConfigurationError, match=next(iter(changes))):
            read(values)


def test_queries_may_change_and_documents_may_not() -> None:
    old = function().get_config()
    function().validate_config_update(old, function(query_prompt="query: ").get_config())
    with pytest.raises(ConfigurationError, match="document_prompt"):
        function().validate_config_update(old, function(document_prompt="x: ").get_config())


def test_constructing_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(engine_table, "_load", fail)
    assert function(PROMPTED).get_config()["model_name"] == str(PROMPTED)
    assert function("qwen3-0.6b").get_config()["model_version"]  # is not on this machine


def test_copies_are_equal() -> None:
    ours = function(**SETTINGS)
    ours(["used"])
    for theirs in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), eval(repr(ours))):
        assert (theirs, hash(theirs), repr(theirs)) == (ours, hash(ours), repr(ours))
    assert ours != function()
    assert repr(function()) == "MLXEmbeddingFunction(model_name='minilm-l6-v2')"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cpu"}, "AKIDB_BACKEND"),
        ({"trust_remote_code": True}, "never run"),
        ({"max_token": 3}, "Did you mean 'max_tokens'"),
        ({"normalize": True, "normalize_embeddings": True}, "the same argument"),
        ({"batch_size": 0}, "1 to 128"),
    ],
    ids=str,
)
def test_wrong_arguments_say_what_there_is(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        function(**settings)


def test_what_is_no_text_is_refused() -> None:
    texts: Any = ["a", 7]
    for embed in (function(), function().embed_query):
        with pytest.raises(InputError) as caught:
            embed(texts)
        assert (caught.value.field, caught.value.index) == ("texts", 1)
