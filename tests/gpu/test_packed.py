"""Weights as stored, on a GPU: ``memory: compact``, and what does not fit otherwise."""

import pytest

from akidb_embeddings import EmbeddingService
from tests.fixtures import BUNDLED, cosines
from tests.golden.texts import QUERIES
from tests.gpu.test_goldens import CLOSE

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]


def test_vectors_in_compact_memory_are_the_same() -> None:
    """Weights as stored: of the bundled model, whose weights are quantized, on short texts."""
    with EmbeddingService(str(BUNDLED), memory="compact", warm_up=False) as compact:
        packed = compact.embed(QUERIES)
    with EmbeddingService(str(BUNDLED), warm_up=False) as service:
        assert cosines(service.embed(QUERIES), packed).min() >= CLOSE
