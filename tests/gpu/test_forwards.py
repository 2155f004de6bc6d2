"""Many forwards on a GPU: equal ones give equal bits, a thousand shapes no error, and a long text little memory."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute.backend import Backend
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.planner import MicroBatch
from bench.random_models import QWEN3, Recipe, write_model
from tests.conftest import eventually
from tests.fixtures import BUNDLED, model_path
from tests.golden.texts import QUERIES, TEXTS
from tests.gpu.device import STAND_IN

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]

FORWARDS = 4 if STAND_IN else 30
SHAPES = 20 if STAND_IN else 1000
LONG_TEXT = 512 if STAND_IN else 32768
LONG_TEXT_BYTES = 8e9


@pytest.fixture
def model(gpu: Backend) -> Iterator[MLXModel]:
    """The bundled model on this thread, so that a test chooses the shapes itself."""
    made = MLXModel(read_checkpoint(BUNDLED), gpu)
    yield made
    made.close()


def micro_batch(rows: int, length: int, generator: random.Random) -> MicroBatch:
    """Random tokens of the bundled model; the last row is as long as the micro-batch, the others are padded."""
    ids = np.array([[generator.randrange(1000, 30000) for _ in range(length)] for _ in range(rows)], dtype=np.int32)
    lengths = [generator.randint(1, length) for _ in range(rows - 1)] + [length]
    return MicroBatch(ids, np.array(lengths, dtype=np.int32), "mean")


def test_thirty_equal_forwards_give_equal_bits(gpu: Backend) -> None:
    texts = QUERIES if STAND_IN else [text for text in TEXTS if len(text) < 3000]
    with EmbeddingService(str(BUNDLED), warm_up=False) as service:
        first = service.encode(texts, alone=True).vectors
        for _ in range(FORWARDS - 1):
            np.testing.assert_array_equal(service.encode(texts, alone=True).vectors, first)


def test_a_thousand_shapes_are_no_error(model: MLXModel) -> None:
    """MLX keeps a plan and a graph for each, and raises an error where too many come anew."""
    generator = random.Random(3)
    shapes = [(rows, length) for length in range(3, 128) for rows in range(1, 9)]
    generator.shuffle(shapes)
    for rows, length in shapes[:SHAPES]:
        [vectors] = model.start([micro_batch(rows, length, generator)])()
        assert vectors.shape == (rows, 384)
        assert np.isfinite(vectors).all()


def test_micro_batches_that_are_started_ahead_give_their_own_vectors(model: MLXModel) -> None:
    generator = random.Random(4)
    batches = [micro_batch(1 + place % 5, 8 + 3 * place, generator) for place in range(8)]
    ahead = [finish()[0] for finish in [model.start([batch]) for batch in batches]]
    for batch, vectors in zip(batches, ahead, strict=True):
        np.testing.assert_array_equal(model.start([batch])()[0], vectors)


def test_warming_up_ends_and_reports_its_seconds() -> None:
    with EmbeddingService(str(model_path("tiny-bert")), warm_up=True) as service:
        vectors = service.embed(QUERIES)
        assert eventually(lambda: not service.statistics.warming_up, 300)
        assert service.statistics.warm_up_seconds > 0
        assert service.statistics.failures == 0
        np.testing.assert_allclose(service.embed(QUERIES), vectors, atol=1e-2)


def test_a_long_text_needs_little_memory(gpu: Backend, tmp_path: Path) -> None:
    """Beyond the weights: no array of L x L, whatever the attention."""
    config = QWEN3 if not STAND_IN else {**QWEN3, "num_hidden_layers": 1, "vocab_size": 20_000}
    write_model(tmp_path / "model", Recipe(config))
    with EmbeddingService(str(tmp_path / "model"), max_tokens=LONG_TEXT, warm_up=False) as service:
        service.embed(["short"])
        weights = mx.get_active_memory()
        mx.reset_peak_memory()
        result = service.encode(["word " * LONG_TEXT])
        used = mx.get_peak_memory() - weights
    assert result.token_counts == [LONG_TEXT]
    assert np.isfinite(result.vectors).all()
    assert used < LONG_TEXT_BYTES, f"{used / 1e9:.1f} GB"
