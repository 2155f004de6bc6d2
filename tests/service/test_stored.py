"""What a store keeps beside its vectors gives the same vectors elsewhere, or an error."""

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import MODELS, EmbeddingConfig
from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from akidb_embeddings.registry import BUNDLED as BUNDLED_NAME
from akidb_embeddings.service.shared import close_shared_services
from akidb_embeddings.service.stored import DECIDING, VERSION, StoredModel
from tests.conftest import service
from tests.fixtures import DATA, adapter_path, copy_model, edit_json, model_path
from tests.hub_fixtures import snapshot
from tests.hub_server import isolate

PINNED = next(spec for spec in MODELS.values() if spec.revision and not spec.bundled)
OTHERS: dict[str, Any] = {
    "pooling": "cls",
    "normalize": False,
    "dimensions": 64,
    "untrained_dimensions": True,
    "max_tokens": 48,
    "truncate": "error",
    "query_prompt": "query: ",
    "document_prompt": "passage: ",
}


@pytest.fixture(autouse=True)
def nothing_loaded_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    close_shared_services()


def stored(name: str | Path = BUNDLED_NAME, **values: Any) -> StoredModel:
    return StoredModel.of(EmbeddingConfig(model_name=str(name), **values))


def test_every_setting_is_stored_but_those_of_the_machine() -> None:
    machine = {"batch_size", "memory", "compute", "warm_up", "keep_warm", "max_queued_tokens", "auto_download"}
    assert set(FIELDS) - set(DECIDING) == machine | {"cache_dir"}
    assert set(stored().to_dict()) == {*DECIDING, VERSION}


@pytest.mark.parametrize(
    "settings",
    [{}, OTHERS, {"query_prompt_name": "STS", "document_prompt_name": "x"}, {"task": "Find duplicates"}],
    ids=["nothing", "most", "names", "task"],
)
def test_what_is_read_is_what_was_written(settings: dict[str, Any]) -> None:
    one = stored(**settings)
    assert StoredModel.read(json.loads(json.dumps(one.to_dict()))) == one
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({one, StoredModel.read(one.to_dict()), stored(max_tokens=7)}) == 2


def test_a_configuration_file_sets_the_machine_and_no_vectors(tmp_path: Path) -> None:
    one = stored(dimensions=64, untrained_dimensions=True)
    settings = {"max_tokens": 5, "task": "Find duplicates", "batch_size": 3, "cache_dir": "/models"}
    (tmp_path / "embedding_config.yaml").write_text(json.dumps({"embedding": settings}))
    again = StoredModel.read(one.to_dict())
    assert again.to_dict() == one.to_dict()
    assert (again.config.batch_size, again.config.cache_dir) == (3, "/models")


def test_a_setting_that_is_missing_has_its_default() -> None:
    """As in a store of a version of this package that did not have it yet."""
    values = {name: value for name, value in stored().to_dict().items() if name != "untrained_dimensions"}
    assert StoredModel.read(values) == stored()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"batch_size": 3}, "batch_size"),  # is none of a store's
        ({"model_name": None}, "model_name"),
        ({"dimensions": "many"}, "dimensions"),
        ({VERSION: 7}, VERSION),
    ],
)
def test_what_was_never_written_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StoredModel.read(stored().to_dict() | changes)
    assert caught.value.field == field


def test_vectors_are_those_of_the_settings() -> None:
    settings: dict[str, Any] = {"model_name": str(DATA / "models" / "tiny-gemma3"), "document_prompt": "passage: "}
    again = StoredModel.read(StoredModel.of(EmbeddingConfig(**settings)).to_dict())
    with service(**settings) as reference:
        expected = reference.embed_documents(["fox"])
    np.testing.assert_allclose(again.service().embed_documents(["fox"]), expected, atol=1e-6)


# Versions


def test_a_model_on_the_hub_has_the_revision_that_is_asked_for() -> None:
    assert stored(PINNED.name).version == PINNED.revision
    assert stored(PINNED.name, revision="v2").version == "v2"
    assert stored("someone/model").version is None


def test_another_revision_in_a_later_registry_is_an_error(tmp_path: Path) -> None:
    """Of a later version of this package, under the same name."""
    values = stored(BUNDLED_NAME).to_dict() | {VERSION: "0" * 20}
    with pytest.raises(ConfigurationError, match="another model now") as caught:
        StoredModel.read(values).service()
    assert caught.value.field == "model_name"


def test_a_folder_whose_files_change_is_an_error(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    one = stored(folder)
    assert len(one.service().embed_query("fox"))
    close_shared_services()
    edit_json(folder / "config.json", rope_theta=7.0)
    with pytest.raises(ConfigurationError, match="another model now"):
        StoredModel.read(one.to_dict()).service()
    assert stored(folder).service().dimension


def test_a_folder_is_the_same_one_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    one = stored("./model")
    assert one.config.model_name == str(folder)
    monkeypatch.chdir("/")
    assert StoredModel.read(one.to_dict()).service().dimension


def test_a_damaged_folder_is_an_error_at_once(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError):
        stored(folder)


# Adapters


def files_of(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files} | {"README.md": b""}


@pytest.fixture(params=["in a folder", "on the hub"])
def base(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of tiny-bert, for which there is an adapter."""
    folder = model_path("tiny-bert")
    if request.param == "in a folder":
        return str(folder)
    isolate(monkeypatch, tmp_path / "home")
    snapshot("org/bert", files_of(folder))
    monkeypatch.chdir(tmp_path)
    return "org/bert"


@pytest.mark.parametrize("revision", [None, "main"])
def test_an_adapter_folder_whose_files_change_is_an_error(base: str, revision: str | None, tmp_path: Path) -> None:
    adapter = copy_model(adapter_path("tiny-bert-lora"), tmp_path / "adapter")
    settings = {"revision": revision} if base == "org/bert" else {}
    one = stored(base, adapter="./adapter", **settings)
    assert one.config.adapter == str(adapter)
    again = StoredModel.read(one.to_dict())
    vector = again.service().embed_query("fox")
    assert stored(base, adapter="./adapter", **settings) == one, "the version stays when the model is loaded"
    edit_json(adapter / "adapter_config.json", lora_alpha=9)
    np.testing.assert_array_equal(again.service().embed_query("fox"), vector, "loaded weights stay in use")
    assert stored(base, adapter="./adapter", **settings) == one
    close_shared_services()
    with pytest.raises(ConfigurationError, match="another model now"):
        again.service()
    assert not np.array_equal(stored(base, adapter="./adapter", **settings).service().embed_query("fox"), vector)


def test_an_adapter_on_the_hub_leaves_the_version_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path / "home")
    snapshot("org/lora", files_of(adapter_path("tiny-bert-lora")))
    base = model_path("tiny-bert")
    one = stored(base, adapter="org/lora")
    assert one.service().dimension
    assert stored(base, adapter="org/lora").version == one.version == stored(base).version
    with pytest.raises(ConfigurationError) as caught:
        stored(base).check_change(one)
    assert caught.value.field == "adapter"


def test_a_folder_that_has_a_repositorys_name_is_an_error(tmp_path: Path) -> None:
    values = stored("org/name", adapter="org/lora").to_dict()
    copy_model("tiny-bert", tmp_path / "org" / "name")
    with pytest.raises(ConfigurationError, match=r"a repository, and here also the folder .*org/name") as caught:
        StoredModel.read(values)
    assert caught.value.field == "model_name"
    (tmp_path / "org" / "name").rename(tmp_path / "org" / "lora")
    with pytest.raises(ConfigurationError, match="here also the folder") as caught:
        StoredModel.read(values)
    assert caught.value.field == "adapter"


def test_an_adapters_folder_may_move(tmp_path: Path) -> None:
    adapter = copy_model(adapter_path("tiny-bert-lora"), tmp_path / "adapter")
    base = model_path("tiny-bert")
    before = stored(base, adapter=str(adapter))
    shutil.move(adapter, tmp_path / "elsewhere")
    before.check_change(stored(base, adapter=str(tmp_path / "elsewhere")))
    edit_json(tmp_path / "elsewhere" / "adapter_config.json", lora_alpha=9)
    with pytest.raises(ConfigurationError, match="Vectors of both cannot be compared"):
        before.check_change(stored(base, adapter=str(tmp_path / "elsewhere")))


# Changes


@pytest.mark.parametrize(
    "settings",
    [
        {"query_prompt": "query: "},
        {"task": "Find duplicates"},
        {"query_prompt_name": "STS"},
        {"truncate": "error"},
        {"batch_size": 3},
    ],
    ids=str,
)
def test_what_leaves_documents_alone_may_change(settings: dict[str, Any]) -> None:
    stored().check_change(stored(**settings))
    stored(**settings).check_change(stored())


@pytest.mark.parametrize(
    "name", [name for name in OTHERS if name not in ("truncate", "query_prompt", "untrained_dimensions")]
)
def test_what_changes_documents_may_not(name: str) -> None:
    settings = {name: OTHERS[name]} | ({"untrained_dimensions": True} if name == "dimensions" else {})
    for before, after in ((stored(), stored(**settings)), (stored(**settings), stored())):
        with pytest.raises(ConfigurationError, match="embed everything again") as caught:
            before.check_change(after)
        assert caught.value.field == name


def test_another_model_is_refused_and_a_folder_may_move(tmp_path: Path) -> None:
    folder = copy_model("tiny-gemma3", tmp_path / "model")
    before = stored(folder)
    shutil.move(folder, tmp_path / "elsewhere")
    before.check_change(stored(tmp_path / "elsewhere"))
    edit_json(tmp_path / "elsewhere" / "config.json", rope_theta=7.0)
    others = (stored(tmp_path / "elsewhere"), stored(), stored(PINNED.name))
    for other in others:
        with pytest.raises(ConfigurationError) as caught:
            before.check_change(other)
        assert caught.value.field == "model_name"


def test_one_revision_of_two_repositories_is_not_one_model() -> None:
    with pytest.raises(ConfigurationError, match="one/model"):
        stored("one/model", revision="main").check_change(stored("another/model", revision="main"))
    with pytest.raises(ConfigurationError, match="version v2"):
        stored("one/model", revision="main").check_change(stored("one/model", revision="v2"))
    stored("one/model").check_change(stored("one/model"))
