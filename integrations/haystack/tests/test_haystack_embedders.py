"""The components' vectors: those of the service, with the right prompt, of the right text."""

import asyncio
import copy
import pickle
import re
from typing import Any

import pytest
from haystack import Document
from haystack_helpers import MODEL, PROMPTED, TEXTS, core, documents
from haystack_helpers import no_settings as no_settings
from haystack_integrations.components.embedders.akidb import MLXDocumentEmbedder, MLXTextEmbedder

from akidb_embeddings import InputError, close_shared_services
from akidb_embeddings.engine import table as engine_table
from tests.fixtures import copy_model


def vectors(embedder: MLXDocumentEmbedder, given: list[Document]) -> list[list[float] | None]:
    """Those of ``run``, which ``run_async`` agrees with."""
    found = [one.embedding for one in embedder.run(given)["documents"]]
    assert [one.embedding for one in asyncio.run(embedder.run_async(given))["documents"]] == found
    return found


def vector(embedder: MLXTextEmbedder, text: str) -> list[float]:
    found: list[float] = embedder.run(text)["embedding"]
    assert asyncio.run(embedder.run_async(text))["embedding"] == found
    return found


def test_vectors_are_the_services() -> None:
    with core(PROMPTED) as service:
        expected = service.embed_documents(TEXTS).tolist()
        assert vectors(MLXDocumentEmbedder(PROMPTED, progress_bar=False), documents()) == expected
        assert vector(MLXTextEmbedder(PROMPTED), TEXTS[0]) == service.embed_query(TEXTS[0]).tolist() != expected[0]


@pytest.mark.parametrize("settings", [{"prefix": "p: "}, {"prefix": ""}, {"truncate_dim": 16}, {"normalize": False}])
def test_settings_by_haystacks_names_are_the_services(settings: dict[str, Any]) -> None:
    settings |= {"untrained_dimensions": True}
    names = {"prefix": ("query_prompt", "document_prompt"), "truncate_dim": ("dimensions",)}
    own = {field: value for name, value in settings.items() for field in names.get(name, (name,))}
    with core(PROMPTED, **own) as service:
        ours = MLXDocumentEmbedder(PROMPTED, progress_bar=False, **settings)
        assert vectors(ours, documents()) == service.embed_documents(TEXTS).tolist()
        assert vector(MLXTextEmbedder(PROMPTED, **settings), "fox") == service.embed_query("fox").tolist()


def test_meta_fields_stand_before_the_content() -> None:
    given = [
        Document(content="text", meta={"title": "A title", "page": 7, "none": None}),
        Document(content=None, meta={"title": "Alone"}),
        Document(content="text"),
    ]
    embedder = MLXDocumentEmbedder(
        PROMPTED, meta_fields_to_embed=["title", "none", "page"], embedding_separator=" | ", progress_bar=False
    )
    with core(PROMPTED) as service:
        expected = service.embed_documents(["A title | 7 | text", "Alone | ", "text"]).tolist()
    assert vectors(embedder, given) == expected


def test_documents_are_copies_in_their_order() -> None:
    given = [Document(content=text, meta={"n": n}, score=0.5) for n, text in enumerate(["one", "two", "one"])]
    found = MLXDocumentEmbedder(PROMPTED, progress_bar=False).run(given)["documents"]
    assert [one.meta["n"] for one in found] == [0, 1, 2]
    assert [one.id for one in found] == [one.id for one in given]
    assert [one.score for one in found] == [0.5] * 3
    assert all(one.embedding is None for one in given)
    assert all(one.embedding for one in found)
    assert MLXDocumentEmbedder(PROMPTED, progress_bar=False).run([]) == {"documents": []}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("text", "documents is of type str"),
        (None, "documents is of type NoneType"),
        (["text"], "documents[0] is of type str; a Document is expected. MLXTextEmbedder"),
        ([Document(content="fine"), 5], "documents[1] is of type int"),
    ],
)
def test_what_is_no_list_of_documents_is_refused(given: Any, message: str) -> None:
    embedder = MLXDocumentEmbedder(MODEL)
    with pytest.raises(InputError, match=re.escape(message)):
        embedder.run(given)
    with pytest.raises(InputError, match=re.escape(message)):
        asyncio.run(embedder.run_async(given))


@pytest.mark.parametrize("text", [None, 5, ["a list"], Document(content="x")])
def test_what_is_no_string_is_no_query(text: Any) -> None:
    with pytest.raises(InputError, match="A string is expected"):
        MLXTextEmbedder(MODEL).run(text)
    with pytest.raises(InputError, match="A string is expected"):
        asyncio.run(MLXTextEmbedder(MODEL).run_async(text))


def test_a_long_document_is_refused_by_its_number() -> None:
    embedder = MLXDocumentEmbedder(PROMPTED, max_tokens=40, truncate="error", progress_bar=False)
    with pytest.raises(InputError, match=re.escape("texts[1] has ")):
        embedder.run(documents(["short", "word " * 60]))


def test_the_model_loads_when_it_is_asked_for_and_is_shared(tmp_path: Any) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    before = set(engine_table._users)
    one, other = MLXDocumentEmbedder(model), MLXTextEmbedder(model)
    assert set(engine_table._users) == before
    one.warm_up()
    [engine] = set(engine_table._users) - before
    other.warm_up()
    asyncio.run(one.warm_up_async())
    asyncio.run(other.warm_up_async())
    assert set(engine_table._users) - before == {engine}
    assert engine_table._users[engine] == 1
    close_shared_services()


@pytest.mark.parametrize("how", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_give_the_same_vectors(how: Any) -> None:
    embedder = MLXDocumentEmbedder(PROMPTED, meta_fields_to_embed=["title"], progress_bar=False)
    other = how(embedder)
    assert other.config == embedder.config
    assert other.meta_fields_to_embed == ["title"]
    assert other.run(documents())["documents"] == embedder.run(documents())["documents"]


def test_a_progress_bar_counts_documents(capsys: pytest.CaptureFixture[str]) -> None:
    MLXDocumentEmbedder(PROMPTED).run(documents())
    assert f"{len(TEXTS)}/{len(TEXTS)}" in capsys.readouterr().err
    MLXDocumentEmbedder(PROMPTED, progress_bar=False).run(documents())
    assert capsys.readouterr().err == ""
