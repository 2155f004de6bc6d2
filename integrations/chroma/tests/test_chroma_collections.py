"""Collections in a folder: closed, opened by their names alone, and asked, with the right vectors or an error."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest
from chroma_akidb import MLXEmbeddingFunction
from chromadb.utils.embedding_functions import known_embedding_functions

from akidb_embeddings import EmbeddingConfig, EmbeddingService, close_shared_services
from akidb_embeddings.errors import ConfigurationError
from tests.conftest import run_python
from tests.fixtures import DATA, copy_model, edit_json

pytestmark = pytest.mark.usefixtures("no_network")

MINILM = "minilm-l6-v2"
PROMPTED = DATA / "models" / "tiny-gemma3"
QUERY, DOCUMENT = "task: search result | query: ", "title: none | text: "  # its prompts
FACTS = [
    "The Nile is a river in Africa.",
    "Basalt is a volcanic rock.",
    "Bees make honey from nectar.",
    "A violin has four strings.",
]
IDS = ["nile", "basalt", "bees", "violin"]
QUESTION = "Which instrument is played with a bow?"


@pytest.fixture(autouse=True)
def nothing_loaded_stays() -> Iterator[None]:
    yield
    close_shared_services()


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Any]:
    """A client on a folder, which is closed afterwards."""
    client: Any = chromadb.PersistentClient(folder / "index")
    try:
        yield client
    finally:
        client.close()


def fill(folder: Path, model: str | Path = PROMPTED, **settings: Any) -> None:
    function = MLXEmbeddingFunction(model, config=EmbeddingConfig(), **settings)
    with opened(folder) as client:
        client.create_collection("facts", embedding_function=function).add(ids=IDS, documents=FACTS)


def distances(collection: Any, question: str = QUESTION) -> dict[str, float]:
    found = collection.query(query_texts=[question], n_results=len(IDS))
    return dict(zip(found["ids"][0], found["distances"][0], strict=True))


def expected(model: str | Path, query_prompt: str, document_prompt: str) -> dict[str, float]:
    with EmbeddingService(model, config=EmbeddingConfig()) as reference:
        documents = reference.embed(FACTS, prompt=document_prompt)
        [query] = reference.embed([QUESTION], prompt=query_prompt)
    return dict(zip(IDS, 1 - np.asarray(documents) @ np.asarray(query), strict=True))


@pytest.mark.parametrize(
    ("model", "query_prompt", "document_prompt"),
    [(MINILM, "", ""), (PROMPTED, QUERY, DOCUMENT)],
    ids=["minilm", "prompts"],
)
def test_a_collection_is_opened_by_its_name_alone(
    model: str | Path, query_prompt: str, document_prompt: str, tmp_path: Path
) -> None:
    fill(tmp_path, model)
    close_shared_services()
    with opened(tmp_path) as client:
        collection = client.get_collection("facts")
        right = expected(model, query_prompt, document_prompt)
        assert distances(collection) == pytest.approx(right, abs=1e-5)
        assert collection.configuration["hnsw"]["space"] == "cosine"
        collection.upsert(ids=["nile"], documents=[FACTS[0]])  # with the same function
        assert distances(collection) == pytest.approx(right, abs=1e-5)


@pytest.mark.long
def test_other_programs_need_the_import_alone(tmp_path: Path) -> None:
    fill(tmp_path, MINILM, document_prompt="fact: ")
    program = """
import sys
import chromadb
import IMPORTED

collection = chromadb.PersistentClient(sys.argv[1]).get_collection("facts")
print(collection.query(query_texts=[sys.argv[2]], n_results=1)["ids"])
"""
    arguments = (str(tmp_path / "index"), QUESTION)
    assert run_python(program.replace("IMPORTED", "chroma_akidb"), *arguments) == "[['violin']]\n"
    with pytest.raises(AssertionError, match="Embedding function akidb not found"):
        run_python(program.replace("IMPORTED", "akidb_embeddings"), *arguments)


def test_without_the_import_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never a vector of Chroma's own model."""
    fill(tmp_path)
    monkeypatch.delitem(known_embedding_functions, "akidb")
    with opened(tmp_path) as client:
        collection = client.get_collection("facts")
        for use in (lambda: distances(collection), lambda: collection.add(ids=["x"], documents=["x"])):
            with pytest.raises(ValueError, match="Embedding function akidb not found"):
                use()


def test_a_folder_that_changed_is_an_error(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    fill(tmp_path, folder)
    close_shared_services()
    edit_json(folder / "config.json", rope_theta=7.0)
    with opened(tmp_path) as client:
        collection = client.get_collection("facts")
        for use in (lambda: distances(collection), lambda: collection.add(ids=["x"], documents=["x"])):
            with pytest.raises(ConfigurationError, match="another model now"):
                use()
        assert collection.count() == len(IDS)


def test_a_folder_that_moved_is_told_to_the_collection(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    fill(tmp_path, folder)
    close_shared_services()
    shutil.move(folder, tmp_path / "moved")
    with opened(tmp_path) as client:
        collection = client.get_collection("facts")
        function = MLXEmbeddingFunction(tmp_path / "moved", config=EmbeddingConfig())
        function.check(collection)
        collection.modify(configuration={"embedding_function": function})
    with opened(tmp_path) as client:
        assert distances(client.get_collection("facts")).keys() == set(IDS)


def test_queries_may_get_another_prompt(tmp_path: Path) -> None:
    fill(tmp_path)
    with opened(tmp_path) as client:
        collection = client.get_collection("facts")
        asked = MLXEmbeddingFunction(PROMPTED, config=EmbeddingConfig(), query_prompt="question: ")
        asked.check(collection)
        collection.modify(configuration={"embedding_function": asked})
    with opened(tmp_path) as client:
        right = expected(PROMPTED, "question: ", DOCUMENT)
        assert distances(client.get_collection("facts")) == pytest.approx(right, abs=1e-5)


@pytest.mark.parametrize("settings", [{"document_prompt": "x: "}, {"max_tokens": 5}, {"model_name": MINILM}], ids=str)
def test_a_function_with_other_documents_is_told_apart(settings: dict[str, Any], tmp_path: Path) -> None:
    """Chroma itself compares the names, which are equal, and has saved a change when it is refused."""
    fill(tmp_path)
    other = MLXEmbeddingFunction(config=EmbeddingConfig(model_name=str(PROMPTED)), **settings)
    with opened(tmp_path) as client:
        collection = client.get_or_create_collection("facts", embedding_function=other)
        with pytest.raises(ConfigurationError, match=next(iter(settings))):
            other.check(collection)
        with pytest.raises(ConfigurationError, match=next(iter(settings))):
            collection.modify(configuration={"embedding_function": other})


def test_a_collection_of_another_function_is_told_apart(tmp_path: Path) -> None:
    with opened(tmp_path) as client:
        ours = MLXEmbeddingFunction(PROMPTED, config=EmbeddingConfig())
        ours.check(client.create_collection("ours", embedding_function=ours))
        with pytest.raises(ConfigurationError, match="'default'"):
            ours.check(client.create_collection("theirs"))
        with pytest.raises(ConfigurationError, match="no function"):
            ours.check(client.create_collection("vectors", embedding_function=None))


def test_a_configuration_file_changes_no_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    settings = {"document_prompt": "x: ", "query_prompt": "y: ", "batch_size": 3}
    (tmp_path / "embedding_config.yaml").write_text(json.dumps({"embedding": settings}))
    monkeypatch.chdir(tmp_path)
    with opened(tmp_path) as client:
        collection = client.get_collection("facts")
        assert distances(collection) == pytest.approx(expected(PROMPTED, QUERY, DOCUMENT), abs=1e-5)
        assert collection.configuration["embedding_function"].config.batch_size == 3
