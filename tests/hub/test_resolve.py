"""Finding models on this machine, by any name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from akidb_embeddings.errors import CheckpointError, ConfigurationError, ModelNotFoundError
from akidb_embeddings.hub import download, resolve
from akidb_embeddings.registry import MODELS, SPECS
from tests.hub_fixtures import own_home as own_home
from tests.hub_server import safetensors, tiny_model, write_files

KNOWN = "qwen3-0.6b-4bit"
BUNDLED = "minilm-l6-v2"


def test_an_unknown_name_is_met_with_three_near_ones_and_not_with_all() -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        resolve.find_model("MiniLM-L6-v3")
    message = str(caught.value)
    assert sum(f"'{name}'" in message for name in SPECS) == 3
    assert message.startswith("Unknown model 'MiniLM-L6-v3'. Did you mean 'minilm-l6-v2' (bundled, works offline), ")
    assert "`akidb-embed models` lists all" in message
    assert "org/name" in message
    assert "folder" in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("some text " * 100, "Unknown model 'some text some text .*… \\(1,000 characters"),
        ("x" * 5000, "Unknown model 'xxx.*… \\(5,000 characters"),
        ("minilm-l6-v2" * 100_000, "Unknown model 'minilm.*… \\(1,200,000 characters"),
        ("some text / " * 100, "No model folder at "),
        ("~/" + "x" * 5000, "No model folder at "),
        (f"{'o' * 300}/name", "No model folder at "),
        (f"org/{'n' * 300}", "No model folder at "),
        ("null \0", "Unknown model"),
    ],
)
def test_a_name_that_no_file_can_have_is_unknown(name: str, message: str) -> None:
    for function in (resolve.find_model, download.resolve_model):
        with pytest.raises(ModelNotFoundError, match=message) as caught:
            function(name)
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize("name", [name.upper() for name in SPECS] + [spec.repo.upper() for spec in SPECS.values()])
def test_a_known_name_with_other_capitals_is_refused_and_named(name: str) -> None:
    """It would be cached again, and a repository be computed without what the registry says, such as its prompts."""
    with pytest.raises(ModelNotFoundError, match="Unknown model") as caught:
        resolve.find_model(name)
    known = [spec for spec in SPECS.values() if name in (spec.name.upper(), spec.repo.upper())]
    assert any(f"'{spec.name}'" in str(caught.value) for spec in known)
    assert "/" not in name or f"'{known[0].repo}'" in str(caught.value)


@pytest.mark.parametrize("function", [download.find_download, download.resolve_model, download.get_model_info])
def test_who_downloads_refuses_other_capitals_too(function: Callable[[str], object]) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean 'gemma-300m'"):
        function("GEMMA-300M")


def test_a_folder_whose_name_differs_in_capitals_is_a_folder(home: Path) -> None:
    folder = write_files(home / "All-MiniLM-L6-v2", tiny_model())
    found = resolve.find_model("All-MiniLM-L6-v2")
    assert found is not None
    assert (found.path, found.origin) == (folder, "folder")


@pytest.mark.parametrize("name", ["", "nothing-like-it", "a b", "org--x"])
def test_what_is_neither_known_nor_a_folder_nor_a_repository_is_an_error(name: str) -> None:
    for function in (resolve.find_model, download.download_model, download.resolve_model, download.get_model_info):
        with pytest.raises(ModelNotFoundError, match="Unknown model"):
            function(name)
    assert not download.is_model_cached(name)


@pytest.mark.parametrize(
    "name", ["./model", "~/model", "a/b/model", "/model", "../../x", "~nobody-of-this-name", "org/na..me", "org/a--b"]
)
def test_a_path_that_leads_nowhere_is_named_in_full(name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        resolve.find_model(name)
    assert os.path.expanduser(name).removeprefix("./") in str(caught.value)
    assert str(Path.home().anchor) in str(caught.value)


# Folders


@pytest.mark.parametrize("name", ["./model", "~/model", "model", "{home}/model", "org/model"])
def test_a_folder_is_found_by_any_path(home: Path, name: str) -> None:
    name = name.format(home=home)
    folder = write_files(home / ("org/model" if name.startswith("org") else "model"), tiny_model())
    files = download.resolve_model(name)
    assert (files.path, files.origin, files.spec, files.revision) == (folder, "folder", None, None)
    assert download.download_model(name, force=True) == files
    assert download.get_model_info(name).size_on_disk == sum(map(len, tiny_model().values()))


def test_a_registry_name_is_not_a_folder(home: Path) -> None:
    write_files(home / KNOWN, tiny_model())
    assert resolve.find_model(KNOWN) is None


def test_a_folder_that_lacks_files_says_which(home: Path) -> None:
    write_files(home / "model", {"config.json": b"{}", "model.safetensors": safetensors()})
    with pytest.raises(CheckpointError, match=r"tokenizer\.json; give the folder that has them, or copy it again"):
        resolve.find_model("./model")
    assert not download.is_model_cached("./model")


def test_a_truncated_weight_file_in_a_folder_is_named(home: Path) -> None:
    write_files(home / "model", tiny_model(**{"model.safetensors": safetensors()[:-1]}))
    with pytest.raises(CheckpointError, match=r"model/model\.safetensors is damaged.*copy it again"):
        resolve.find_model("./model")


def test_a_folder_has_no_revisions(home: Path) -> None:
    write_files(home / "model", tiny_model())
    with pytest.raises(
        ConfigurationError, match=r"revision is 'main', but .*model is a folder, which has no revisions; leave it out"
    ):
        resolve.find_model("./model", revision="main")


# The bundle


def test_a_revision_or_the_repository_is_not_the_bundle() -> None:
    write_files(resolve.BUNDLE_ROOT / BUNDLED, tiny_model())
    assert resolve.find_model(BUNDLED, revision="main") is None
    assert resolve.find_model(MODELS[BUNDLED].repo) is None


def test_a_damaged_bundle_asks_for_a_new_installation() -> None:
    write_files(resolve.BUNDLE_ROOT / BUNDLED, tiny_model(**{"model.safetensors": b""}))
    with pytest.raises(CheckpointError, match="reinstall"):
        resolve.find_model(BUNDLED)
