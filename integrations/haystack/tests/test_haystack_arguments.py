"""The components' arguments: settings, other classes' names, dictionaries, and the files of the distribution."""

import importlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from haystack_helpers import MODEL, Embedder
from haystack_helpers import no_settings as no_settings
from haystack_integrations.components.embedders.akidb import MLXDocumentEmbedder, MLXTextEmbedder
from haystack_integrations.components.embedders.akidb.arguments import MOVING

from akidb_embeddings import ArgumentError, ConfigurationError, EmbeddingConfig
from akidb_embeddings.config.embedding import FIELDS
from tests.conftest import REPOSITORY

ROOT = REPOSITORY / "integrations" / "haystack"
CLASSES = (MLXTextEmbedder, MLXDocumentEmbedder)
SETTINGS: dict[str, Any] = {
    "revision": "main",
    "adapter": "some/adapter",
    "adapter_revision": "v1",
    "pooling": "cls",
    "normalize": False,
    "dimensions": 64,
    "untrained_dimensions": True,
    "max_tokens": 48,
    "truncate": "error",
    "query_prompt": "q: ",
    "document_prompt": "d: ",
    "batch_size": 4,
    "memory": "compact",
    "compute": "strict",
    "warm_up": False,
    "keep_warm": 1.5,
    "max_queued_tokens": 1000,
    "auto_download": False,
    "cache_dir": "models",
}


@pytest.mark.parametrize("cls", CLASSES)
def test_every_setting_is_an_argument_and_survives_a_dictionary(cls: type[Embedder]) -> None:
    assert not set(FIELDS) - SETTINGS.keys() - {"model_name", "query_prompt_name", "document_prompt_name", "task"}
    embedder = cls("some/model", **SETTINGS)
    assert embedder.config == EmbeddingConfig(model_name="some/model", **SETTINGS)
    described = json.loads(json.dumps(embedder.to_dict()))
    assert described["type"] == f"{cls.__module__}.{cls.__name__}"
    assert cls.from_dict(described).config == embedder.config
    assert cls.from_dict(described).to_dict() == embedder.to_dict()


@pytest.mark.parametrize("cls", CLASSES)
def test_folders_are_absolute_in_a_dictionary(cls: type[Embedder], tmp_path: Path) -> None:
    """A pipeline is loaded elsewhere."""
    (tmp_path / "by-name").mkdir()
    for model in ("./model", "by-name"):
        parameters = cls(model, adapter="../adapter").to_dict()["init_parameters"]
        assert parameters["model"] == str(tmp_path / model)
        assert parameters["adapter"] == str(tmp_path.parent / "adapter")
    parameters = cls("some/model", adapter="some/adapter").to_dict()["init_parameters"]
    assert (parameters["model"], parameters["adapter"]) == ("some/model", "some/adapter")


def test_arguments_of_documents_survive_a_dictionary() -> None:
    given: dict[str, Any] = {"progress_bar": False, "meta_fields_to_embed": ["title"], "embedding_separator": " - "}
    parameters = MLXDocumentEmbedder.from_dict(MLXDocumentEmbedder(MODEL, **given).to_dict()).to_dict()
    assert given.items() <= parameters["init_parameters"].items()
    wrong: list[dict[str, Any]] = [{"meta_fields_to_embed": "title"}, {"embedding_separator": None}]
    for setting in wrong:
        [(name, value)] = setting.items()
        with pytest.raises(ConfigurationError, match=f"{name} is {value!r}"):
            MLXDocumentEmbedder(MODEL, **setting)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_file_counts_for_what_is_not_given(cls: type[Embedder]) -> None:
    """A dictionary that is complete gives the same vectors beside any file."""
    complete = cls(MODEL).to_dict()
    Path("embedding_config.yaml").write_text("embedding: {max_tokens: 10}\n")
    assert cls(MODEL).config.max_tokens == 10
    assert cls(MODEL, config=EmbeddingConfig()).config.max_tokens is None
    assert cls.from_dict(complete).config.max_tokens is None
    assert cls.from_dict({**complete, "init_parameters": {"model": MODEL}}).config.max_tokens == 10
    Path("other.yaml").write_text("embedding: {max_tokens: 20}\n")
    assert cls(MODEL, config_path="other.yaml").config.max_tokens == 20


@pytest.mark.parametrize("theirs", MOVING)
def test_every_argument_of_another_class_is_accepted_or_explained(theirs: str) -> None:
    cls = MLXTextEmbedder if "Text" in theirs else MLXDocumentEmbedder
    values = {"batch_size": 8, "progress_bar": False, "meta_fields_to_embed": [], "normalize_embeddings": True}
    for name, becomes in MOVING[theirs].items():
        given: dict[str, Any] = {name: values.get(name, 8 if name == "truncate_dim" else "x")}
        if " " in becomes and becomes != "the same":
            with pytest.raises(ConfigurationError, match=f"{name} .*not supported"):
                cls(**given)
        else:
            cls(**given)


@pytest.mark.parametrize("cls", CLASSES)
def test_what_is_wrong_is_refused(cls: type[Embedder]) -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'max_tokens'"):
        cls(MODEL, max_token=5)
    with pytest.raises(ConfigurationError, match="same argument"):
        cls(MODEL, prefix="a", query_prompt="b", document_prompt="b")
    with pytest.raises(ConfigurationError, match="dimensions"):
        cls(MODEL, truncate_dim=0)


def test_folders_that_are_shared_are_no_packages() -> None:
    """With an ``__init__.py``, other distributions' modules in that folder could not be imported."""
    packages = [file.parent.relative_to(ROOT).as_posix() for file in ROOT.glob("haystack_integrations/**/__init__.py")]
    assert packages == ["haystack_integrations/components/embedders/akidb"]
    module = importlib.import_module(packages[0].replace("/", "."))
    assert module.__all__ == sorted(cls.__name__ for cls in CLASSES)
    assert module.__file__
    assert (Path(module.__file__).parent / "py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["haystack_integrations"]
