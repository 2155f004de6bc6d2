"""A model's files, whichever kind it is of."""

from pathlib import Path

import pytest

from akidb_embeddings.errors import ModelNotFoundError
from akidb_embeddings.hub.either import is_known_reranker, resolve_either
from akidb_embeddings.registry import BUNDLED, MODELS, RERANKERS
from tests.diagnostics.rerankers import known
from tests.fixtures import model_path
from tests.hub_fixtures import use_registry
from tests.hub_server import HubServer, isolate, tiny_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolate(monkeypatch, tmp_path / "home")


def test_the_registry_knows_the_kind_of_names_and_repositories() -> None:
    for spec in (*MODELS.values(), *RERANKERS.values()):
        assert is_known_reranker(spec.name) == is_known_reranker(spec.repo) == (spec.name in RERANKERS)
    assert not is_known_reranker("org/name")


def test_folders_bundled_models_and_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_either(str(model_path("tiny-bert-reranker"))).spec is None
    assert resolve_either(BUNDLED).spec == MODELS[BUNDLED]
    entry = known("tiny-bert-reranker")
    use_registry(monkeypatch, entry)
    with HubServer() as hub:
        hub.add("org/tiny", tiny_model())
        hub.add("org/other", tiny_model())
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ModelNotFoundError):
            resolve_either("tiny", auto_download=False)
        assert resolve_either("tiny").spec == resolve_either("org/tiny").spec == entry
        assert resolve_either("org/other").spec is None
        assert resolve_either("tiny", auto_download=False).origin == "cache"
