"""What several test modules of this folder share."""

from pathlib import Path
from typing import Any

import pytest
from haystack import Document
from haystack_integrations.components.embedders.akidb import MLXDocumentEmbedder, MLXTextEmbedder

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from tests.fixtures import DATA

MODEL = "minilm-l6-v2"
PROMPTED = DATA / "models" / "tiny-gemma3"  # with another prompt for queries than for documents
TEXTS = ["The weather is lovely today.", "He drove to the stadium.", "über 東京 🦊", "", "two\nlines"]
Embedder = MLXDocumentEmbedder | MLXTextEmbedder


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration file is found, and the working directory is the test's own."""
    monkeypatch.delenv("AKIDB_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-such-folder"))
    monkeypatch.chdir(tmp_path)


def documents(texts: list[str] = TEXTS) -> list[Document]:
    """A document for each text."""
    return [Document(content=text) for text in texts]


def core(model: str | Path = MODEL, **settings: Any) -> EmbeddingService:
    """What the components are to agree with."""
    return EmbeddingService(model, config=EmbeddingConfig(), **settings)
