"""Copies of MLXEmbedding are equal, give the same vectors, and take assignments of their own."""

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index_helpers import COPIES, DECIDING, FORMS, INCIDENTAL, MODEL, NAMED, TEXTS, Copy, count_texts
from llama_index_helpers import no_noise as no_noise
from llama_index_helpers import no_settings as no_settings

from akidb_embeddings import ConfigurationError, shared_service
from tests.fixtures import model_path

CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "max_tokens": {"max_tokens": 48},
    "max_tokens, as the model's": {"max_tokens": 256},
    "normalized": {"normalize": True},
    "as the model": {"max_tokens": None, "normalize": None},
    "empty prompts": {"query_prompt": "", "document_prompt": ""},
    "names of prompts": NAMED,
    "everything": DECIDING | INCIDENTAL,
}
OTHERWISE = """
embedding:
  model_name: nobody/nothing
  revision: abc
  pooling: last
  normalize: false
  dimensions: 16
  max_tokens: 4
  truncate: error
  query_prompt: "other: "
  document_prompt: "other: "
"""


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def embedding(request: pytest.FixtureRequest) -> MLXEmbedding:
    return MLXEmbedding(MODEL, **request.param)


def vectors(embedding: MLXEmbedding) -> list[Any]:
    return [embedding.get_query_embedding(TEXTS[0]), *embedding.get_text_embedding_batch(TEXTS)]


def assert_same(ours: Any, expected: Any) -> None:
    """Not to the last bit: serialized forms leave out what is the machine's, and that rounds otherwise."""
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


# Copies


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_is_equal_in_all(make: Copy, embedding: MLXEmbedding) -> None:
    other = make(embedding)
    assert type(other) is MLXEmbedding
    assert other is not embedding
    assert other == embedding
    assert other.config == embedding.config
    for name in INCIDENTAL:
        assert getattr(other, name) == getattr(embedding, name)
    assert other.to_dict() == embedding.to_dict()
    assert shared_service(other.config) is shared_service(embedding.config)


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_used_object_gives_the_same_vectors(make: Copy) -> None:
    embedding = MLXEmbedding(MODEL, **DECIDING)
    expected = vectors(embedding)
    other = make(embedding)
    assert vectors(other) == expected
    other.model_name = str(model_path("tiny-bert"))  # a copy is a thing of its own
    assert vectors(embedding) == expected


def test_a_copy_keeps_the_cache_it_had() -> None:
    store = SimpleKVStore()
    embedding = MLXEmbedding(MODEL, embeddings_cache=store)
    expected = embedding.get_text_embedding("a")
    store.put("a", {"vector": [1.0]}, collection="embeddings")
    assert copy.copy(embedding).embeddings_cache is store
    for make in COPIES.values():
        assert make(embedding).get_text_embedding("a") == [1.0]
    assert MLXEmbedding.from_dict(embedding.to_dict()).get_text_embedding("a") == expected


def test_a_copy_may_differ_in_named_fields() -> None:
    other = MLXEmbedding(MODEL, **DECIDING).model_copy(update={"dimensions": 32})
    assert other == MLXEmbedding(MODEL, **DECIDING | {"dimensions": 32})
    assert len(other.get_text_embedding("a")) == 32


@pytest.mark.parametrize("make", [*FORMS.values()], ids=[*FORMS])
def test_the_serialized_form_comes_back(make: Copy, embedding: MLXEmbedding) -> None:
    other = make(embedding)
    assert type(other) is MLXEmbedding
    assert other.to_dict() == embedding.to_dict()
    assert other.to_json() == embedding.to_json()
    assert {name: getattr(other, name) for name in DECIDING} == {name: getattr(embedding, name) for name in DECIDING}
    assert_same(vectors(other), vectors(embedding))


@pytest.mark.parametrize("make", [*COPIES.values(), *FORMS.values()], ids=[*COPIES, *FORMS])
def test_a_task_is_kept(make: Copy, tmp_path: Path) -> None:
    embedding = MLXEmbedding(model_path("tiny-qwen3"), task="Find the same.")
    (tmp_path / "embedding_config.yaml").write_text(OTHERWISE)
    other = make(embedding)
    assert (other, other.task) == (embedding, "Find the same.")
    assert vectors(other) == vectors(embedding)


def test_every_way_is_free_of_warnings() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for case in CASES.values():
            embedding = MLXEmbedding(MODEL, callback_manager=CallbackManager([]), **case)
            for make in [*COPIES.values(), *FORMS.values()]:
                make(embedding)
    assert [str(warning.message) for warning in caught] == []


def test_a_configuration_file_has_no_say_in_a_copy(embedding: MLXEmbedding, tmp_path: Path) -> None:
    form, expected = embedding.to_dict(), vectors(embedding)
    (tmp_path / "embedding_config.yaml").write_text(OTHERWISE)
    for name, make in (COPIES | FORMS).items():
        other = make(embedding)
        assert other.to_dict() == form, name
        assert {field: getattr(other, field) for field in DECIDING} == {field: form[field] for field in DECIDING}, name
        assert_same(other.get_query_embedding(TEXTS[0]), expected[0])
    assert_same(vectors(MLXEmbedding.from_dict(form)), expected)


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_needs_no_configuration_file(make: Copy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    embedding = MLXEmbedding(MODEL)
    monkeypatch.setenv("AKIDB_CONFIG", str(tmp_path / "gone.yaml"))
    assert make(embedding) == embedding


@pytest.mark.long
def test_what_a_configuration_file_said_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "embedding_config.yaml"
    file.write_text(f"embedding:\n  model_name: {MODEL}\n  max_tokens: 8\n  query_prompt: 'q: '\n  batch_size: 3\n")
    embedding = MLXEmbedding()
    expected = vectors(embedding)
    file.write_text(OTHERWISE)
    for make in [*COPIES.values(), *FORMS.values()]:
        assert make(embedding).max_tokens == 8
        assert_same(vectors(make(embedding)), expected)


# Equality


def test_equal_are_objects_of_equal_settings() -> None:
    embedding = MLXEmbedding(MODEL, **DECIDING)
    assert embedding == MLXEmbedding(MODEL, **DECIDING)
    assert embedding == MLXEmbedding(MODEL, callback_manager=CallbackManager([]), **DECIDING)
    assert embedding != embedding.to_dict()
    assert embedding != None  # noqa: E711
    for name, value in (DECIDING | INCIDENTAL | NAMED | {"task": "Find it"}).items():
        assert MLXEmbedding(MODEL, **{name: value}) != MLXEmbedding(MODEL), name


# Assignment


async def test_assigning_to_a_field_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = MLXEmbedding(MODEL)
    first = embedding.get_query_embedding("a")
    embedding.query_prompt = "query: "
    assert embedding.get_query_embedding("a") == MLXEmbedding(MODEL, query_prompt="query: ").get_query_embedding("a")
    assert embedding.get_query_embedding("a") != first
    embedding.model_name = str(model_path("tiny-bert"))
    assert len(embedding.get_query_embedding("a")) == len(await embedding.aget_text_embedding("a")) == 32
    assert embedding == MLXEmbedding(model_path("tiny-bert"), query_prompt="query: ")
    assert embedding.to_dict() == MLXEmbedding(model_path("tiny-bert"), query_prompt="query: ").to_dict()
    assert copy.deepcopy(embedding) == pickle.loads(pickle.dumps(embedding)) == embedding
    calls = count_texts(monkeypatch)
    embedding.embed_batch_size = 4
    embedding.get_text_embedding_batch(TEXTS)
    await embedding.aget_text_embedding_batch(TEXTS)
    assert calls == [4, 2, 4, 2]


def test_assigning_what_is_not_allowed_is_an_error() -> None:
    embedding = MLXEmbedding(MODEL)
    with pytest.raises(ValueError, match="query_promt"):
        setattr(embedding, "query_promt", "query: ")  # noqa: B010
    embedding.pooling = "max"
    with pytest.raises(ConfigurationError, match="pooling"):
        embedding.get_text_embedding("a")
