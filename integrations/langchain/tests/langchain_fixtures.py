"""What several of these modules need: embeddings that no configuration file of this machine changes, and vectors."""

from pathlib import Path
from typing import Any

from langchain_akidb import MLXEmbeddings

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from tests.conftest import LONG as LONG  # which also chooses the CPU, before anything is loaded
from tests.fixtures import DATA

MINILM = "minilm-l6-v2"
PROMPTED = DATA / "models" / "tiny-gemma3"  # with another prompt for queries than for documents


def embeddings(model: str | Path = MINILM, **arguments: Any) -> MLXEmbeddings:
    """The adapter with these arguments over the defaults."""
    return MLXEmbeddings(model, config=EmbeddingConfig(), **arguments)


def service(model: str | Path = MINILM, **settings: Any) -> EmbeddingService:
    """What the adapter is to agree with."""
    return EmbeddingService(model, config=EmbeddingConfig(), **settings)
