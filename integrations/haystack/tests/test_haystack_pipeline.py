"""The components in pipelines, which are saved as YAML, loaded and run, over Haystack's store in memory."""

from pathlib import Path
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.telemetry import _telemetry
from haystack_helpers import MODEL, PROMPTED, core
from haystack_helpers import no_settings as no_settings
from haystack_integrations.components.embedders.akidb import MLXDocumentEmbedder, MLXTextEmbedder

TEXTS = [
    "Cats purr when they are content.",
    "The central bank raised interest rates.",
    "Yeast makes the dough rise.",
    "The volcano erupted in the night.",
]
QUERY, ANSWER = "Why is my bread so flat?", 2


def saved(pipeline: Pipeline, file: Path) -> Pipeline:
    """The pipeline, as it comes back from a file."""
    file.write_text(pipeline.dumps(), encoding="utf-8")
    loaded = Pipeline.loads(file.read_text(encoding="utf-8"))
    assert loaded.dumps() == pipeline.dumps()
    return loaded


@pytest.fixture(name="store")
def memory_store() -> InMemoryDocumentStore:
    return InMemoryDocumentStore(embedding_similarity_function="dot_product")


def indexing(store: InMemoryDocumentStore, model: Any = MODEL) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("embedder", MLXDocumentEmbedder(model, progress_bar=False, meta_fields_to_embed=["topic"]))
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("embedder.documents", "writer.documents")
    return pipeline


def querying(store: InMemoryDocumentStore, model: Any = MODEL) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("embedder", MLXTextEmbedder(model))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=2))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    return pipeline


def test_saved_pipelines_index_and_find(store: InMemoryDocumentStore, tmp_path: Path) -> None:
    """A store in memory that is loaded by the same index's name has the same documents."""
    documents = [Document(content=text, meta={"topic": "nature"}) for text in TEXTS]
    written = saved(indexing(store), tmp_path / "indexing.yaml").run({"embedder": {"documents": documents}})
    assert written["writer"]["documents_written"] == len(TEXTS)
    found = saved(querying(store), tmp_path / "querying.yaml").run({"embedder": {"text": QUERY}})
    best = found["retriever"]["documents"][0]
    with core() as service:
        expected = service.embed_documents([f"nature\n{TEXTS[ANSWER]}"])[0] @ service.embed_query(QUERY)
    assert best.content == TEXTS[ANSWER]
    assert best.score == pytest.approx(float(expected), abs=1e-5)


async def test_pipelines_run_on_event_loops(store: InMemoryDocumentStore) -> None:
    documents = [Document(content=text) for text in TEXTS]
    await indexing(store, PROMPTED).run_async({"embedder": {"documents": documents}})
    question = {"embedder": {"text": QUERY}}
    found = await querying(store, PROMPTED).run_async(question)
    assert found["retriever"]["documents"]
    assert found == querying(store, PROMPTED).run(question)


def test_nothing_is_told_to_anyone() -> None:
    """These tests run without network, and the components themselves say nothing to Haystack's telemetry."""
    assert _telemetry.telemetry is None
    assert not hasattr(MLXTextEmbedder(MODEL), "_get_telemetry_data")
