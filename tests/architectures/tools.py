"""What the tests of decoders through mlx-lm share: a model, texts of mixed lengths, and vectors of a model folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from akidb_embeddings import EmbeddingService
from tests.fixtures import Array, model_path
from tests.golden.texts import counted_text

LLAMA = model_path("tiny-llama")
MIXED = ["a", *(counted_text(n) for n in (3, 15, 16, 17, 40, 100)), "Mixed lengths, Ünïcode and more."]


def vectors(folder: Path, texts: Sequence[str], **options: Any) -> Array:
    with EmbeddingService(str(folder), **options) as service:
        return service.embed(texts)
