"""The registry's entry by itself: sides, settings, copies, errors."""

import copy
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lancedb.embeddings import get_registry
from lancedb_akidb import MLXEmbeddings

from akidb_embeddings import EmbeddingConfig, EmbeddingService, close_shared_services
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import ConfigurationError, InputError
from tests.fixtures import DATA, copy_model

pytestmark = pytest.mark.usefixtures("no_network")

MINILM = "minilm-l6-v2"
PROMPTED = DATA / "models" / "tiny-gemma3"  # with another prompt for queries than for documents
STATIC = DATA / "models" / "tiny-static"  # whose vector of an empty text would be zero
TEXTS = ["the river", "über 東京 🦊", "a stone " * 40]
SETTINGS: dict[str, Any] = {"dimensions": 16, "untrained_dimensions": True, "max_tokens": 11, "document_prompt": "x: "}


@pytest.fixture(autouse=True, scope="module")
def nothing_loaded_stays() -> Iterator[None]:
    yield
    close_shared_services()


def function(model: str | Path = MINILM, **settings: Any) -> Any:
    return get_registry().get("akidb").create(name=str(model), config=EmbeddingConfig(), **settings)


def test_the_registry_has_it() -> None:
    assert get_registry().get("akidb") is MLXEmbeddings


@pytest.mark.parametrize("model", ["tiny-splade", "tiny-colbert"])
def test_a_model_without_dense_vectors_is_refused_before_a_table_is_made(model: str) -> None:
    with pytest.raises(ConfigurationError, match="no output 'dense'"):
        function(DATA / "models" / model).ndims()


def test_each_side_gets_its_prompt() -> None:
    ours = function(PROMPTED)
    with EmbeddingService(PROMPTED, config=EmbeddingConfig()) as reference:
        documents = reference.embed(TEXTS, prompt="title: none | text: ")
        queries = reference.embed(TEXTS, prompt="task: search result | query: ")
    sources = [TEXTS, np.array(TEXTS), pa.array(TEXTS), pa.chunked_array([TEXTS[:1], TEXTS[1:]])]
    for source in sources:
        np.testing.assert_allclose(ours.compute_source_embeddings(source), documents, atol=1e-6)
    np.testing.assert_allclose(ours.compute_source_embeddings_with_retry(TEXTS), documents, atol=1e-6)
    np.testing.assert_allclose(ours.compute_source_embeddings(TEXTS[0]), documents[:1], atol=1e-6)
    for compute in (ours.compute_query_embeddings, ours.compute_query_embeddings_with_retry):
        np.testing.assert_allclose(compute(TEXTS[0]), queries[:1], atol=1e-6)
        np.testing.assert_allclose(compute(TEXTS), queries, atol=1e-6)
    assert not np.allclose(documents, queries, atol=1e-2)
    assert ours.ndims() == 48


def test_settings_reach_the_vectors() -> None:
    ours = function(PROMPTED, **SETTINGS)
    with EmbeddingService(PROMPTED, config=EmbeddingConfig(), **SETTINGS) as reference:
        np.testing.assert_allclose(ours.compute_source_embeddings(TEXTS), reference.embed_documents(TEXTS), atol=1e-6)
    assert ours.ndims() == 16
    assert function(truncate_dim=5, cache_folder="models").config == EmbeddingConfig(
        model_name=MINILM, dimensions=5, cache_dir="models"
    )


def test_a_missing_text_has_no_vector() -> None:
    first, none, last = function(PROMPTED).compute_source_embeddings(["a", None, ""])
    assert none is None
    assert len(first) == len(last) == 48


def test_models_that_refuse_an_empty_text_get_none() -> None:
    ours = function(STATIC)
    none, first, none_again, last = ours.compute_source_embeddings([None, "hello", None, "world"])
    assert (none, none_again) == (None, None)
    np.testing.assert_array_equal([first, last], ours.compute_source_embeddings(["hello", "world"]))
    assert ours.compute_source_embeddings([None]) == [None]
    with pytest.raises(InputError) as caught:
        ours.compute_source_embeddings([None, "hello", ""])
    assert caught.value.index == 2


def test_what_is_kept_makes_an_equal_one() -> None:
    ours = function(**SETTINGS)
    values = json.loads(json.dumps(ours.safe_model_dump()))
    assert get_registry().get("akidb").create(**values) == ours
    with pytest.raises(ConfigurationError, match="colour"):
        get_registry().get("akidb").create(**values, colour="red")


def test_variables_of_the_registry_stay_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a folder that each machine has elsewhere."""
    registry = get_registry()
    monkeypatch.setattr(registry, "_variables", {})
    registry.set_var("model", str(PROMPTED))
    ours = registry.get("akidb").create(name="$var:model", query_prompt="$var:prompt:q: ")
    assert (ours.config.model_name, ours.config.query_prompt) == (str(PROMPTED), "q: ")
    kept = ours.safe_model_dump()
    assert (kept["model_name"], kept["query_prompt"]) == ("$var:model", "$var:prompt:q: ")
    assert registry.get("akidb").create(**kept) == ours
    registry.set_var("model", MINILM)
    with pytest.raises(ConfigurationError, match="another model now"):
        registry.get("akidb").create(**kept).ndims()


def test_a_variable_may_be_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = get_registry()
    monkeypatch.setattr(registry, "_variables", {"model": "./model", "adapter": "../adapter"})
    monkeypatch.chdir(tmp_path)
    copy_model("tiny-gemma3", tmp_path / "model")
    for settings in ({}, {"adapter": "$var:adapter"}):
        ours = registry.get("akidb").create(name="$var:model", **settings)
        theirs = registry.get("akidb").create(**ours.safe_model_dump())
        assert theirs == ours
        assert theirs.config.model_name == str(tmp_path / "model")
        assert theirs.config.adapter == (str(tmp_path.parent / "adapter") if settings else None)


@pytest.mark.parametrize("name", ["cache_dir", "cache_folder"])
def test_a_setting_of_the_machine_may_be_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept as one, and each program sets its own; a value that is none is not kept."""
    registry = get_registry()
    monkeypatch.setattr(registry, "_variables", {"cache": "/one"})
    ours = registry.get("akidb").create(name=MINILM, batch_size=3, **{name: "$var:cache"})
    kept = json.loads(json.dumps(ours.safe_model_dump()))
    assert (kept["cache_dir"], "batch_size" in kept) == ("$var:cache", False)
    registry.set_var("cache", "/other")
    theirs = registry.get("akidb").create(**kept)
    assert (theirs.config.cache_dir, theirs.config.batch_size) == ("/other", 32)
    assert theirs.safe_model_dump() == kept
    with pytest.raises(ConfigurationError, match="batch_size"):
        registry.get("akidb").create(**kept, batch_size=0)


def test_a_configuration_file_is_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings are kept with the table: a file that each machine has elsewhere would change nothing."""
    file = tmp_path / "settings.yaml"
    file.write_text("embedding: {max_tokens: 9}\n")
    monkeypatch.setattr(get_registry(), "_variables", {"file": str(file)})
    for value in ("$var:file", f"$var:other:{file}"):
        with pytest.raises(ConfigurationError, match=r"config_path is .*kept with the table"):
            get_registry().get("akidb").create(name=MINILM, config_path=value)
    assert get_registry().get("akidb").create(name=MINILM, config_path=str(file)).config.max_tokens == 9


def test_constructing_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(engine_table, "_load", fail)
    assert function(PROMPTED).safe_model_dump()["model_name"] == str(PROMPTED)
    assert function("qwen3-0.6b").safe_model_dump()["model_version"]  # is not on this machine


def test_copies_are_equal() -> None:
    ours = function(**SETTINGS)
    ours.compute_query_embeddings("used")
    evaluated = eval(repr(ours))
    for theirs in (copy.copy(ours), copy.deepcopy(ours), pickle.loads(pickle.dumps(ours)), evaluated):
        assert (theirs, hash(theirs), repr(theirs)) == (ours, hash(ours), repr(ours))
        assert theirs.safe_model_dump() == ours.safe_model_dump()
    assert ours != function()
    assert repr(function()) == "MLXEmbeddings(model_name='minilm-l6-v2')"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cpu"}, "AKIDB_BACKEND"),
        ({"trust_remote_code": True}, "never run"),
        ({"max_retries": 3}, "the same the next time"),
        ({"max_token": 3}, "Did you mean 'max_tokens'"),
        ({"model_name": "x"}, "the same argument"),
        ({"batch_size": 0}, "1 to 128"),
    ],
    ids=str,
)
def test_wrong_arguments_say_what_there_is(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        function(**settings)


def test_what_is_no_text_is_refused_at_once() -> None:
    """LanceDB itself would try again for minutes."""
    texts: Any = ["a", None, 7]
    with pytest.raises(InputError) as caught:
        function().compute_source_embeddings_with_retry(texts)
    assert (caught.value.field, caught.value.index) == ("texts", 2)
    with pytest.raises(InputError, match="type int"):
        function().compute_query_embeddings_with_retry(7)
