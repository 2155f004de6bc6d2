"""The promise: vectors are those of sentence-transformers, whatever the batch. Goldens: see ``golden/README.md``."""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import InputError
from tests.conftest import REPOSITORY
from tests.fixtures import BUNDLED, TINY, copy_model, cosines, golden, model_path
from tests.golden.texts import DOCUMENTS, PADDING_TEXTS, QUERIES, TEXTS, counted_text

LIMITS = {
    "tiny-bert": 2048,
    "tiny-bert-cls": 512,
    "tiny-qwen3": 4096,
    "tiny-gemma3": 2048,
    "tiny-gemma3-causal": 2048,
    "tiny-xlm-roberta": 512,
    "tiny-modernbert": 1024,
    "tiny-nomic-bert": 1024,
    "tiny-mpnet": 512,
    "tiny-roberta": 512,
    "tiny-distilbert": 512,
    "tiny-gte": 1024,
    "tiny-arctic": 1024,
    "tiny-stella": 512,
    "tiny-jina": 1024,
    "tiny-jina-code": 1024,
    "tiny-nomic-moe": 512,
    "tiny-mmbert": 1024,
    "tiny-granite": 1024,
    "tiny-pplx": 1024,
    "tiny-eurobert": 512,
    "tiny-llama-bidirec": 512,
    "tiny-voyage": 512,
    "tiny-qwen2-bidirec": 512,
    "tiny-lfm2": 512,
    "tiny-ministral3": 512,
    "tiny-llama": 1024,
}
# What the authors' masked language models have before and beside the names of the encoder.
LANGUAGE_MODELS = {
    "tiny-xlm-roberta": ("roberta.", "lm_head.dense.weight"),
    "tiny-modernbert": ("model.", "head.dense.weight"),
    "tiny-mpnet": ("mpnet.", "lm_head.dense.weight"),
}


def service(name: str, **overrides: Any) -> EmbeddingService:
    if name in LIMITS:
        overrides.setdefault("max_tokens", LIMITS[name])
    return EmbeddingService(str(model_path(name)), **overrides)


@pytest.mark.cores
@pytest.mark.parametrize("memory", ["fast", pytest.param("compact", marks=pytest.mark.long)])
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


@pytest.mark.parametrize("memory", ["fast", pytest.param("compact", marks=pytest.mark.long)])
def test_pplx_gives_its_authors_integers(memory: str) -> None:
    """But for sums of float32 that fall to the other side of a half: one step, in one of a hundred places."""
    expected = golden("tiny-pplx")
    with service("tiny-pplx", memory=memory, normalize=False) as embedder:
        result = embedder.encode(TEXTS[1:])  # the first is empty
        queries, documents = embedder.embed_queries(QUERIES), embedder.embed_documents(DOCUMENTS)
    vectors = np.concatenate([result.vectors, queries, documents])
    integers = np.concatenate([expected["texts"][1:], expected["queries"], expected["documents"]])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.rint(vectors))
    difference = np.abs(vectors - integers)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.01
    assert result.token_counts == expected["token_counts"][1:].tolist()
    assert result.truncated == (expected["full_token_counts"] > expected["token_counts"])[1:].tolist()


def test_pplx_normalizes_its_integers() -> None:
    with service("tiny-pplx") as scaled, service("tiny-pplx", normalize=False) as whole:
        vectors, integers = scaled.embed(QUERIES), whole.embed(QUERIES)
    np.testing.assert_allclose(vectors, integers / np.linalg.norm(integers, axis=1, keepdims=True), atol=1e-6)


def test_pplx_without_its_quantizer_gives_the_means(tmp_path: Path) -> None:
    folder = copy_model("tiny-pplx", tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:-1]))
    with EmbeddingService(str(folder), max_tokens=LIMITS["tiny-pplx"], normalize=False) as embedder:
        vectors = embedder.embed(TEXTS[1:])
    expected = golden("tiny-pplx")["texts_mean"][1:]
    assert cosines(vectors, expected).min() >= 0.99999
    np.testing.assert_allclose(vectors, expected, atol=1e-5 * np.abs(expected).max())


def test_pplx_refuses_an_empty_text_for_it_has_no_token() -> None:
    with service("tiny-pplx") as embedder, pytest.raises(InputError, match="no tokens"):
        embedder.embed([""])


@pytest.mark.parametrize("memory", ["fast", pytest.param("compact", marks=pytest.mark.long)])
def test_stella_ends_with_a_dense_layer_and_no_normalization(memory: str) -> None:
    expected = golden("tiny-stella")
    with service("tiny-stella", memory=memory, normalize=False) as embedder:
        result = embedder.encode(TEXTS)
        queries = embedder.embed_queries(QUERIES)
    assert np.abs(np.linalg.norm(expected["texts"], axis=1) - 1).min() > 0.1
    assert cosines(result.vectors, expected["texts"]).min() >= 0.99999
    np.testing.assert_allclose(result.vectors, expected["texts"], atol=2e-5)
    assert result.token_counts == expected["token_counts"].tolist()
    np.testing.assert_allclose(queries, expected["queries"], atol=2e-5)  # no prompt is called "query"


@pytest.mark.parametrize("name", ["tiny-xlm-roberta", "tiny-mpnet", "tiny-roberta"])
def test_padding_that_somebody_writes_takes_no_position(name: str) -> None:
    with service(name) as embedder:
        together, alone = embedder.embed(PADDING_TEXTS), [embedder.embed([text])[0] for text in PADDING_TEXTS]
    for vectors in (together, np.stack(alone)):
        np.testing.assert_allclose(vectors, golden(name)["padding_texts"], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("tiny-modernbert", "config.legacy.json"),
        ("tiny-nomic-bert", "config.native.json"),
        ("tiny-nomic-bert", "config.both.json"),
        ("tiny-llama-bidirec", "config.native.json"),
        ("tiny-gte", "config.native.json"),
        ("tiny-arctic", "config.native.json"),
    ],
)
def test_other_names_in_the_config_mean_the_same_model(tmp_path: Path, name: str, config: str) -> None:
    folder = copy_model(name, tmp_path / "model")
    (folder / config).replace(folder / "config.json")
    with service(name) as one, EmbeddingService(str(folder), max_tokens=LIMITS[name]) as other:
        texts = [counted_text(400), *QUERIES]
        np.testing.assert_array_equal(other.embed(texts), one.embed(texts))


def test_gte_without_token_types_is_one_whose_token_types_are_zero(tmp_path: Path) -> None:
    """As gte-base-en-v1.5, whose config.json counts none."""
    folders = [
        copy_model("tiny-gte", tmp_path / str(count), type_vocab_size=count, rope_scaling=None) for count in (0, 1)
    ]
    for folder in folders:
        tensors = load_file(folder / "model.safetensors")
        types = tensors.pop("new.embeddings.token_type_embeddings.weight")
        zero = {"new.embeddings.token_type_embeddings.weight": 0 * types} if folder is folders[1] else {}
        save_file(tensors | zero, folder / "model.safetensors")
    with EmbeddingService(str(folders[0])) as one, EmbeddingService(str(folders[1])) as other:
        np.testing.assert_array_equal(one.embed(QUERIES), other.embed(QUERIES))


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_the_encoder_of_a_masked_language_model_is_the_same(tmp_path: Path, name: str) -> None:
    prefix, head = LANGUAGE_MODELS[name]
    folder = copy_model(name, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    prefixed = {prefix + key: tensor for key, tensor in tensors.items()}
    save_file(prefixed | {head: np.zeros((32, 32), np.float32)}, folder / "model.safetensors")
    with service(name) as one, EmbeddingService(str(folder), max_tokens=LIMITS[name]) as other:
        np.testing.assert_array_equal(other.embed(QUERIES), one.embed(QUERIES))


@pytest.mark.parametrize("memory", ["fast", pytest.param("compact", marks=pytest.mark.long)])
def test_a_decoder_of_mlx_lm_gives_the_vectors_of_sentence_transformers(memory: str) -> None:
    expected = golden("tiny-llama")
    with service("tiny-llama", memory=memory) as embedder:
        result = embedder.encode(TEXTS)
    assert cosines(result.vectors, expected["texts"]).min() >= 0.99999
    np.testing.assert_allclose(result.vectors, expected["texts"], atol=1e-5)
    assert result.token_counts == expected["token_counts"].tolist()


@pytest.mark.long
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize(
    "name",
    [
        "tiny-bert",
        "tiny-xlm-roberta",
        "tiny-modernbert",
        pytest.param("tiny-qwen3", marks=pytest.mark.long),  # these two read texts of thousands of tokens to the end
        pytest.param("tiny-gemma3-causal", marks=pytest.mark.long),
    ],
)
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


@pytest.mark.long
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
    with service(name) as whole, service(name, dimensions=8, untrained_dimensions=True) as short:
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


def test_nomic_takes_a_layer_norm_before_the_cut(tmp_path: Path) -> None:
    """As its authors' example does: LayerNorm, cut, normalize."""
    folder = copy_model("tiny-nomic-bert", tmp_path / "model", matryoshka_dimensions=[16], matryoshka_layer_norm=True)
    with EmbeddingService(str(folder), normalize=False) as whole:
        vectors, name = whole.embed(QUERIES).astype(np.float64), whole.fingerprint()
    with EmbeddingService(str(folder), dimensions=16, normalize=True) as short:
        cut, other = short.embed(QUERIES), short.fingerprint()
    normed = (vectors - vectors.mean(1, keepdims=True)) / np.sqrt(vectors.var(1, keepdims=True) + 1e-5)
    expected = normed[:, :16] / np.linalg.norm(normed[:, :16], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, atol=1e-5)
    assert name != other
