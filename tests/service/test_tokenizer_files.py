"""Vectors of folders whose tokenizer files are changed, against sentence-transformers'."""

from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from tests.fixtures import cosines, golden
from tests.golden.tokenizer_changes import changes
from tests.golden.tokenizer_folders import TEXTS, VECTOR_CASES, write_folder


@pytest.mark.parametrize("index", range(len(VECTOR_CASES)), ids=[f"{family}: {name}" for family, name in VECTOR_CASES])
def test_vectors_are_those_of_sentence_transformers(index: int, tmp_path: Path) -> None:
    family, name = VECTOR_CASES[index]
    folder = write_folder(tmp_path / "model", family, dict(changes(family))[name])
    expected = golden("tokenizer-vectors")
    texts = [TEXTS[row] for row in expected[f"rows_{index}"]]
    with EmbeddingService(str(folder)) as service:
        vectors = service.encode(texts, prompt="").vectors
    assert len(texts) > 14
    assert cosines(vectors, expected[f"vectors_{index}"]).min() >= 0.99999
