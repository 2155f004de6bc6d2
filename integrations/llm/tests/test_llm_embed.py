"""LLM's own commands with this plugin's models: the library's vectors, for documents and for queries."""

import contextlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import llm
import numpy as np
import pytest
import sqlite_utils
from llm_akidb import MLXEmbeddingModel
from llm_helpers import DOCUMENT, FACTS, MINILM, PROMPTED, QUERY, QUESTION, Run, scores, vectors
from llm_helpers import llm_command as llm_command

from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import ConfigurationError, InputError
from tests.conftest import run_python

# LLM leaves the file of `llm embed-multi` to be closed by Python.
pytestmark = [pytest.mark.usefixtures("no_network"), pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")]


@pytest.fixture(name="tiny")
def registered(run: Run) -> str:
    """The id of a model whose sides differ."""
    run("akidb", "register", PROMPTED, "--name", "tiny")
    return "akidb/tiny"


def test_llm_finds_the_plugin_by_its_entry_point() -> None:
    [entry] = [entry for entry in entry_points(group="llm") if entry.name == "akidb"]
    assert entry.value == "llm_akidb"


def test_the_bundled_model_is_listed_without_being_loaded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("weights are loaded")

    monkeypatch.setattr(engine_table, "_load", fail)
    lines = run("embed-models", "-q", "akidb").stdout.splitlines()
    assert lines == [f"MLXEmbeddingModel: akidb/{MINILM}", f"MLXEmbeddingModel: akidb/{MINILM}/query"]


def test_embed_prints_the_librarys_vector(run: Run) -> None:
    vector = json.loads(run("embed", "-m", f"akidb/{MINILM}", "-c", QUESTION).stdout)
    np.testing.assert_allclose(vector, vectors([QUESTION], "", MINILM)[0], atol=1e-6)


def test_each_id_gives_its_side(tiny: str, run: Run) -> None:
    for side, prompt in ((tiny, DOCUMENT), (f"{tiny}/query", QUERY)):
        vector = json.loads(run("embed", "-m", side, "-c", QUESTION).stdout)
        np.testing.assert_allclose(vector, vectors([QUESTION], prompt)[0], atol=1e-6)
    assert not np.allclose(vectors([QUESTION], DOCUMENT), vectors([QUESTION], QUERY), atol=1e-2)


@pytest.mark.parametrize("options", [(), ("--batch-size", "3")], ids=["batch", "batches"])
def test_collections_hold_documents(options: tuple[str, ...], tiny: str, run: Run) -> None:
    run("embed-multi", "facts", "facts.json", "-m", tiny, *options)
    documents = dict(zip(FACTS, vectors(list(FACTS.values()), DOCUMENT), strict=True))
    for command, prompt in ((("similar",), DOCUMENT), (("akidb", "similar"), QUERY)):
        found = scores(run, *command, "facts", "-c", QUESTION)
        [vector] = vectors([QUESTION], prompt)
        assert found == pytest.approx({name: float(documents[name] @ vector) for name in FACTS}, abs=1e-5)
    [nile, *_] = scores(run, "similar", "facts", "nile", "-n", "1").values()
    assert nile == pytest.approx(max(documents["nile"] @ documents[name] for name in FACTS if name != "nile"), abs=1e-5)


def test_searching_has_the_options_of_llm_similar(run: Run) -> None:
    """Of a model whose sides are the same, so that results are, too."""
    run("akidb", "register", PROMPTED, "--name", "even", "--query-prompt", DOCUMENT)
    run("embed-multi", "facts", "facts.json", "-m", "akidb/even", "--store", "-d", "my.db")
    run("embed", "facts", "new", "-c", "A cello is larger.", "--metadata", '{"a": 1}', "--store", "-d", "my.db")
    Path("question").write_text(QUESTION)
    for options in (
        ("-c", QUESTION),
        ("-i", "question"),
        ("-c", QUESTION, "-n", "2"),
        ("-c", QUESTION, "-p"),
        ("-c", QUESTION, "--prefix", "n"),
    ):
        ours, theirs = (
            run(*command, "facts", "-d", "my.db", *options) for command in (("akidb", "similar"), ("similar",))
        )
        assert ours.stdout == theirs.stdout != ""
    stdin = run("akidb", "similar", "facts", "-d", "my.db", "-i", "-", "-n", "1", input=QUESTION)
    assert stdin.stdout == run("similar", "facts", "-d", "my.db", "-c", QUESTION, "-n", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "x"), "There is no database"),
        (("-c", "x", "-d", "my.db"), "Collection 'facts' does not exist"),
        (("-d", "my.db"), "Must provide content"),
    ],
    ids=str,
)
def test_searching_nothing_says_so(arguments: tuple[str, ...], message: str, tiny: str, run: Run) -> None:
    run("embed-multi", "other", "facts.json", "-m", tiny, "-d", "my.db")
    assert message in run("akidb", "similar", "facts", *arguments, code=1).stderr


def test_collections_of_other_plugins_are_left_to_llm(tiny: str, run: Run, tmp_path: Path) -> None:
    run("embed-multi", "facts", "facts.json", "-m", tiny, "-d", "my.db")
    for model, message in (("3-small", "use `llm similar`"), ("akidb/gone", "Unknown model: akidb/gone")):
        with contextlib.closing(sqlite_utils.Database(tmp_path / "my.db")) as db:
            db.table("collections").update(1, {"model": model})
        assert message in run("akidb", "similar", "facts", "-c", "x", "-d", "my.db", code=1).stderr


# Python


def test_python_has_the_same_vectors(run: Run) -> None:
    model: Any = llm.get_embedding_model(f"akidb/{MINILM}")
    assert isinstance(model, MLXEmbeddingModel)
    assert (model.supports_text, model.supports_binary, model.batch_size) == (True, False, 2048)
    texts = [*FACTS.values(), ""]
    expected = vectors(texts, "", MINILM)
    np.testing.assert_allclose(list(model.embed_multi(texts)), expected, atol=1e-6)
    np.testing.assert_allclose(list(model.embed_multi(iter(texts), batch_size=2)), expected, atol=1e-6)
    np.testing.assert_allclose(list(model.queries.embed_multi(texts)), expected, atol=1e-6)
    assert model.queries.queries.model_id == f"akidb/{MINILM}/query"
    assert list(model.embed_multi([])) == []


def test_python_gets_the_librarys_errors(run: Run) -> None:
    model: Any = llm.get_embedding_model(f"akidb/{MINILM}")
    with pytest.raises(InputError, match="type int"):
        model.embed(7)
    with pytest.raises(ValueError, match="does not support binary"):
        model.embed(b"x")
    with pytest.raises(ConfigurationError, match="many"):
        MLXEmbeddingModel("x", {"model_name": MINILM, "dimensions": "many"}).embed("x")


@pytest.mark.long
def test_a_program_of_its_own_finds_the_plugin(run: Run) -> None:
    """Which loads plugins as the command does."""
    output = run_python("""
import sys
import llm.cli

sys.argv = ["llm", "embed", "-m", "akidb/minilm-l6-v2", "-c", "hello", "-f", "hex"]
llm.cli.cli()
""")
    np.testing.assert_allclose(llm.decode(bytes.fromhex(output)), vectors(["hello"], "", MINILM)[0], atol=1e-6)
