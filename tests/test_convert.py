"""Conversion: the layout, what is quantized, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.convert import convert
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from tests.fixtures import cosines, golden, model_path
from tests.golden.texts import TEXTS
from tests.random_models import QWEN3, random_model

SHORT = [index for index, text in enumerate(TEXTS) if len(text) < 1500]


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-qwen3", "tiny-gemma3"])
def test_without_quantization_the_vectors_stay(tmp_path: Path, name: str) -> None:
    convert(model_path(name), tmp_path / "out")
    with EmbeddingService(str(tmp_path / "out")) as service:
        result = service.encode([TEXTS[index] for index in SHORT])
        prompts = service.settings.prompts
    assert cosines(result.vectors, golden(name)["texts"][SHORT]).min() >= 0.99999
    with EmbeddingService(str(model_path(name))) as service:
        assert prompts == service.settings.prompts


def test_layout_of_mlx_community(tmp_path: Path) -> None:
    result = convert(model_path("tiny-qwen3"), tmp_path / "out", bits=4, group_size=32)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization"] == config["quantization_config"] == {"group_size": 32, "bits": 4}
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert all(name.startswith("model.") for name in tensors)
    assert tensors["model.layers.0.self_attn.q_proj.weight"].dtype == np.uint32
    assert "model.embed_tokens.scales" in tensors
    assert "model.norm.scales" not in tensors
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"tokenizer.json", "modules.json", "1_Pooling"}
    assert result.quantized == sum(name.endswith(".scales") for name in tensors)
    assert result.size_bytes == (tmp_path / "out" / "model.safetensors").stat().st_size


def test_unused_heads_are_left_out(tmp_path: Path) -> None:
    convert(model_path("tiny-bert"), tmp_path / "out")
    assert not [name for name in load_file(tmp_path / "out" / "model.safetensors") if name.startswith("pooler")]


@pytest.mark.parametrize(
    ("bits", "group_size", "message"), [(5, 48, "group_size is 48"), (7, 64, "bits is 7"), (1, 64, "bits is 1")]
)
def test_values_that_are_not_allowed(tmp_path: Path, bits: int, group_size: int, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        convert(model_path("tiny-bert"), tmp_path / "out", bits=bits, group_size=group_size)


def test_an_existing_destination_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(ConfigurationError, match="exists already"):
        convert(model_path("tiny-bert"), tmp_path)
    assert (tmp_path / "precious").read_text() == "data"


def test_a_quantized_source_is_refused(tmp_path: Path) -> None:
    random_model(tmp_path / "model", QWEN3)
    convert(tmp_path / "model", tmp_path / "once", bits=4, group_size=32)
    with pytest.raises(CheckpointError, match="quantized already"):
        convert(tmp_path / "once", tmp_path / "twice", bits=8)


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="divisible by group_size 128"):
        convert(model_path("tiny-gemma3"), tmp_path / "out", bits=4, group_size=128)
    assert list(tmp_path.iterdir()) == []
