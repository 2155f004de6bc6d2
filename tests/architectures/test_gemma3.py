"""What is Gemma 3's own: the window's width, and which layers attend to all."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.architectures.gemma3 import layer_types, symmetric_reach
from akidb_embeddings.compute.backend import Backend, cpu, cuda, metal
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import CheckpointError
from tests.fixtures import cosines, edit_json, forward
from tests.random_models import GEMMA3, random_model


@pytest.mark.parametrize(("window", "reach"), [(512, 256), (257, 256), (64, 32), (33, 32), (129, 128)])
def test_window_width_or_already_halved(window: int, reach: int) -> None:
    assert symmetric_reach(window) == reach


@pytest.mark.parametrize("key", ["sliding_window_pattern", "_sliding_window_pattern"])
def test_layer_types_from_the_pattern(key: str) -> None:
    kinds = layer_types({key: 3}, 7)
    assert [index for index, kind in enumerate(kinds) if kind == "full_attention"] == [2, 5]


def test_embeddinggemma_attends_fully_in_every_sixth_layer() -> None:
    kinds = layer_types({}, 24)
    assert [index for index, kind in enumerate(kinds) if kind == "full_attention"] == [5, 11, 17, 23]
    assert layer_types({"layer_types": ["full_attention"], "sliding_window_pattern": 6}, 1) == ["full_attention"]


@pytest.mark.parametrize("is_bidirectional", [False, True])
def test_a_window_without_local_layers_hides_nothing(tmp_path: Path, is_bidirectional: bool) -> None:
    """As in harrier-270m: all layers are global, whether a window is given or not."""
    kinds = ["full_attention"] * 3
    config = {**GEMMA3, "layer_types": kinds, "use_bidirectional_attention": is_bidirectional}
    narrow = random_model(tmp_path / "narrow", config | {"sliding_window": 4})
    without = random_model(tmp_path / "without", config | {"sliding_window": None})
    pooling = "mean" if is_bidirectional else "last"
    texts = ["one short text", "and a longer one, " * 9]
    with (
        EmbeddingService(str(narrow), pooling=pooling) as one,
        EmbeddingService(str(without), pooling=pooling) as other,
    ):
        np.testing.assert_array_equal(one.embed(texts), other.embed(texts))


def test_local_layers_need_a_window(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model", GEMMA3 | {"sliding_window": 16})
    edit_json(folder / "config.json", sliding_window=None)
    with pytest.raises(CheckpointError, match="lacks 'sliding_window'"):
        EmbeddingService(str(folder), pooling="mean")


@pytest.mark.parametrize("is_bidirectional", [False, True])
@pytest.mark.parametrize("backend", [metal(mx.Device(mx.cpu)), cuda(mx.Device(mx.cpu))], ids=["metal", "cuda"])
def test_hidden_states_beyond_float16_are_computed_in_float16(
    tmp_path: Path, backend: Backend, is_bidirectional: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Hidden states of Gemma 3 reach 800,000: Unsloth's blog and its pull request 4014 about EmbeddingGemma."""
    folder = random_model(tmp_path / "model", GEMMA3 | {"use_bidirectional_attention": is_bidirectional})
    tensors = load_file(folder / "model.safetensors")
    raised = {name: values + 1e5 for name, values in tensors.items() if "post_" in name}
    save_file(tensors | raised, folder / "model.safetensors")
    pooling = "mean" if is_bidirectional else "last"
    texts = ["a", "one short text", "and a longer one, " * 9]
    vectors = forward(folder, backend, texts, pooling)
    assert cosines(vectors, forward(folder, cpu(), texts, pooling)).min() >= 0.9999
    assert not caplog.records, "it would say so if it had to use another dtype"
