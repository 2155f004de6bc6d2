"""MLXEmbedding inside LlamaIndex: indexes, retrievers, ingestion pipelines with their caches, stores."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import pytest
from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.schema import BaseNode, TextNode
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index.vector_stores.faiss import FaissVectorStore
from llama_index_helpers import MODEL, count_texts
from llama_index_helpers import no_settings as no_settings
from llama_index_helpers import prompted_core as prompted_core
from llama_index_helpers import prompted_embedding as prompted_embedding

from akidb_embeddings import EmbeddingService, close_shared_services
from tests.fixtures import copy_model, edit_json

TEXTS = [
    "Cats purr when they are content.",
    "The central bank raised interest rates.",
    "Yeast makes the dough rise.",
    "The volcano erupted in the night.",
    "She plays the violin.",
]
QUERY, ANSWER = "Why is my bread so flat?", 2


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts of each call that computed vectors."""
    return count_texts(monkeypatch)


@pytest.fixture
def global_settings(embedding: MLXEmbedding) -> Iterator[None]:
    before = Settings._embed_model
    Settings.embed_model = embedding
    yield
    Settings._embed_model = before


def nodes() -> list[BaseNode]:
    return [TextNode(text=text) for text in TEXTS]


# Indexes


async def test_an_index_finds_what_was_asked_for(embedding: MLXEmbedding, core: EmbeddingService) -> None:
    index = VectorStoreIndex(nodes(), embed_model=embedding)
    expected = core.embed_documents(TEXTS) @ core.embed_query(QUERY)
    retriever = index.as_retriever(similarity_top_k=len(TEXTS))
    for found in (retriever.retrieve(QUERY), await retriever.aretrieve(QUERY)):
        assert found[0].text == TEXTS[ANSWER]
        scores = {one.text: one.score for one in found}
        assert [scores[text] for text in TEXTS] == pytest.approx(expected.tolist(), abs=1e-6)


def test_an_index_hands_over_all_its_texts_at_once(embedding: MLXEmbedding, calls: list[int]) -> None:
    index = VectorStoreIndex(nodes() * 20, embed_model=embedding)
    assert calls == [len(TEXTS) * 20]
    index.as_retriever().retrieve(QUERY)
    assert calls == [len(TEXTS) * 20, 1]


def test_an_index_may_be_built_by_async_calls(embedding: MLXEmbedding, calls: list[int]) -> None:
    index = VectorStoreIndex(nodes(), embed_model=embedding, use_async=True)
    assert calls == [len(TEXTS)]
    assert index.as_retriever(similarity_top_k=1).retrieve(QUERY)[0].text == TEXTS[ANSWER]


@pytest.mark.usefixtures("global_settings")
def test_the_global_settings(calls: list[int]) -> None:
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS])
    assert calls == [len(TEXTS)]
    assert index.as_retriever(similarity_top_k=1).retrieve(QUERY)[0].text == TEXTS[ANSWER]
    assert Settings.embed_model == MLXEmbedding(MODEL, document_prompt="passage: ", query_prompt="query: ")
    [*_, last] = IngestionPipeline().transformations
    assert last is Settings.embed_model


# Pipelines with a cache

Run = Callable[..., Any]


async def _run(pipeline: IngestionPipeline, **options: Any) -> Sequence[BaseNode]:
    return pipeline.run(nodes=nodes(), **options)


async def _arun(pipeline: IngestionPipeline, **options: Any) -> Sequence[BaseNode]:
    return await pipeline.arun(nodes=nodes(), **options)


@pytest.fixture(params=[_run, _arun], ids=["run", "arun"])
def run(request: pytest.FixtureRequest) -> Run:
    way: Run = request.param
    return way


def vectors(found: Sequence[BaseNode]) -> list[Any]:
    return [node.embedding for node in found]


async def test_a_second_run_computes_nothing(
    run: Run, embedding: MLXEmbedding, core: EmbeddingService, calls: list[int]
) -> None:
    expected = core.embed_documents(TEXTS).tolist()
    calls.clear()
    pipeline = IngestionPipeline(transformations=[embedding])
    assert vectors(await run(pipeline)) == expected
    assert calls == [len(TEXTS)]
    assert vectors(await run(pipeline)) == expected
    assert calls == [len(TEXTS)]


@pytest.mark.parametrize(
    "change",
    [
        {"embed_batch_size": 2},
        {"num_workers": 1},
        {"batch_size": 1},
        {"memory": "compact"},
        {"max_queued_tokens": 8},
        {"cache_dir": "elsewhere"},
        {"query_prompt": None, "document_prompt": "passage: ", "max_tokens": None},
    ],
    ids=lambda change: str(*change.keys()) if len(change) == 1 else "as by default",
)
async def test_what_decides_no_vectors_finds_them_in_the_cache(
    run: Run, change: dict[str, Any], calls: list[int]
) -> None:
    cache = IngestionCache()
    settings: dict[str, Any] = {"model_name": MODEL, "document_prompt": "passage: "}
    before = vectors(await run(IngestionPipeline(transformations=[MLXEmbedding(**settings)], cache=cache)))
    calls.clear()
    after = await run(IngestionPipeline(transformations=[MLXEmbedding(**settings | change)], cache=cache))
    assert vectors(after) == before
    assert calls == []


@pytest.mark.parametrize(
    "change",
    [
        {"document_prompt": "title: "},
        {"document_prompt": ""},
        {"model_name": "tiny-bert"},
        {"pooling": "cls"},
        {"normalize": False},
        {"dimensions": 64, "untrained_dimensions": True},
        {"max_tokens": 8},
    ],
    ids=str,
)
async def test_what_decides_them_does_not(run: Run, change: dict[str, Any], calls: list[int], tmp_path: Path) -> None:
    copy_model("tiny-bert", tmp_path / "tiny-bert")
    cache = IngestionCache()
    settings: dict[str, Any] = {"model_name": MODEL, "document_prompt": "passage: "}
    await run(IngestionPipeline(transformations=[MLXEmbedding(**settings)], cache=cache))
    calls.clear()
    changed = MLXEmbedding(**settings | change)
    after = vectors(await run(IngestionPipeline(transformations=[changed], cache=cache)))
    assert calls == [len(TEXTS)]
    assert after == changed.get_text_embedding_batch(TEXTS)


async def test_a_model_folder_written_anew_is_another_model(run: Run, calls: list[int], tmp_path: Path) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    pipeline = IngestionPipeline(transformations=[MLXEmbedding(model)])
    before = vectors(await run(pipeline))
    close_shared_services()  # as in the next program
    assert vectors(await run(pipeline)) == before
    edit_json(model / "config.json", layer_norm_eps=0.1)
    after = vectors(await run(pipeline))
    assert calls == [len(TEXTS)] * 2
    assert after != before
    edit_json(model / "config_sentence_transformers.json", prompts={"document": "passage: "})
    close_shared_services()
    assert vectors(await run(pipeline)) != after
    assert calls == [len(TEXTS)] * 3


async def test_a_cache_that_was_saved_is_good_for_another_program(run: Run, calls: list[int], tmp_path: Path) -> None:
    first = IngestionPipeline(transformations=[MLXEmbedding(MODEL)])
    before = vectors(await run(first))
    first.persist(str(tmp_path / "pipeline"))
    close_shared_services()
    calls.clear()
    second = IngestionPipeline(transformations=[MLXEmbedding(MODEL, embed_batch_size=7)])
    second.load(str(tmp_path / "pipeline"))
    assert vectors(await run(second)) == before
    assert calls == []


async def test_a_cache_hit_loads_no_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = IngestionCache()
    await run(IngestionPipeline(transformations=[MLXEmbedding(MODEL)], cache=cache))
    close_shared_services()

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(EmbeddingService, "__init__", refuse)
    assert len(await run(IngestionPipeline(transformations=[MLXEmbedding(MODEL)], cache=cache))) == len(TEXTS)


# A vector store in a file


def test_a_faiss_index_is_built_saved_and_opened_again(
    embedding: MLXEmbedding, core: EmbeddingService, calls: list[int], tmp_path: Path
) -> None:
    folder = str(tmp_path / "index")
    expected = core.embed_documents(TEXTS) @ core.embed_query(QUERY)
    calls.clear()
    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(len(embedding.get_query_embedding(""))))
    built = VectorStoreIndex(
        nodes(), storage_context=StorageContext.from_defaults(vector_store=store), embed_model=embedding
    )
    before = built.as_retriever(similarity_top_k=len(TEXTS)).retrieve(QUERY)
    built.storage_context.persist(folder)
    assert calls == [1, len(TEXTS), 1]

    storage = StorageContext.from_defaults(vector_store=FaissVectorStore.from_persist_dir(folder), persist_dir=folder)
    again: Any = load_index_from_storage(storage, embed_model=MLXEmbedding.from_dict(embedding.to_dict()))
    after = again.as_retriever(similarity_top_k=len(TEXTS)).retrieve(QUERY)
    assert calls == [1, len(TEXTS), 1, 1]
    assert [(one.text, one.score) for one in after] == [(one.text, one.score) for one in before]
    assert after[0].text == TEXTS[ANSWER]
    assert [one.score for one in after] == pytest.approx(sorted(expected.tolist(), reverse=True), abs=1e-6)


def test_a_pipeline_fills_a_faiss_store(embedding: MLXEmbedding) -> None:
    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(384))
    IngestionPipeline(transformations=[embedding], vector_store=store).run(nodes=nodes())
    assert store.client.ntotal == len(TEXTS)
