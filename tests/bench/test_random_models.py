"""Random models, shrunk: what is written is a model folder like any other."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from akidb_embeddings import EmbeddingService
from akidb_embeddings.config.embedding import EmbeddingConfig
from bench import random_models
from bench.models import choose_model
from bench.random_models import RECIPES, Recipe, random_model, write_model
from bench.texts import Texts, exact_tokenizer
from tests.fixtures import cosines

SMALL: dict[str, Any] = {
    "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64,
    "intermediate_size": 192, "vocab_size": 12_100,
}  # fmt: skip
TEXTS = ["short", "a text of some more words", "import this " * 100, "naïve 東京 🚀"]


def shrunk(name: str) -> Recipe:
    recipe = RECIPES[name]
    dense = ((128, 256), (256, 128)) if recipe.dense else ()
    return dataclasses.replace(recipe, config={**recipe.config, **SMALL}, dense=dense)


def kind_of(folder: Path) -> str:
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    return next(name for name, recipe in RECIPES.items() if recipe.config["model_type"] == kind)


@pytest.fixture(params=RECIPES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_model(tmp_path / "model", shrunk(request.param))
    return tmp_path / "model"


@pytest.mark.parametrize("memory", ["fast", "compact"])
def test_vectors_are_finite_and_of_length_one(folder: Path, memory: str) -> None:
    with EmbeddingService(str(folder), memory=memory) as service:
        vectors = service.embed(TEXTS)
        assert vectors.shape == (len(TEXTS), 128)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
        assert np.abs(vectors).max() < 0.9
        similar = vectors @ vectors.T
        assert np.abs(similar[~np.eye(len(TEXTS), dtype=bool)]).max() < 0.99
        assert cosines(service.embed(TEXTS[:1]), vectors[:1]).min() > 0.9999
        assert service.checkpoint.quantization == {"group_size": 64, "bits": 4}


def test_the_expanded_copy_has_the_same_vectors(folder: Path) -> None:
    """Dense layers, pooling and all: what other libraries read is what the bits stand for."""
    write_model(folder.parent / "plain", shrunk(kind_of(folder)), expanded=True)
    with EmbeddingService(str(folder)) as packed, EmbeddingService(str(folder.parent / "plain")) as plain:
        assert plain.checkpoint.quantization == {}
        assert (plain.settings.pooling, len(plain.checkpoint.dense)) == (
            packed.settings.pooling,
            len(packed.checkpoint.dense),
        )
        assert cosines(packed.embed(TEXTS), plain.embed(TEXTS)).min() > 0.99999


def test_texts_have_as_many_tokens_as_english_has(folder: Path) -> None:
    with EmbeddingService(str(folder)) as service:
        passages = Texts().passages(100)
        tokens = sum(exact_tokenizer(service.checkpoint).encode(passages).counts)
    assert 1.2 < tokens / sum(len(passage.split()) for passage in passages) < 1.6


def test_the_file_is_a_safetensors_file(folder: Path) -> None:
    with safe_open(folder / "model.safetensors", "np") as file:
        scales = file.get_tensor("model.embed_tokens.scales")
        weight = file.get_tensor("model.embed_tokens.weight")
        assert (weight.dtype, weight.shape, scales.dtype, scales.shape) == (
            "uint32",
            (12100, 16),
            "float16",
            (12100, 2),
        )
        assert len(np.unique(weight[:100])) > 1500


def test_the_same_seed_gives_the_same_model(folder: Path) -> None:
    write_model(folder.parent / "again", shrunk(kind_of(folder)))
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (folder.parent / "again" / file).read_bytes() == (folder / file).read_bytes()


def test_a_model_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_models, "RECIPES", {"tiny": shrunk("qwen3-0.6b-4bit")})
    made = random_model("tiny", tmp_path)
    stamp = (made / "model.safetensors").stat().st_mtime_ns
    assert random_model("tiny", tmp_path) == made
    assert (made / "model.safetensors").stat().st_mtime_ns == stamp
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(random_models, "_write_packed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_model(tmp_path / "model", shrunk("qwen3-0.6b-4bit"))
    assert list(tmp_path.iterdir()) == []


def test_dimensions_are_the_real_ones() -> None:
    """The published sizes: 595,776,512 and 307,581,696 parameters, of which 4.5 bits each are kept."""
    for name, published in (("qwen3-0.6b-4bit", 595_776_512), ("gemma-300m-4bit", 307_581_696)):
        count = 0
        for tensor in random_models._tensors(RECIPES[name]):
            parts = {kind: shape for part, kind, shape in tensor.parts if not part.endswith((".scales", ".biases"))}
            count += sum(int(np.prod(shape)) * (8 if kind == "uint32" else 1) for kind, shape in parts.items())
        assert count == published


def test_which_model_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("AKIDB_CONFIG", "XDG_CONFIG_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AKIDB_CACHE_DIR", str(tmp_path))
    assert choose_model(None).is_bundled
    assert choose_model("minilm-l6-v2").is_bundled
    assert choose_model(EmbeddingConfig.model_name).is_default
    monkeypatch.setattr("bench.models.RECIPES", {"qwen3-0.6b-4bit": None})
    monkeypatch.setattr("bench.models.random_model", lambda name, cache: tmp_path / name)
    assert choose_model("random:qwen3-0.6b-4bit").is_default
    with pytest.raises(pytest.UsageError, match=r"random models are random:qwen3-0\.6b-4bit"):
        choose_model("random:llama")
