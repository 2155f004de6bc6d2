"""Static models give the vectors of model2vec and of sentence-transformers; see ``golden/make_static.py``."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.errors import CheckpointError, ConfigurationError, InputError
from tests.fixtures import STATIC, Array, copy_model, cosines, edit_json, golden, model_path
from tests.golden.texts import STATIC_TEXTS

# None for as many tokens as all texts have: StaticEmbedding cuts none, where its tokenizer does not.
LIMITS = {"tiny-model2vec": 512, "tiny-model2vec-mapped": 40, "tiny-static": 100, "tiny-static-folder": 4300}
NORMALIZED = ("tiny-model2vec", "tiny-static")


def rows_with_tokens(name: str) -> list[int]:
    """The texts that have a token; the packages give the others a vector of zeros."""
    return [row for row, vector in enumerate(golden(name)["texts"]) if vector.any()]


def few(name: str, folder: Path | None = None, **settings: Any) -> tuple[Array, Array]:
    """Some vectors, and those that they should be."""
    rows = rows_with_tokens(name)[:12]
    settings.setdefault("max_tokens", LIMITS[name])
    with EmbeddingService(folder or model_path(name), normalize=name in NORMALIZED, **settings) as embedder:
        return embedder.embed([STATIC_TEXTS[row] for row in rows]), golden(name)["texts"][rows]


@pytest.mark.parametrize("memory", ["fast", "compact"])
@pytest.mark.parametrize("name", STATIC)
def test_vectors_are_those_of_the_authors_package(name: str, memory: str) -> None:
    rows = rows_with_tokens(name)
    with EmbeddingService(
        model_path(name), max_tokens=LIMITS[name], normalize=name in NORMALIZED, memory=memory
    ) as embedder:
        result = embedder.encode([STATIC_TEXTS[row] for row in rows])
        assert embedder.checkpoint.normalize == (name in NORMALIZED)
    expected = golden(name)["texts"][rows]
    assert cosines(result.vectors, expected).min() >= 0.99999
    np.testing.assert_allclose(result.vectors, expected, atol=1e-5)


@pytest.mark.parametrize("name", STATIC)
def test_a_text_without_tokens_is_an_error(name: str) -> None:
    """Also one of unknown tokens alone, which model2vec drops."""
    nothing = [text for row, text in enumerate(STATIC_TEXTS) if row not in rows_with_tokens(name)]
    assert len(nothing) >= 3
    with EmbeddingService(model_path(name)) as embedder:
        for text in nothing:
            with pytest.raises(InputError, match="which gives no tokens"):
                embedder.embed(["a text", text])


def test_what_is_cut_in_characters_is_told() -> None:
    """model2vec cuts before it counts, so that fewer tokens than the limit may be left."""
    spaced = "a" + " " * 3000 + "b"
    with EmbeddingService(model_path("tiny-model2vec")) as embedder:
        result = embedder.encode([spaced, "a", "a 猫 b", "a b"])
        assert embedder.settings.max_tokens == 512
        assert embedder.count_tokens([spaced, "a 猫 b"]) == [2, 2]
    assert result.truncated == [True, False, False, False]
    assert result.token_counts == [1, 1, 2, 2]  # those that are kept
    np.testing.assert_array_equal(result.vectors[0], result.vectors[1])
    np.testing.assert_array_equal(result.vectors[2], result.vectors[3])


def test_the_limits_are_the_authors() -> None:
    for name, limit in {"tiny-model2vec": 2**16, "tiny-model2vec-mapped": 40, "tiny-static": 100}.items():
        with EmbeddingService(model_path(name)) as embedder:
            assert embedder.checkpoint.max_tokens == limit
    with pytest.raises(ConfigurationError, match=r"the limit of .* is 100"):
        EmbeddingService(model_path("tiny-static"), max_tokens=101)


def test_files_of_transformers_tokenizers_have_no_say(tmp_path: Path) -> None:
    """model2vec and StaticEmbedding read tokenizer.json alone."""
    folder = copy_model("tiny-model2vec", tmp_path / "model")
    edit_json(
        folder / "tokenizer_config.json", do_lower_case=False, model_max_length=3, tokenizer_class="LlamaTokenizer"
    )
    edit_json(folder / "added_tokens.json", the=5000)
    found, expected = few("tiny-model2vec", folder)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model2vec_folder_without_modules(tmp_path: Path) -> None:
    folder = copy_model("tiny-model2vec", tmp_path / "model")
    (folder / "modules.json").unlink()
    found, expected = few("tiny-model2vec", folder)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_table_of_16_bits_is_summed_in_float32(tmp_path: Path) -> None:
    folder = copy_model("tiny-static", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.astype(np.float16) for name, tensor in tensors.items()}, folder / "model.safetensors")
    found, expected = few("tiny-static", folder)
    assert cosines(found, expected).min() >= 0.99999


def test_dense_layers_may_follow(tmp_path: Path) -> None:
    folder = copy_model("tiny-static", tmp_path / "model")
    shutil.copytree(model_path("tiny-gemma3") / "2_Dense", folder / "1_Dense")
    config, weights = folder / "1_Dense" / "config.json", folder / "1_Dense" / "model.safetensors"
    edit_json(config, in_features=16, out_features=4)
    [(key, matrix)] = load_file(weights).items()
    save_file({key: np.ascontiguousarray(matrix[:4, :16])}, weights)
    kinds = {"": "StaticEmbedding", "1_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    with EmbeddingService(folder, normalize=False) as embedder:
        vectors = embedder.embed(["a text"])
    with EmbeddingService(model_path("tiny-static"), normalize=False) as plain:
        np.testing.assert_allclose(vectors, plain.embed(["a text"]) @ matrix[:4, :16].T, atol=1e-5)


def test_another_pooling_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is 'cls'; this model2vec model allows mean"):
        EmbeddingService(model_path("tiny-model2vec"), pooling="cls")


def test_a_mapping_beyond_the_table(tmp_path: Path) -> None:
    folder = copy_model("tiny-model2vec-mapped", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["mapping"][7] = 50
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="mapping names rows that the table does not have; it has 50"):
        EmbeddingService(folder)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"embeddings": np.zeros((399, 16), np.float32)}, "has 400 tokens, and the model has vectors for 399"),
        ({"embeddings": np.zeros((400, 16), np.int8)}, "as I8"),
        ({"embeddings": np.zeros(400, np.float32)}, "has no table of vectors"),
        ({"table": np.zeros((400, 16), np.float32)}, "has no table of vectors"),
        (dict.fromkeys(("embeddings", "embedding.weight"), np.zeros((400, 16), np.float32)), "or more than one"),
        ({"embeddings": np.zeros((400, 16), np.float32), "other": np.zeros(1, np.float32)}, "does not use: other"),
        ({"embeddings": np.zeros((400, 16), np.float32), "weights": np.ones(3, np.float32)}, r"shape \(3,\)"),
        ({"embeddings": np.zeros((400, 16), np.float32), "mapping": np.zeros(400, np.float32)}, "as F32"),
    ],
)
def test_tables_that_do_not_fit(tensors: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = copy_model("tiny-model2vec", tmp_path / "model")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=words):
        EmbeddingService(folder)


@pytest.mark.parametrize("name", STATIC)
def test_fingerprints_cover_table_and_tokenizer(name: str, tmp_path: Path) -> None:
    folder = copy_model(name, tmp_path / "model")
    with EmbeddingService(model_path(name)) as first, EmbeddingService(folder) as same:
        assert first.fingerprint() == same.fingerprint()
        fingerprints = {first.fingerprint()}
    [tokenizer] = folder.rglob("tokenizer.json")
    tokenizer.write_text(tokenizer.read_text() + "\n")
    with EmbeddingService(folder) as other:
        fingerprints.add(other.fingerprint())
    assert len(fingerprints) == 2


def test_conversion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a static model"):
        convert(model_path("tiny-static"), tmp_path / "out", bits=4)
