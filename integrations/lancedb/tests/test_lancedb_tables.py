"""Tables in a folder: closed, opened by their names alone, and searched by text, with the right vectors or an error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pytest
from lancedb.embeddings import EmbeddingFunctionRegistry, get_registry
from lancedb.pydantic import LanceModel
from lancedb_akidb import MLXEmbeddings

from akidb_embeddings import EmbeddingConfig, EmbeddingService, close_shared_services
from akidb_embeddings.errors import ConfigurationError
from tests.conftest import run_python
from tests.fixtures import DATA, copy_model, edit_json

pytestmark = pytest.mark.usefixtures("no_network")

MINILM = "minilm-l6-v2"
PROMPTED = DATA / "models" / "tiny-gemma3"
STATIC = DATA / "models" / "tiny-static"  # refuses an empty text
QUERY, DOCUMENT = "task: search result | query: ", "title: none | text: "  # its prompts
FACTS = [
    "The Nile is a river in Africa.",
    "Basalt is a volcanic rock.",
    "Bees make honey from nectar.",
    "A violin has four strings.",
]
QUESTION = "Which instrument is played with a bow?"


@pytest.fixture(autouse=True)
def nothing_loaded_stays() -> Iterator[None]:
    yield
    close_shared_services()


def fill(folder: Path, model: str | Path = PROMPTED, **settings: Any) -> None:
    function: Any = MLXEmbeddings(name=str(model), config=EmbeddingConfig(), **settings)

    class Fact(LanceModel):
        text: str | None = function.SourceField()
        vector: list[float] = function.VectorField()

    table = lancedb.connect(folder).create_table("facts", schema=Fact)
    table.add([{"text": text} for text in FACTS])


def opened(folder: Path) -> Any:
    return lancedb.connect(folder).open_table("facts")


def distances(table: Any) -> dict[str, float]:
    found = table.search(QUESTION).distance_type("cosine").limit(len(FACTS)).to_list()
    return {row["text"]: row["_distance"] for row in found}


def expected(model: str | Path, query_prompt: str, document_prompt: str) -> dict[str, float]:
    with EmbeddingService(model, config=EmbeddingConfig()) as reference:
        documents = reference.embed(FACTS, prompt=document_prompt)
        [query] = reference.embed([QUESTION], prompt=query_prompt)
    return dict(zip(FACTS, 1 - np.asarray(documents) @ np.asarray(query), strict=True))


@pytest.mark.parametrize(
    ("model", "query_prompt", "document_prompt"),
    [(MINILM, "", ""), (PROMPTED, QUERY, DOCUMENT)],
    ids=["minilm", "prompts"],
)
def test_a_table_is_opened_by_its_name_alone(
    model: str | Path, query_prompt: str, document_prompt: str, tmp_path: Path
) -> None:
    fill(tmp_path, model)
    close_shared_services()
    table = opened(tmp_path)
    right = expected(model, query_prompt, document_prompt)
    assert distances(table) == pytest.approx(right, abs=1e-5)
    table.delete("text LIKE 'The Nile%'")
    table.add([{"text": FACTS[0]}])  # with the same function
    assert distances(table) == pytest.approx(right, abs=1e-5)


async def test_event_loops_find_the_same(tmp_path: Path) -> None:
    fill(tmp_path)
    table: Any = await (await lancedb.connect_async(tmp_path)).open_table("facts")
    found = await (await table.search(QUESTION)).distance_type("cosine").to_list()
    assert {row["text"]: row["_distance"] for row in found} == pytest.approx(distances(opened(tmp_path)), abs=1e-5)


@pytest.mark.long
def test_other_programs_need_the_import_alone(tmp_path: Path) -> None:
    fill(tmp_path, MINILM, document_prompt="fact: ")
    program = """
import sys
import lancedb
import IMPORTED

table = lancedb.connect(sys.argv[1]).open_table("facts")
print(table.search(sys.argv[2]).limit(1).to_list()[0]["text"])
"""
    arguments = (str(tmp_path), QUESTION)
    assert run_python(program.replace("IMPORTED", "lancedb_akidb"), *arguments) == f"{FACTS[3]}\n"
    with pytest.raises(AssertionError, match="KeyError: 'akidb'"):
        run_python(program.replace("IMPORTED", "akidb_embeddings"), *arguments)


def test_without_the_import_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And never a search for words in place of one by vectors."""
    fill(tmp_path)
    registry: Any = get_registry()
    assert isinstance(registry, EmbeddingFunctionRegistry)
    monkeypatch.delitem(registry._functions, "akidb")
    table = opened(tmp_path)
    for use in (lambda: distances(table), lambda: table.add([{"text": "x"}])):
        with pytest.raises(KeyError, match="akidb"):
            use()


def test_a_folder_that_changed_is_an_error(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    fill(tmp_path / "tables", folder)
    close_shared_services()
    edit_json(folder / "config.json", rope_theta=7.0)
    table = opened(tmp_path / "tables")
    with pytest.raises(ConfigurationError, match="another model now"):
        table.search(QUESTION)
    with pytest.raises(Exception, match="another model now"):  # of whichever type LanceDB makes of it
        table.add([{"text": "x"}])
    assert table.count_rows() == len(FACTS)


def test_a_configuration_file_changes_no_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    settings = {"document_prompt": "x: ", "query_prompt": "y: ", "batch_size": 3}
    (tmp_path / "embedding_config.yaml").write_text(json.dumps({"embedding": settings}))
    monkeypatch.chdir(tmp_path)
    table = opened(tmp_path)
    assert distances(table) == pytest.approx(expected(PROMPTED, QUERY, DOCUMENT), abs=1e-5)
    assert table.embedding_functions["vector"].function.config.batch_size == 3


def test_settings_of_a_file_are_kept_with_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LanceDB itself would keep no more than the arguments, and other programs would have other vectors."""
    file = tmp_path / "embedding_config.yaml"
    file.write_text(json.dumps({"embedding": {"model_name": str(PROMPTED), "document_prompt": "x: "}}))
    monkeypatch.chdir(tmp_path)
    function = get_registry().get("akidb").create()

    class Fact(LanceModel):
        text: str = function.SourceField()
        vector: list[float] = function.VectorField()

    lancedb.connect(tmp_path).create_table("facts", schema=Fact, data=[{"text": text} for text in FACTS])
    file.unlink()
    assert distances(opened(tmp_path)) == pytest.approx(expected(PROMPTED, QUERY, "x: "), abs=1e-5)


@pytest.mark.parametrize("model", [PROMPTED, STATIC], ids=["prompts", "static"])
def test_a_row_without_text_has_no_vector(model: Path, tmp_path: Path) -> None:
    fill(tmp_path, model)
    table = opened(tmp_path)
    table.add([{"text": None}, {"text": "A cello is larger."}], on_bad_vectors="null")
    assert [row["text"] for row in table.to_arrow().to_pylist() if row["vector"] is None] == [None]
    with pytest.raises(Exception, match="on_bad_vectors"):
        table.add([{"text": None}])
    assert table.count_rows() == len(FACTS) + 2


def test_a_table_with_a_variable_of_the_machine_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = get_registry()
    monkeypatch.setattr(registry, "_variables", {"cache": str(tmp_path / "cache")})
    function: Any = registry.get("akidb").create(name=str(PROMPTED), cache_dir="$var:cache")

    class Fact(LanceModel):
        text: str = function.SourceField()
        vector: list[float] = function.VectorField()

    lancedb.connect(tmp_path).create_table("facts", schema=Fact).add([{"text": text} for text in FACTS])
    registry.set_var("cache", str(tmp_path / "moved"))
    table = opened(tmp_path)
    assert distances(table) == pytest.approx(expected(PROMPTED, QUERY, DOCUMENT), abs=1e-5)
    assert table.embedding_functions["vector"].function.config.cache_dir == str(tmp_path / "moved")
