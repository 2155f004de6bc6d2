"""Texts and vectors that callers give: refused by their own index, or honoured."""

from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index_helpers import MODEL, TEXTS, count_texts
from llama_index_helpers import no_settings as no_settings
from llama_index_helpers import prompted_core as prompted_core
from llama_index_helpers import prompted_embedding as prompted_embedding

from akidb_embeddings import EmbeddingService, InputError

# Texts


async def test_wrong_inputs_are_refused(embedding: MLXEmbedding) -> None:
    wrong: list[Any] = [None, 1, b"bytes", ["a"]]
    for text in wrong:
        for call in (embedding.get_query_embedding, embedding.get_text_embedding):
            with pytest.raises(InputError, match="string is expected"):
                call(text)
        for acall in (embedding.aget_query_embedding, embedding.aget_text_embedding):
            with pytest.raises(InputError, match="string is expected"):
                await acall(text)
        with pytest.raises(InputError, match=r"texts\[1\].*string is expected"):
            embedding.get_text_embedding_batch(["a", text])
        with pytest.raises(InputError, match=r"texts\[1\].*string is expected"):
            await embedding.aget_text_embedding_batch(["a", text])
    with pytest.raises(InputError, match="surrogate"):
        embedding.get_query_embedding("\ud800")


@pytest.mark.parametrize("texts", ["one text", b"bytes", None, 3])
async def test_a_batch_that_is_no_list_is_refused(embedding: MLXEmbedding, texts: Any) -> None:
    # A string would otherwise be taken for a list of its characters, and give as many vectors.
    with pytest.raises(InputError, match="texts is"):
        embedding.get_text_embedding_batch(texts)
    with pytest.raises(InputError, match="texts is"):
        await embedding.aget_text_embedding_batch(texts)


@pytest.mark.parametrize("bad", [None, "\ud800", "a text that is too long"], ids=["type", "surrogate", "length"])
async def test_an_error_names_the_callers_own_index(bad: Any) -> None:
    embedding = MLXEmbedding(MODEL, embed_batch_size=2, max_tokens=5, truncate="error")
    texts = ["a", "b", "c", bad]
    with pytest.raises(InputError, match=r"texts\[3\]"):
        embedding.get_text_embedding_batch(texts)
    with pytest.raises(InputError, match=r"texts\[3\]"):
        await embedding.aget_text_embedding_batch(texts)


async def test_long_texts_are_refused_if_asked() -> None:
    embedding = MLXEmbedding(MODEL, max_tokens=5, truncate="error")
    assert len(embedding.get_text_embedding("short")) == 384
    with pytest.raises(InputError, match="5"):
        embedding.get_query_embedding(TEXTS[0])
    with pytest.raises(InputError, match=r"texts\[1\]"):
        await embedding.aget_text_embedding_batch(["short", TEXTS[0]])


# Given vectors


def test_given_vectors_are_checked(embedding: MLXEmbedding) -> None:
    with pytest.raises(InputError, match=r"vectors\[1\].*3.*384"):
        embedding.accept([[1.0] * 384, [1.0] * 3])
    with pytest.raises(InputError, match=r"2 vectors for 3 texts"):
        embedding.accept([[1.0] * 384] * 2, count=3)
    with pytest.raises(InputError, match=r"vectors\[1\].*NaN"):
        embedding.accept([[1.0] * 384, [float("nan")] * 384])
    with pytest.raises(InputError, match=r"vectors\[0\].*zero"):
        embedding.accept([[0.0] * 384])
    with pytest.raises(InputError, match=r"vectors\[0\].*384.*64"):
        MLXEmbedding(MODEL, dimensions=64, untrained_dimensions=True).accept([[1.0] * 384])


def test_given_vectors_are_normalized_as_configured(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    given = np.random.default_rng(0).normal(size=(3, 384))
    assert embedding.accept(given, count=3) == core.accept(given).tolist()
    np.testing.assert_allclose(np.linalg.norm(embedding.accept(given), axis=1), 1, atol=1e-6)
    assert MLXEmbedding(MODEL, normalize=False).accept(given) == given.astype(np.float32).tolist()
    computed = embedding.get_text_embedding_batch(TEXTS)
    np.testing.assert_allclose(embedding.accept(computed), computed, atol=1e-7)


def test_given_and_computed_vectors_in_one_index(monkeypatch: pytest.MonkeyPatch, embedding: MLXEmbedding) -> None:
    [elsewhere] = embedding.accept([embedding.get_text_embedding("Cats purr.")])
    given = TextNode(text="a picture", embedding=elsewhere)
    calls = count_texts(monkeypatch)
    index = VectorStoreIndex(
        [TextNode(text="Stocks fell."), given, TextNode(text="Bread rises.")], embed_model=embedding
    )
    assert calls == [2]
    [first, *_] = index.as_retriever(similarity_top_k=3).retrieve("What do cats do?")
    assert first.text == "a picture"
    assert given.embedding == elsewhere
