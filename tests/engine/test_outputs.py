"""Sparse weights on every backend's code path, and how much memory the vocabulary's logits take."""

import numpy as np
import pytest

from akidb_embeddings.architectures import sparse_heads
from akidb_embeddings.architectures.sparse_heads import SpladeHead
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.sparse import Splade
from akidb_embeddings.compute.backend import cpu
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.planner import pad
from akidb_embeddings.registry.heads import MaskedLMSpec
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from tests.engine.test_model import BACKENDS
from tests.fixtures import model_path
from tests.golden.texts import TEXTS
from tests.outputs import golden_sparse

SHORT = [text for text in TEXTS if len(text) < 300]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["tiny-splade", "tiny-splade-distilbert"])
def test_every_backend_gives_the_authors_weights(name: str, backend: str) -> None:
    checkpoint = read_checkpoint(model_path(name))
    model = MLXModel(checkpoint, BACKENDS[backend])
    ids = Tokenizer(checkpoint, checkpoint.max_tokens).encode(SHORT).ids
    [rows] = model.start([pad(ids, "sparse", (2048,))])()  # with rows that only fill up a shape
    model.close()
    expected = [vector for text, vector in zip(TEXTS, golden_sparse(name, "texts"), strict=True) if text in SHORT]
    exact = backend in ("cpu", "cpu-compact", "packed-float32")
    for row, vector in zip(rows, expected, strict=False):
        found, whole = np.zeros(400), np.zeros(400)
        found[row["index"]], whole[vector.indices] = row["value"], vector.values
        assert np.abs(found - whole).max() <= (1e-3 if exact else 0.05 * max(1.0, whole.max()))


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["max", "sum"])
def test_logits_are_held_for_a_few_tokens_at_a_time(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, length, hidden, vocabulary = 4, 1024, 8, 4096
    generator = np.random.default_rng(0)
    shapes = {
        "dense.weight": (hidden, hidden),
        "dense.bias": (hidden,),
        "norm.weight": (hidden,),
        "norm.bias": (hidden,),
        "decoder.weight": (vocabulary, hidden),
        "decoder.bias": (vocabulary,),
    }
    arrays = {name: mx.array(generator.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()}
    config = {"hidden_size": hidden, "vocab_size": vocabulary}
    spec = MaskedLMSpec("dense", "norm", "decoder", ("decoder.bias",))
    states = mx.array(generator.normal(size=(texts, length, hidden)).astype(np.float32))
    lengths = np.array([length, 300, 17, 1], np.int32)

    def compute(most: int) -> tuple[mx.array, int]:
        monkeypatch.setattr(sparse_heads, "_MOST_LOGITS", most)
        weights = Weights(dict(arrays), {}, cpu("fast"), mx.float32)
        head = SpladeHead(weights, config, spec, Splade(strategy, twice=False, tied=False, bias="decoder.bias"))
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        output = head(states, lengths)
        mx.eval(output)
        return output, mx.get_peak_memory() - before

    with mx.stream(mx.cpu):
        whole, most = compute(1 << 30)
        parts, least = compute(1 << 20)
    np.testing.assert_allclose(np.array(parts), np.array(whole), rtol=1e-5, atol=1e-5)
    logits = texts * length * vocabulary * 4
    assert most >= logits
    assert least <= logits / 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["tiny-colbert", "tiny-multivector"])
def test_a_query_beside_a_longer_document_keeps_its_vectors(name: str, backend: str) -> None:
    """Tokens that no other attends to see the query, and neither themselves nor the padding after them."""
    model = MLXModel(read_checkpoint(model_path(name)), BACKENDS[backend])
    generator = np.random.default_rng(3)
    query, document = (generator.integers(5, 300, size=size).astype(np.int32) for size in (24, 100))
    [[alone]] = model.start([pad([query], "tokens", attended=[9])])()
    [[beside, _]] = model.start([pad([query, document], "tokens", attended=[9, 100])])()
    [[attended]] = model.start([pad([query], "tokens")])()
    model.close()
    tolerance = 1e-4 if backend in ("cpu", "cpu-compact", "packed-float32") else 0.2
    assert alone.shape == beside.shape == (24, 8)
    np.testing.assert_allclose(beside, alone, atol=tolerance)
    assert np.abs(attended - alone).max() > 10 * tolerance
