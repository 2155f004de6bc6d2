"""What several of these modules need: embeddings that no file of this machine changes, their equals, a fake model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_akidb import MLXEmbeddings

from akidb_embeddings import (
    EmbeddingConfig,
    EmbeddingService,
    close_shared_rerankers,
    close_shared_services,
)
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.reranking import shared as rerankers
from akidb_embeddings.service import shared
from akidb_embeddings.service.sharing import SharedServices
from tests.conftest import LONG as LONG  # which also chooses the CPU, before anything is loaded
from tests.conftest import FakeModel, eventually, mlx_threads
from tests.fixtures import DATA

MINILM = "minilm-l6-v2"
TEXTS = ["the river", "", "a stone " * 40, "über 東京 🦊", "two\nlines", "the river", "word " * 3000, " "]
PROMPTED = DATA / "models" / "tiny-gemma3"  # with another prompt for queries than for documents


def embeddings(model: str | Path = MINILM, **arguments: Any) -> MLXEmbeddings:
    """The adapter with these arguments over the defaults."""
    return MLXEmbeddings(model, config=EmbeddingConfig(), **arguments)


def service(model: str | Path = MINILM, **settings: Any) -> EmbeddingService:
    """What the adapter is to agree with."""
    return EmbeddingService(model, config=EmbeddingConfig(), **settings)


@pytest.fixture(name="files")
def config_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with configurations of 10 tokens (here), 20 (AKIDB_CONFIG) and 30 (by path)."""
    for name, tokens in (("embedding_config.yaml", 10), ("environment.yaml", 20), ("path.yaml", 30)):
        content = {"max_tokens": tokens, "batch_size": 3}
        models = {"embedding": MINILM, "rerank": str(DATA / "models" / "tiny-bert-reranker")}
        sections = {section: {"model_name": model, **content} for section, model in models.items()}
        (tmp_path / name).write_text(json.dumps(sections))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing-here"))
    monkeypatch.delenv("AKIDB_CONFIG", raising=False)
    return tmp_path


@pytest.fixture(name="fake")
def fake_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    """In place of the weights that this test would load; what shares it ends with the test."""
    model, before = FakeModel(dimension=384), mlx_threads()
    monkeypatch.setattr(engine_table, "_load", lambda checkpoint, memory, compute: model)
    monkeypatch.setattr(engine_table, "_engines", {})
    monkeypatch.setattr(engine_table, "_users", {})
    for module in (shared, rerankers):
        monkeypatch.setattr(module, "_services", SharedServices())
    yield model
    model.release()
    close_shared_services()
    close_shared_rerankers()
    assert eventually(lambda: mlx_threads() <= before)
