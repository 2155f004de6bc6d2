"""What loads and leaves takes what was expected, and leaves nothing behind."""

import gc
import json
import subprocess
import sys

import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService, ModelPool
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.folder import tokenizer_bytes
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.engine.table import expected_weight_bytes
from akidb_embeddings.pool.opening import expected_bytes
from akidb_embeddings.registry import BUNDLED
from tests.conftest import REPOSITORY
from tests.fixtures import TINY, model_path


@pytest.mark.parametrize("memory", ["fast", "compact"])
@pytest.mark.parametrize("name", [BUNDLED, "all-minilm-l6-v2", *TINY])
def test_a_model_takes_what_its_files_say(name: str, memory: str) -> None:
    source = name if name == BUNDLED else str(model_path(name))
    # With an engine of its own, whatever else this process has loaded.
    config = EmbeddingConfig(model_name=source, memory=memory, compute="strict")
    gc.collect()  # what other tests have left is not freed meanwhile
    before = mx.get_active_memory()
    with EmbeddingService(config=config) as service:
        allocated = mx.get_active_memory() - before
        checkpoint = read_checkpoint(service.checkpoint.path)
        weights = service.memory_bytes - tokenizer_bytes(checkpoint.path)
        expected = expected_weight_bytes(service.checkpoint, memory)
        assert expected_bytes(config) == expected + tokenizer_bytes(service.checkpoint.path)
    # Each allocation is a multiple of a few bytes, and small ones are buffers of the forward pass.
    assert weights == pytest.approx(allocated, rel=0.1, abs=300_000)
    assert weights == pytest.approx(expected, rel=0.02, abs=20_000)


def test_a_forward_pass_adds_nothing_that_stays() -> None:
    with ModelPool({"m": EmbeddingConfig(model_name=BUNDLED)}) as pool, pool.use("m") as service:
        assert isinstance(service, EmbeddingService)
        before = service.memory_bytes
        service.embed(["light"] * 20)
        assert service.memory_bytes == before


@pytest.mark.long
def test_a_hundred_loads_and_unloads_leave_nothing() -> None:
    command = [sys.executable, "-m", "tests.pool.soak"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True, cwd=REPOSITORY)
    early, late = json.loads(done.stdout)
    assert late["rss"] < 1.05 * early["rss"], done.stdout
    assert late["files"] == early["files"], done.stdout
    assert late["threads"] == early["threads"], done.stdout
