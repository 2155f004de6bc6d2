"""The reranker inside LangChain: behind real vector stores with the bundled model, in pipelines and chains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_fixtures import embeddings
from langchain_qdrant import QdrantVectorStore
from langchain_rerank_fixtures import QUERY, RERANKER, rerank_service, reranker

from akidb_embeddings import close_shared_rerankers, close_shared_services
from tests.conftest import REPOSITORY, run_python
from tests.fixtures import DATA

FACTS = [
    "Plants make sugar from light, water and air.",
    "Sugar is made of beets and cane.",
    "The volcano erupted in the night.",
    "Cats purr when they are content.",
    "Bread rises by yeast.",
]


def teardown_module() -> None:
    close_shared_rerankers()
    close_shared_services()


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    metadatas = [{"source": f"page {at}"} for at in range(len(FACTS))]
    if request.param == "memory":
        yield InMemoryVectorStore.from_texts(FACTS, embeddings(), metadatas)
        return
    place: dict[str, Any] = {"path": str(tmp_path / "store"), "collection_name": "facts"}
    folder = QdrantVectorStore.from_texts(FACTS, embeddings(), metadatas, **place)
    yield folder
    folder.client.close()


def behind(store: VectorStore, k: int = 4, **arguments: Any) -> ContextualCompressionRetriever:
    return ContextualCompressionRetriever(
        base_compressor=reranker(**arguments), base_retriever=store.as_retriever(search_kwargs={"k": k})
    )


def expected(store: VectorStore, query: str, k: int, top_n: int | None) -> list[tuple[str, float]]:
    retrieved = [document.page_content for document in store.similarity_search(query, k=k)]
    with rerank_service() as service:
        return [(retrieved[hit.index], hit.score) for hit in service.rerank(query, retrieved, top_k=top_n)]


def pairs(found: list[Document]) -> list[tuple[str, float]]:
    return [(document.page_content, document.metadata["relevance_score"]) for document in found]


async def test_what_a_store_finds_is_ranked_again(store: VectorStore) -> None:
    retriever = behind(store)
    wanted = expected(store, QUERY, 4, 3)
    assert [text for text, _ in wanted] != [one.page_content for one in store.similarity_search(QUERY, k=3)]
    for found in (retriever.invoke(QUERY), await retriever.ainvoke(QUERY)):
        assert pairs(found) == wanted
        assert {document.metadata["source"] for document in found} <= {f"page {at}" for at in range(len(FACTS))}
    assert pairs(behind(store, k=5, top_n=None).invoke(QUERY)) == expected(store, QUERY, 5, None)


async def test_many_queries_at_once(store: VectorStore) -> None:
    retriever, queries = behind(store, top_n=2), [QUERY, "pets", "what is bread", "a mountain of fire"]
    wanted = [expected(store, query, 4, 2) for query in queries]
    for several in (retriever.batch(queries), await retriever.abatch(queries)):
        for found, pairs_wanted in zip(several, wanted, strict=True):
            assert [text for text, _ in pairs(found)] == [text for text, _ in pairs_wanted]
            assert [score for _, score in pairs(found)] == pytest.approx([score for _, score in pairs_wanted], abs=1e-5)


def test_a_store_keeps_its_documents(store: VectorStore) -> None:
    behind(store).invoke(QUERY)
    for document in store.similarity_search(QUERY, k=5):
        assert "relevance_score" not in document.metadata


async def test_nothing_found_is_nothing() -> None:
    retriever = behind(InMemoryVectorStore(embeddings()))
    assert retriever.invoke(QUERY) == await retriever.ainvoke(QUERY) == []


class Ends(BaseCallbackHandler):
    """What retrievers gave."""

    def __init__(self) -> None:
        self.found: list[list[Document]] = []

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.found.append(list(documents))


async def test_callbacks_of_a_retriever_see_the_ranking(store: VectorStore) -> None:
    for is_async in (False, True):
        handler = Ends()
        retriever = behind(store)
        options: Any = {"callbacks": [handler]}
        found = await retriever.ainvoke(QUERY, options) if is_async else retriever.invoke(QUERY, options)
        assert [len(one) for one in handler.found] == [4, 3]  # what the store gave, and what is left
        assert handler.found[-1] == found


async def test_a_pipeline_of_compressors(store: VectorStore) -> None:
    """A cheap reranker before a dear one, for example; the last one's scores stay."""
    first = reranker(DATA / "models" / "tiny-xlm-roberta-reranker", top_n=3)
    retriever = ContextualCompressionRetriever(
        base_compressor=DocumentCompressorPipeline(transformers=[first, reranker(top_n=2)]),
        base_retriever=store.as_retriever(search_kwargs={"k": 5}),
    )
    between = [one.page_content for one in first.compress_documents(store.similarity_search(QUERY, k=5), QUERY)]
    with rerank_service() as service:
        wanted = [(between[hit.index], hit.score) for hit in service.rerank(QUERY, between, top_k=2)]
    assert pairs(retriever.invoke(QUERY)) == pairs(await retriever.ainvoke(QUERY)) == wanted


async def test_a_chain_without_that_retriever(store: VectorStore) -> None:
    """What langchain-core recommends instead of it needs no other package."""
    ours = reranker()
    retriever = store.as_retriever(search_kwargs={"k": 4})
    chain = RunnableLambda(
        lambda query: ours.compress_documents(retriever.invoke(query), query),
        afunc=lambda query: _then(ours, retriever, query),
    )
    assert pairs(chain.invoke(QUERY)) == pairs(await chain.ainvoke(QUERY)) == expected(store, QUERY, 4, 3)


async def _then(ours: Any, retriever: Any, query: str) -> Any:
    return await ours.acompress_documents(await retriever.ainvoke(query), query)


@pytest.mark.long
def test_the_example_runs() -> None:
    example = REPOSITORY / "integrations" / "langchain" / "examples" / "rerank_documents.py"
    output = run_python(example.read_text(encoding="utf-8"), "how do I divide?", "--reranker", str(RERANKER))
    lines = output.strip().splitlines()
    assert lines[0] == "how do I divide?"
    assert [line for line in lines if not line.startswith("    [")] == [lines[0], lines[1], lines[5]]
    assert len(lines) == 9
    assert sorted(lines[2:5]) != sorted(lines[6:9])
