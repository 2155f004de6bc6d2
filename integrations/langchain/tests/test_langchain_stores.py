"""Vector stores over the adapter, and vectors from elsewhere among computed ones."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_fixtures import MINILM, PROMPTED, embeddings
from langchain_qdrant import QdrantVectorStore
from qdrant_client.models import PointStruct

from akidb_embeddings import close_shared_services
from akidb_embeddings.errors import InputError

teardown_module = close_shared_services

FACTS = [
    "The Nile is a river in Africa.",
    "Basalt is a volcanic rock.",
    "Bees make honey from nectar.",
    "A violin has four strings.",
]
QUESTION, ANSWER = "Which instrument is played with a bow?", FACTS[3]
models = pytest.mark.parametrize("model", [MINILM, PROMPTED], ids=["minilm", "prompts"])


# LangChain's own store


@pytest.mark.long
def test_a_store_in_memory_finds_the_nearest_text(tmp_path: Path) -> None:
    store = InMemoryVectorStore.from_texts(FACTS, embeddings(), metadatas=[{"place": i} for i in range(4)])
    [(document, score)] = store.similarity_search_with_score(QUESTION, k=1)
    assert (document.page_content, document.metadata) == (ANSWER, {"place": 3})
    assert score == pytest.approx(np.dot(embeddings().embed_query(QUESTION), embeddings().embed_documents([ANSWER])[0]))
    store.dump(str(tmp_path / "store.json"))
    loaded = InMemoryVectorStore.load(str(tmp_path / "store.json"), embeddings())
    assert loaded.similarity_search_with_score(QUESTION, k=4) == store.similarity_search_with_score(QUESTION, k=4)


async def test_a_store_in_memory_works_on_event_loops() -> None:
    store = await InMemoryVectorStore.afrom_texts(FACTS, embeddings())
    await store.aadd_documents([Document("Cheese is made of milk.")])
    [document] = await store.asimilarity_search("dairy", k=1)
    assert document.page_content == "Cheese is made of milk."
    retriever = store.as_retriever(search_kwargs={"k": 1})
    assert [document.page_content for document in await retriever.ainvoke(QUESTION)] == [ANSWER]
    assert [document.page_content for document in retriever.invoke(QUESTION)] == [ANSWER]


@models
def test_stores_hold_the_vectors_of_documents(model: str | Path) -> None:
    ours = embeddings(model)
    store = InMemoryVectorStore.from_texts(FACTS, ours)
    assert [entry["vector"] for entry in store.store.values()] == ours.embed_documents(FACTS)


# A store in a folder


@models
def test_a_store_in_a_folder_is_reopened(model: str | Path, tmp_path: Path) -> None:
    ours = embeddings(model)
    place: dict[str, Any] = {"path": str(tmp_path / "store"), "collection_name": "facts"}
    store = QdrantVectorStore.from_texts(FACTS, ours, ids=[1, 2, 3, 4], **place)
    scores = np.dot(ours.embed_documents(FACTS), ours.embed_query(QUESTION))
    expected = sorted(zip(FACTS, scores.tolist(), strict=True), key=lambda pair: -pair[1])
    first = _pairs(store.similarity_search_with_score(QUESTION, k=4))
    store.client.close()
    # Another object reopens it, as another program would.
    store = QdrantVectorStore.from_existing_collection(embedding=embeddings(model, batch_size=2), **place)
    again = _pairs(store.similarity_search_with_score(QUESTION, k=4))
    store.client.close()
    for found in (first, again):
        assert [text for text, _ in found] == [text for text, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-5)
    if model == MINILM:
        assert first[0][0] == ANSWER


async def test_a_store_in_a_folder_works_on_event_loops(tmp_path: Path) -> None:
    place: dict[str, Any] = {"path": str(tmp_path / "store"), "collection_name": "facts"}
    store = QdrantVectorStore.from_texts(FACTS, embeddings(), **place)
    await store.aadd_texts(["Cheese is made of milk."])
    for query, expected in ((QUESTION, ANSWER), ("dairy", "Cheese is made of milk.")):
        assert [document.page_content for document in await store.asimilarity_search(query, k=1)] == [expected]
    [(document, score)] = await store.asimilarity_search_with_score(ANSWER, k=1)
    assert document.page_content == ANSWER
    assert score == pytest.approx(1, abs=1e-5)
    store.client.close()


def test_a_store_of_another_dimension_is_refused(tmp_path: Path) -> None:
    place: dict[str, Any] = {"path": str(tmp_path / "store"), "collection_name": "facts"}
    QdrantVectorStore.from_texts(FACTS, embeddings(), **place).client.close()
    with pytest.raises(Exception, match=r"384(.|\n)*100") as error:
        QdrantVectorStore.from_existing_collection(
            embedding=embeddings(dimensions=100, untrained_dimensions=True), **place
        )
    assert type(error.value).__module__.startswith("langchain_qdrant")


def test_given_vectors_mix_with_computed_ones(tmp_path: Path) -> None:
    ours = embeddings()
    store = QdrantVectorStore.from_texts(FACTS[:2], ours, path=str(tmp_path / "store"), collection_name="facts")
    elsewhere = 7 * np.array(embeddings(batch_size=1).embed_documents(FACTS[2:]))  # of another length than 1
    points = [
        PointStruct(id=number, vector=vector, payload={"page_content": text, "metadata": {}})
        for number, (text, vector) in enumerate(zip(FACTS[2:], ours.validate(elsewhere, count=2), strict=True))
    ]
    store.client.upsert("facts", points)
    for fact in FACTS:
        [(document, score)] = store.similarity_search_with_score(fact, k=1)
        assert document.page_content == fact
        assert score == pytest.approx(1, abs=1e-5)
    store.client.close()


# Given vectors

FORMS: dict[str, Callable[[list[list[float]]], Any]] = {
    "lists": lambda vectors: vectors,
    "array": np.array,
    "float32": lambda vectors: np.array(vectors, dtype=np.float32),
    "tuples": lambda vectors: tuple(map(tuple, vectors)),
    "arrays": lambda vectors: [np.array(vector) for vector in vectors],
    "generator": iter,
    "texts": lambda vectors: json.loads(json.dumps(vectors)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_computed_vectors_are_valid(form: Callable[[list[list[float]]], Any]) -> None:
    vectors = embeddings().embed_documents(FACTS)
    valid = embeddings().validate(form(vectors))
    assert np.abs(np.array(valid) - vectors).max() < 1e-7
    raw = embeddings(normalize=False).embed_documents(FACTS)
    assert embeddings(normalize=False).validate(form(raw), count=4) == raw


def test_given_vectors_are_normalized_as_configured() -> None:
    given = np.arange(1, 385)[None, :] * [[1.0], [1e-9], [1e9]]
    lengths = np.linalg.norm(embeddings().validate(given), axis=1)
    assert lengths.tolist() == pytest.approx([1, 1, 1])
    assert embeddings(normalize=False).validate(given) == given.astype(np.float32).tolist()


def test_no_vectors_are_valid() -> None:
    assert embeddings().validate([]) == embeddings().validate([], count=0) == []


def _with(value: float) -> list[list[float]]:
    vectors = np.ones((3, 384))
    vectors[2, 5] = value
    rows: list[list[float]] = vectors.tolist()
    return rows


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[1.0] * 384, [1.0] * 768], "vectors[1] has shape (768,); this model's vectors have 384 numbers."),
        ([[1.0] * 384, [1.0] * 383], "vectors[1] has shape (383,); this model's vectors have 384 numbers."),
        (np.ones((2, 1024)), "vectors[0] has shape (1024,); this model's vectors have 384 numbers."),
        ([1.0] * 384, "vectors[0] has shape ()"),
        ([[]], "vectors[0] has shape (0,)"),
        (_with(float("nan")), "vectors[2] has NaN or infinity"),
        (_with(float("-inf")), "vectors[2] has NaN or infinity"),
        (_with(1e300), "vectors[2] has NaN or infinity"),
        ([[1.0] * 384, [0.0] * 384], "vectors[1] is zero"),
        ([[1e-300] * 384], "vectors[0] is zero"),
        (None, "vectors is None"),
        (5, "vectors is of type int"),
        ("vectors", "vectors is of type str"),
        ([None], "vectors[0]"),
        ([["1"] * 383 + ["x"]], "vectors[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("normalize", [True, False])
def test_vectors_that_do_not_fit_are_refused(vectors: Any, message: str, normalize: bool) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        embeddings(normalize=normalize).validate(vectors)


@pytest.mark.parametrize(("given", "wanted"), [(1, 2), (2, 1), (0, 1), (1, 0)])
def test_another_number_of_vectors_is_refused(given: int, wanted: int) -> None:
    with pytest.raises(InputError, match=rf"\b{given} vectors for {wanted} texts"):
        embeddings().validate(np.ones((given, 384)), count=wanted)


def test_cut_vectors_have_the_length_that_was_set() -> None:
    ours = embeddings(PROMPTED, dimensions=16, untrained_dimensions=True)
    assert np.shape(ours.validate(np.ones((2, 16)))) == (2, 16)
    with pytest.raises(InputError, match=r"\(48,\).*16"):
        ours.validate(embeddings(PROMPTED).embed_documents(FACTS))


def _pairs(found: list[tuple[Document, float]]) -> list[tuple[str, float]]:
    return [(document.page_content, score) for document, score in found]
