"""``cache_namespace``: another one whenever vectors are others, and only then; and caches that are kept under it."""

import asyncio
import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from langchain_akidb import MLXEmbeddings
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.storage import InMemoryByteStore, LocalFileStore
from langchain_core.stores import ByteStore
from langchain_fixtures import MINILM, PROMPTED, embeddings

from akidb_embeddings import EmbeddingService, close_shared_services
from tests.fixtures import BUNDLED, DATA, edit_json

teardown_module = close_shared_services

TEXTS = ["the river", "a stone", "über 東京", ""]
DECISIVE: list[dict[str, Any]] = [
    {},
    {"pooling": "cls"},
    {"pooling": "last"},
    {"normalize": False},
    {"dimensions": 16, "untrained_dimensions": True},
    {"max_tokens": 9},
    {"query_prompt": ""},
    {"query_prompt": "title: none | text: "},
    {"query_prompt": "q: ", "document_prompt": "d: "},
    {"query_prompt": "d: ", "document_prompt": "q: "},
    {"query_prompt": "q: ", "document_prompt": "q: "},
    {"document_prompt": ""},
    {"document_prompt": "d: "},
    {"query_prompt_name": "STS"},
    {"document_prompt_name": "Clustering"},
    {"task": "fact checking"},
    {"truncate": "error"},
]


def test_what_decides_the_vectors_decides_the_namespace() -> None:
    names = [embeddings(PROMPTED, **settings).cache_namespace for settings in DECISIVE]
    names += [embeddings(DATA / "models" / model).cache_namespace for model in ("tiny-bert", "tiny-bert-cls")]
    names += [embeddings(**settings).cache_namespace for settings in ({}, {"max_tokens": 255}, {"pooling": "last"})]
    for one, other in itertools.combinations(names, 2):
        assert one != other
    for name in names:
        assert re.fullmatch(r"[\w.-]{1,100}", name)  # part of a file's name in LocalFileStore


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1},
        {"memory": "compact"},
        {"max_queued_tokens": 1},
        {"auto_download": False},
        {"cache_dir": "elsewhere"},
        {"show_progress": True},
        {"model": str(BUNDLED)},
        {"model": BUNDLED},
        {"pooling": "mean"},
        {"normalize": True},
        {"dimensions": 384},
        {"max_tokens": 256},
        {"truncate": "end"},
        {"query_prompt": ""},
        {"query_prompt": None, "document_prompt": ""},
        {"query_prompt_name": "document"},
        {"untrained_dimensions": True},
    ],
    ids=str,
)
def test_what_changes_no_vector_does_not_change_the_namespace(settings: dict[str, Any]) -> None:
    assert embeddings(**settings).cache_namespace == embeddings().cache_namespace


def test_prompts_given_as_the_models_own_do_not_change_the_namespace() -> None:
    given = embeddings(PROMPTED, query_prompt="task: search result | query: ", document_prompt="title: none | text: ")
    assert given.cache_namespace == embeddings(PROMPTED).cache_namespace


@pytest.mark.parametrize(
    "settings",
    [{"task": "search result"}, {"query_prompt_name": "Retrieval-query"}, {"document_prompt_name": "document"}],
)
def test_prompts_named_as_they_are_anyway_do_not_change_the_namespace(settings: dict[str, str]) -> None:
    assert embeddings(PROMPTED, **settings).cache_namespace == embeddings(PROMPTED).cache_namespace


def test_a_copy_of_a_folder_has_the_same_namespace(tmp_path: Path) -> None:
    shutil.copytree(PROMPTED, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("A note.")
    assert embeddings(tmp_path / "copy").cache_namespace == embeddings(PROMPTED).cache_namespace


def _change_weights(model: Path) -> None:
    weights = (model / "model.safetensors").read_bytes()
    (model / "new").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    (model / "new").replace(model / "model.safetensors")


def _change_prompts(model: Path) -> None:
    edit_json(
        model / "config_sentence_transformers.json", prompts={"query": "ask: ", "document": "title: none | text: "}
    )


@pytest.mark.parametrize("change", [_change_weights, _change_prompts])
def test_a_folder_that_changed_has_another_namespace_from_when_it_is_loaded(tmp_path: Path, change: Any) -> None:
    model = shutil.copytree(PROMPTED, tmp_path / "model")
    ours = embeddings(model)
    name, vector = ours.cache_namespace, ours.embed_query("fox")
    change(model)
    assert (ours.cache_namespace, ours.embed_query("fox")) == (name, vector)  # what is loaded stays in use
    assert (embeddings(model).cache_namespace, embeddings(model).embed_query("fox")) == (name, vector)
    close_shared_services()
    assert ours.cache_namespace != name
    assert ours.embed_query("fox") != vector
    assert ours.cache_namespace == embeddings(shutil.copytree(model, tmp_path / "copy")).cache_namespace


# Caches

Calls = list[list[str]]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The texts of each call that computes."""
    calls: Calls = []
    encode, aencode = EmbeddingService.encode, EmbeddingService.aencode

    def counted(self: EmbeddingService, texts: Any, **options: Any) -> Any:
        calls.append(list(texts))
        return encode(self, calls[-1], **options)

    async def acounted(self: EmbeddingService, texts: Any, **options: Any) -> Any:
        calls.append(list(texts))
        return await aencode(self, calls[-1], **options)

    monkeypatch.setattr(EmbeddingService, "encode", counted)
    monkeypatch.setattr(EmbeddingService, "aencode", acounted)
    return calls


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ByteStore:
    return InMemoryByteStore() if request.param == "memory" else LocalFileStore(tmp_path / "cache")


def cached(ours: MLXEmbeddings, store: ByteStore, **options: Any) -> CacheBackedEmbeddings:
    # Of the key encoders the default one warns: of SHA-1.
    return CacheBackedEmbeddings.from_bytes_store(
        ours, store, namespace=ours.cache_namespace, key_encoder="sha256", **options
    )


@pytest.mark.long
def test_what_was_computed_once_is_not_computed_again(store: ByteStore, computed: Calls) -> None:
    first = cached(embeddings(), store).embed_documents(TEXTS)
    assert computed == [TEXTS]
    close_shared_services()
    again = embeddings(str(BUNDLED), batch_size=3, show_progress=True)
    assert cached(again, store).embed_documents(TEXTS) == first
    assert asyncio.run(cached(again, store).aembed_documents(TEXTS[::-1])) == first[::-1]
    assert computed == [TEXTS]
    computed.clear()
    assert first == embeddings(str(BUNDLED)).embed_documents(TEXTS)  # to the last bit: a cache keeps them as text
    computed.clear()
    more = cached(again, store).embed_documents([TEXTS[1], "new", TEXTS[0]])
    assert computed == [["new"]]
    assert (more[0], more[2]) == (first[1], first[0])


def test_a_folder_is_a_cache_for_later_programs(tmp_path: Path, computed: Calls) -> None:
    first = cached(embeddings(), LocalFileStore(tmp_path)).embed_documents(TEXTS)
    computed.clear()
    assert cached(embeddings(), LocalFileStore(tmp_path)).embed_documents(TEXTS) == first
    assert computed == []


@pytest.mark.long
def test_models_and_settings_do_not_meet_in_a_cache(store: ByteStore, computed: Calls) -> None:
    variants = [embeddings(PROMPTED, **settings) for settings in DECISIVE]
    variants += [embeddings(), embeddings(DATA / "models" / "tiny-bert")]
    for variant in variants:
        cached(variant, store).embed_documents(TEXTS)
    assert computed == [TEXTS] * len(variants)
    for variant in variants:
        assert cached(variant, store).embed_documents(TEXTS) == variant.embed_documents(TEXTS)


def test_texts_that_are_too_long_are_refused_whatever_a_cache_holds(store: ByteStore) -> None:
    cached(embeddings(), store).embed_documents(["word " * 400])
    with pytest.raises(ValueError, match="402 tokens"):
        cached(embeddings(truncate="error"), store).embed_documents(["word " * 400])


@pytest.mark.parametrize("model", [MINILM, PROMPTED])
def test_queries_are_cached_in_a_store_of_their_own(model: str | Path, computed: Calls) -> None:
    ours = embeddings(model)
    expected = [ours.embed_query("fox"), *ours.embed_documents(["fox"])]
    computed.clear()
    caching = cached(ours, InMemoryByteStore(), query_embedding_cache=InMemoryByteStore())
    for _ in range(2):
        assert [*caching.embed_documents(["fox"]), caching.embed_query("fox")] == expected[::-1]
        assert asyncio.run(caching.aembed_query("fox")) == expected[0]
    assert computed == [["fox"]] * 2


def test_one_store_for_queries_and_documents_is_for_models_without_prompts() -> None:
    """LangChain's cache keys queries and documents alike: with prompts, whichever comes second gets a wrong vector."""
    alike = embeddings()
    caching = cached(alike, InMemoryByteStore(), query_embedding_cache=True)
    assert caching.embed_documents(["fox"]) == [alike.embed_query("fox")] == [caching.embed_query("fox")]

    unlike = embeddings(PROMPTED)
    caching = cached(unlike, InMemoryByteStore(), query_embedding_cache=True)
    [document] = caching.embed_documents(["fox"])
    assert caching.embed_query("fox") == document != unlike.embed_query("fox")
