"""``llm akidb register``: which ids there are, what each stands for, and that it stays so."""

import json
import shutil
from pathlib import Path

import llm
import numpy as np
import pytest
from llm_akidb.commands import _OPTIONS, register
from llm_helpers import MINILM, PROMPTED, QUESTION, Run, vectors
from llm_helpers import llm_command as llm_command

from akidb_embeddings import EmbeddingConfig, EmbeddingService, close_shared_services
from akidb_embeddings.service.stored import DECIDING
from tests.fixtures import DATA, copy_model, edit_json

# LLM leaves the file of `llm embed-multi` to be closed by Python.
pytestmark = [pytest.mark.usefixtures("no_network"), pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")]


def ids(run: Run) -> list[str]:
    return [line.split()[1] for line in run("embed-models", "-q", "akidb").stdout.splitlines()]


def error(run: Run, *arguments: str | Path) -> str:
    """What a command that fails says, without a traceback."""
    message: str = run(*arguments, code=1).stderr
    assert message.startswith("Error: ")
    return message


def test_a_folder_gets_its_last_part_as_name(run: Run, tmp_path: Path) -> None:
    copy_model("tiny-gemma3", tmp_path / "mine")
    assert "akidb/mine" in run("akidb", "register", "./mine", "-a", "m").stderr
    assert set(ids(run)) == {f"akidb/{name}{side}" for name in (MINILM, "mine") for side in ("", "/query")}
    vector = json.loads(run("embed", "-m", "m", "-c", QUESTION).stdout)
    assert vector == json.loads(run("embed", "-m", "akidb/mine", "-c", QUESTION).stdout)


def test_settings_belong_to_a_name_of_their_own(run: Run) -> None:
    settings = ("--dimensions", "16", "--untrained-dimensions", "--no-normalize", "--document-prompt", "")
    assert "--dimensions, --document-prompt" in error(run, "akidb", "register", PROMPTED, *settings[:2], *settings[-2:])
    run("akidb", "register", PROMPTED, "--name", "short", *settings)
    vector = json.loads(run("embed", "-m", "akidb/short", "-c", QUESTION).stdout)
    expected = vectors([QUESTION], "", dimensions=16, untrained_dimensions=True, normalize=False)
    np.testing.assert_allclose(vector, expected[0], atol=1e-6)


def test_an_adapter_is_a_setting(run: Run) -> None:
    base, adapter = DATA / "models" / "tiny-bert", DATA / "adapters" / "tiny-bert-lora"
    assert "With --adapter, give another --name" in error(run, "akidb", "register", base, "--adapter", adapter)
    run("akidb", "register", base, "--name", "adapted", "--adapter", adapter)
    vector = json.loads(run("embed", "-m", "akidb/adapted", "-c", QUESTION).stdout)
    with EmbeddingService(base, config=EmbeddingConfig(), adapter=str(adapter)) as service:
        np.testing.assert_allclose(vector, service.embed_documents([QUESTION])[0], atol=1e-6)
    pinned = ("--name", "pinned", "--adapter", "someone/adapter", "--adapter-revision", "v1", "--lazy")
    run("akidb", "register", "someone/model", *pinned)
    entry = json.loads(Path("llm/akidb.json").read_text())["pinned"]
    assert (entry["adapter"], entry["adapter_revision"]) == ("someone/adapter", "v1")
    message = error(run, "akidb", "register", base, "--name", "x", "--adapter-revision", "v1")
    assert "--adapter-revision is 'v1', but there is no adapter" in message


def test_every_setting_that_decides_vectors_is_an_option() -> None:
    options = {option.name for option in register.params}
    assert set(DECIDING) - {"model_name"} <= options
    assert set(DECIDING) - {"model_name"} == _OPTIONS.keys()


def test_what_a_name_stands_for_stays(run: Run) -> None:
    run("akidb", "register", PROMPTED, "--name", "x")
    run("akidb", "register", PROMPTED, "--name", "x", "-a", "again")
    assert llm.get_embedding_model("again").model_id == "akidb/x"
    other = ("akidb", "register", PROMPTED, "--name", "x", "--max-tokens", "9")
    assert "llm akidb unregister x" in error(run, *other)
    run("akidb", "unregister", "akidb/x")
    assert len(ids(run)) == 2
    run(*other)


def test_the_bundled_model_keeps_its_name(run: Run) -> None:
    run("akidb", "register", MINILM, "-a", "small")
    assert llm.get_embedding_model("small").model_id == f"akidb/{MINILM}"
    assert not Path("llm/akidb.json").exists()
    run("akidb", "register", MINILM, "--name", "kept")  # with its version
    assert json.loads(Path("llm/akidb.json").read_text())["kept"]["model_version"]
    run("akidb", "unregister", "kept")
    assert "bundled" in error(run, "akidb", "register", PROMPTED, "--name", MINILM)
    assert "bundled" in error(run, "akidb", "register", MINILM, "--name", MINILM, "--max-tokens", "9")
    assert "not registered" in error(run, "akidb", "unregister", MINILM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch",), "Unknown model 'nosuch'"),
        (("./nosuch",), "No model folder"),
        ((MINILM, "--name", "x", "--max-tokens", "9999"), "--max-tokens is 9999"),
        ((MINILM, "--name", "x", "--dimensions", "64"), "--untrained-dimensions"),
        ((MINILM, "--name", "x", "--pooling", "best"), "--pooling is 'best'"),
        ((MINILM, "--name", "x/query"), "'/query'"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_not_registered(arguments: tuple[str, ...], message: str, run: Run) -> None:
    assert message in error(run, "akidb", "register", *arguments)
    assert len(ids(run)) == 2


def test_a_lazy_one_is_tried_when_it_is_used(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("embedding_config.yaml").write_text(json.dumps({"embedding": {"auto_download": False}}))
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").absolute()))
    run("akidb", "register", "someone/model", "--lazy")
    assert "akidb/someone/model: " in error(run, "embed", "-m", "akidb/someone/model/query", "-c", "x").replace(
        "/query", ""
    )


def test_a_folder_that_changed_is_an_error(run: Run, tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "mine")
    run("akidb", "register", folder)
    run("embed-multi", "facts", "facts.json", "-m", "akidb/mine")
    close_shared_services()
    edit_json(folder / "config.json", rope_theta=7.0)
    assert "another model now" in error(run, "similar", "facts", "-c", QUESTION)
    assert "other settings or files" in error(run, "akidb", "register", folder)
    close_shared_services()
    shutil.rmtree(folder)
    assert "No model folder" in error(run, "similar", "facts", "-c", QUESTION)


def test_a_configuration_file_changes_no_vectors(run: Run) -> None:
    run("akidb", "register", PROMPTED, "--name", "tiny")
    before = run("embed", "-m", "akidb/tiny", "-c", QUESTION).stdout
    settings = {"document_prompt": "x: ", "max_tokens": 3, "model_name": MINILM}
    Path("embedding_config.yaml").write_text(json.dumps({"embedding": settings}))
    assert run("embed", "-m", "akidb/tiny", "-c", QUESTION).stdout == before
    assert "tiny" in run("akidb", "register", PROMPTED, "--name", "tiny").stderr  # as before, and so no other


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'], ids=str)
def test_a_file_that_is_damaged_leaves_other_models_alone(content: str, run: Run, tmp_path: Path) -> None:
    run("embed-models")
    (tmp_path / "llm" / "akidb.json").write_text(content)
    result = run("embed", "-m", f"akidb/{MINILM}", "-c", "x")
    assert len(json.loads(result.stdout)) == 384
    assert "akidb.json" in result.stderr
    assert "Repair or remove it" in run("akidb", "register", PROMPTED, code=1).stderr
    assert (tmp_path / "llm" / "akidb.json").read_text() == content


def test_faulty_settings_of_one_model_leave_others_alone(run: Run, tmp_path: Path) -> None:
    run("akidb", "register", PROMPTED, "--name", "tiny")
    edit_json(tmp_path / "llm" / "akidb.json", bad={"model_name": MINILM, "colour": "red"})
    assert len(ids(run)) == 6
    run("embed", "-m", "akidb/tiny", "-c", "x")
    assert "colour" in error(run, "embed", "-m", "akidb/bad", "-c", "x")
