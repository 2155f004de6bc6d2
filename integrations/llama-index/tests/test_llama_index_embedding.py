"""MLXEmbedding's vectors are EmbeddingService's, to the last bit, from one engine that is loaded when it is needed."""

import asyncio
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index_helpers import MODEL, PROMPTS, TEXTS
from llama_index_helpers import no_settings as no_settings
from llama_index_helpers import prompted_core as prompted_core
from llama_index_helpers import prompted_embedding as prompted_embedding

from akidb_embeddings import EmbeddingService, close_shared_services, shared_service
from tests.conftest import mlx_threads, run_python
from tests.fixtures import model_path

# Vectors


async def test_a_query_is_the_cores_query(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    for text in TEXTS:
        expected = core.embed_query(text).tolist()
        assert embedding.get_query_embedding(text) == expected
        assert await embedding.aget_query_embedding(text) == expected
    assert expected == core.embed(["query: " + text])[0].tolist()  # so the query prompt is before it
    assert expected != core.embed_documents([text])[0].tolist()


@pytest.mark.long
async def test_a_text_is_the_cores_document(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    for text in TEXTS:
        expected = core.embed_documents([text])[0].tolist()
        assert embedding.get_text_embedding(text) == expected
        assert await embedding.aget_text_embedding(text) == expected
    assert expected == core.embed(["passage: " + text])[0].tolist()


async def test_a_batch_is_the_cores_documents(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    expected = core.embed_documents(TEXTS).tolist()
    assert embedding.get_text_embedding_batch(TEXTS) == expected
    assert await embedding.aget_text_embedding_batch(TEXTS) == expected


async def test_a_batch_that_a_cache_partly_has_is_in_order(core: EmbeddingService) -> None:
    for is_async in (False, True):
        embedding = MLXEmbedding(MODEL, embeddings_cache=SimpleKVStore(), **PROMPTS)
        embedding.get_text_embedding_batch(TEXTS[1::2])
        got = (
            await embedding.aget_text_embedding_batch(TEXTS) if is_async else embedding.get_text_embedding_batch(TEXTS)
        )
        np.testing.assert_allclose(got, core.embed_documents(TEXTS), atol=1e-6)  # they came in two calls


async def test_slices_are_the_cores_on_these_slices(core: EmbeddingService) -> None:
    embedding = MLXEmbedding(MODEL, embed_batch_size=4, **PROMPTS)
    slices = [core.embed_documents(TEXTS[begin : begin + 4]).tolist() for begin in range(0, len(TEXTS), 4)]
    assert embedding.get_text_embedding_batch(TEXTS) == [vector for vectors in slices for vector in vectors]
    # The base class may have several slices in the engine at once, and these share micro-batches.
    got = await embedding.aget_text_embedding_batch(TEXTS)
    np.testing.assert_allclose(got, core.embed_documents(TEXTS), atol=1e-6)


@pytest.mark.long
async def test_more_texts_than_one_slice_holds() -> None:
    model = model_path("tiny-bert")
    texts = [f"text {number % 97} " + "word " * (number % 5) for number in range(2100)]
    embedding = MLXEmbedding(model)
    with EmbeddingService(model) as core:
        slices = [*core.embed_documents(texts[:2048]).tolist(), *core.embed_documents(texts[2048:]).tolist()]
        whole = core.embed_documents(texts)
    assert embedding.get_text_embedding_batch(texts) == slices
    np.testing.assert_allclose(slices, whole, atol=1e-6)
    np.testing.assert_allclose(await embedding.aget_text_embedding_batch(texts), whole, atol=1e-6)


async def test_the_inputs_of_an_aggregate_are_queries(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    seen: list[Any] = []

    def first(vectors: Any) -> Any:
        seen.append(vectors)
        return vectors[0]

    expected = [core.embed_query(text).tolist() for text in TEXTS]
    assert embedding.get_agg_embedding_from_queries(TEXTS, first) == expected[0]
    assert await embedding.aget_agg_embedding_from_queries(TEXTS, first) == expected[0]
    assert seen == [expected, expected]
    np.testing.assert_allclose(embedding.get_agg_embedding_from_queries(TEXTS), np.mean(expected, axis=0), atol=1e-9)


async def test_nodes_get_the_vectors_of_their_content(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    nodes = [TextNode(text=text, metadata={"place": number}) for number, text in enumerate(TEXTS)]
    contents = [node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
    expected = core.embed_documents(contents).tolist()
    assert embedding(nodes) is nodes
    assert [node.embedding for node in nodes] == expected
    again = [TextNode(text=text, metadata={"place": number}) for number, text in enumerate(TEXTS)]
    await embedding.acall(again)
    assert [node.embedding for node in again] == expected


async def test_vectors_are_lists_of_python_floats(embedding: MLXEmbedding) -> None:
    vectors = [
        embedding.get_query_embedding("a"),
        await embedding.aget_query_embedding("a"),
        embedding.get_text_embedding("a"),
        await embedding.aget_text_embedding("a"),
        *embedding.get_text_embedding_batch(["a", "b"]),
        *await embedding.aget_text_embedding_batch(["a", "b"]),
        *embedding.accept(np.ones((2, 384), dtype=np.float32)),
    ]
    for vector in vectors:
        assert type(vector) is list
        assert len(vector) == 384
        assert {type(value) for value in vector} == {float}


async def test_no_texts_give_no_vectors(embedding: MLXEmbedding) -> None:
    assert embedding.get_text_embedding_batch([]) == []
    assert await embedding.aget_text_embedding_batch([]) == []
    assert embedding.get_text_embedding_batch([], show_progress=True) == []
    assert await embedding.aget_text_embedding_batch([], show_progress=True) == []
    assert embedding([]) == []
    assert await embedding.acall([]) == []
    assert embedding.accept([]) == []


def test_cut_and_unnormalized_vectors() -> None:
    options: dict[str, Any] = {
        "dimensions": 64,
        "untrained_dimensions": True,
        "normalize": False,
        "pooling": "cls",
        "max_tokens": 8,
    }
    with EmbeddingService(MODEL, **options) as core:
        expected = core.embed_documents(TEXTS).tolist()
    got = MLXEmbedding(MODEL, **options).get_text_embedding_batch(TEXTS)
    assert got == expected
    assert {len(vector) for vector in got} == {64}


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("tiny-gemma3", {"query_prompt_name": "STS", "document_prompt_name": "Clustering"}),
        ("tiny-gemma3", {"task": "fact checking"}),
        ("tiny-qwen3", {"task": "Find the same."}),
    ],
)
async def test_prompts_by_name_and_task_are_the_cores(model: str, settings: dict[str, Any]) -> None:
    ours, plain = (MLXEmbedding(model_path(model), **values) for values in (settings, {}))
    with EmbeddingService(str(model_path(model)), **settings) as core:
        query, document = core.embed_query("fox").tolist(), core.embed_documents(["fox"])[0].tolist()
    assert ours.get_query_embedding("fox") == await ours.aget_query_embedding("fox") == query
    assert ours.get_text_embedding("fox") == document
    assert plain.get_query_embedding("fox") != query
    assert (plain.get_text_embedding("fox") == document) == ("task" in settings)


def test_sync_calls_work_inside_a_running_loop(core: EmbeddingService, embedding: MLXEmbedding) -> None:
    async def inside() -> Any:
        return embedding.get_text_embedding_batch(TEXTS)

    assert asyncio.run(inside()) == core.embed_documents(TEXTS).tolist()


# Cost


@pytest.mark.long
def test_neither_import_nor_construction_loads_a_model() -> None:
    output = run_python(
        "import sys, copy, pickle\n"
        "import akidb_embeddings\n"
        "print([name for name in sys.modules if name.startswith('llama_index')])\n"
        "import llama_index.core.base.embeddings.base\n"
        "before = set(sys.modules)\n"
        "from llama_index.embeddings.akidb import MLXEmbedding\n"
        f"e = MLXEmbedding({MODEL!r}, max_length=64)\n"
        "assert pickle.loads(pickle.dumps(e)) == e == copy.deepcopy(e) == e.model_copy()\n"
        "repr(e), e.to_payload(), e.model_dump(), e.config\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'mlx', 'tokenizers', 'huggingface_hub', 'torch', 'transformers', 'tqdm'}))\n"
        "print(sorted(set(sys.modules) & {'mlx', 'tokenizers', 'akidb_embeddings.service.service'}))\n"
    )
    assert output.splitlines() == ["[]", "[]", "[]"]


def test_equal_objects_share_an_engine() -> None:
    first, second = MLXEmbedding(MODEL), MLXEmbedding(model_name=MODEL, embed_batch_size=3)
    first.get_text_embedding("a")
    threads = mlx_threads()
    second.get_text_embedding("a")
    MLXEmbedding(MODEL, query_prompt="another way to use the same weights: ").get_query_embedding("a")
    assert mlx_threads() == threads
    assert shared_service(first.config) is shared_service(second.config)


def test_a_closed_service_comes_back(embedding: MLXEmbedding) -> None:
    before = embedding.get_text_embedding("a")
    close_shared_services()
    assert embedding.get_text_embedding("a") == before
