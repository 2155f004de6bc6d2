"""The promise: vectors are those of sentence-transformers, whatever the batch. Goldens: see ``golden/README.md``."""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from tests.conftest import REPOSITORY
from tests.fixtures import BUNDLED, TINY, cosines, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES, TEXTS, counted_text

LIMITS = {"tiny-bert": 2048, "tiny-bert-cls": 512, "tiny-qwen3": 4096, "tiny-gemma3": 2048, "tiny-gemma3-causal": 2048}


def service(name: str, **overrides: Any) -> EmbeddingService:
    if name in LIMITS:
        overrides.setdefault("max_tokens", LIMITS[name])
    return EmbeddingService(str(model_path(name)), **overrides)


@pytest.mark.parametrize("memory", ["fast", "compact"])
@pytest.mark.parametrize("name", [*TINY, "all-minilm-l6-v2"])
def test_vectors_are_those_of_sentence_transformers(name: str, memory: str) -> None:
    expected = golden(name)
    with service(name, memory=memory) as embedder:
        result = embedder.encode(TEXTS)
        queries, documents = embedder.embed_queries(QUERIES), embedder.embed_documents(DOCUMENTS)
    assert result.vectors.dtype == np.float32
    assert cosines(result.vectors, expected["texts"]).min() >= 0.99999
    assert cosines(queries, expected["queries"]).min() >= 0.99999
    assert cosines(documents, expected["documents"]).min() >= 0.99999
    np.testing.assert_allclose(result.vectors, expected["texts"], atol=1e-5)
    assert result.token_counts == expected["token_counts"].tolist()
    assert result.truncated == (expected["full_token_counts"] > expected["token_counts"]).tolist()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("name", ["tiny-bert", "tiny-qwen3", "tiny-gemma3-causal"])
def test_another_pooling_is_honoured(name: str, pooling: str) -> None:
    with service(name, pooling=pooling, normalize=False) as embedder:
        vectors = embedder.embed(TEXTS)
    expected = golden(name)[f"texts_{pooling}"]
    assert cosines(vectors, expected).min() >= 0.99999
    np.testing.assert_allclose(vectors, expected, atol=1e-5 * np.abs(expected).max())


def test_bundled_model_is_the_original_but_for_8_bits() -> None:
    with EmbeddingService(str(BUNDLED)) as embedder:
        vectors = embedder.embed(TEXTS)
    assert cosines(vectors, golden("all-minilm-l6-v2")["texts"]).min() >= 0.999


@pytest.mark.parametrize("name", [*TINY, "all-minilm-l6-v2"])
def test_neighbours_order_and_batch_size_do_not_matter(name: str) -> None:
    """Any text, with any neighbours, is embedded as it is alone: padded and not, far past the window and not."""
    generator = random.Random(7)
    texts = [text for text in TEXTS if len(text) < 3000] + [counted_text(1200)]
    with service(name) as embedder:
        alone = np.concatenate([embedder.embed([text]) for text in texts])
        assert cosines(embedder.embed(["a"] * 33), np.repeat(embedder.embed(["a"]), 33, 0)).min() >= 0.99999
    for batch_size in (1, 3, 128):
        with service(name, batch_size=batch_size) as embedder:
            chosen = [generator.randrange(len(texts)) for _ in range(50)]
            vectors = embedder.embed([texts[i] for i in chosen])
        assert cosines(vectors, alone[chosen]).min() >= 0.99999


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-qwen3", "tiny-gemma3"])
def test_dimensions_truncate_and_then_normalize(name: str) -> None:
    with service(name) as whole, service(name, dimensions=8) as short:
        vectors, expected = short.embed(QUERIES), whole.embed(QUERIES)[:, :8]
        assert short.dimension == 8
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


def test_the_machines_own_backend() -> None:
    """Metal or CUDA where there is one, in float16: the same vectors for every practical purpose."""
    code = (
        "import sys, numpy as np\n"
        "from akidb_embeddings import EmbeddingService\n"
        "from tests.golden.texts import QUERIES\n"
        "np.save(sys.argv[2], EmbeddingService(sys.argv[1]).embed(QUERIES))"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vectors.npy"
        environment = {**os.environ, "AKIDB_BACKEND": "auto"}
        subprocess.run([sys.executable, "-c", code, BUNDLED, file], check=True, env=environment, cwd=REPOSITORY)
        with EmbeddingService(str(BUNDLED)) as embedder:
            assert cosines(np.load(file), embedder.embed(QUERIES)).min() >= 0.9999
