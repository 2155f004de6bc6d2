"""The reranker inside LlamaIndex: behind indexes with the bundled model, in query engines, and what it reports."""

import sys
import types
from collections.abc import Iterator
from typing import Any

import faiss
import pytest
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # passed on without __all__
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SentenceTransformerRerank, SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index.postprocessor.akidb import MLXRerank
from llama_index.vector_stores.faiss import FaissVectorStore
from llama_index_helpers import MODEL
from llama_index_helpers import no_settings as no_settings
from llama_index_rerank_helpers import QUERY, RERANKER, nodes, ranking, rerank_service, reranker

from akidb_embeddings import close_shared_rerankers, close_shared_services
from tests.conftest import REPOSITORY, run_python

FACTS = [
    "Plants make sugar from light, water and air.",
    "Sugar is made of beets and cane.",
    "The volcano erupted in the night.",
    "Cats purr when they are content.",
    "Bread rises by yeast.",
]
ENGINE: dict[str, Any] = {"similarity_top_k": 4, "llm": MockLLM()}


def teardown_module() -> None:
    close_shared_rerankers()
    close_shared_services()


@pytest.fixture(params=["memory", "faiss"])
def index(request: pytest.FixtureRequest) -> VectorStoreIndex:
    embedding = MLXEmbedding(MODEL)
    given = [TextNode(text=text, metadata={"page": at}) for at, text in enumerate(FACTS)]
    if request.param == "memory":
        return VectorStoreIndex(given, embed_model=embedding)
    storage = StorageContext.from_defaults(vector_store=FaissVectorStore(faiss_index=faiss.IndexFlatIP(384)))
    return VectorStoreIndex(given, storage_context=storage, embed_model=embedding)


def expected(index: VectorStoreIndex, query: str, k: int, top_n: int | None) -> list[tuple[str, float]]:
    retrieved = index.as_retriever(similarity_top_k=k).retrieve(query)
    with rerank_service() as service:
        hits = service.rerank(query, [one.get_content(MetadataMode.EMBED) for one in retrieved], top_k=top_n)
    return [(retrieved[hit.index].text, hit.score) for hit in hits]


def pairs(found: list[NodeWithScore]) -> list[tuple[str, float | None]]:
    return [(one.text, one.score) for one in found]


# Engines


async def test_a_query_engine_ranks_what_it_retrieved(index: VectorStoreIndex) -> None:
    engine = index.as_query_engine(node_postprocessors=[reranker(top_n=3)], **ENGINE)
    wanted = expected(index, QUERY, 4, 3)
    assert [text for text, _ in wanted] != [one.text for one in index.as_retriever(similarity_top_k=3).retrieve(QUERY)]
    for response in (engine.query(QUERY), await engine.aquery(QUERY)):
        assert pairs(response.source_nodes) == wanted
        places = [str(response).index(text) for text, _ in wanted]  # the mock repeats its prompt
        assert places == sorted(places)


async def test_many_queries_at_once_do_not_change_the_index(index: VectorStoreIndex) -> None:
    """A score in a node's metadata would be read by the next query: the nodes of an index in memory are shared."""
    engine = index.as_query_engine(node_postprocessors=[reranker(top_n=3, keep_retrieval_score=True)], **ENGINE)
    wanted = expected(index, QUERY, 4, 3)
    for _ in range(2):
        for response in (engine.query(QUERY), await engine.aquery(QUERY)):
            assert pairs(response.source_nodes) == wanted
            scores = [one.metadata["retrieval_score"] for one in response.source_nodes]
            assert all(0 < score < 1 for score in scores)
    for one in index.as_retriever(similarity_top_k=5).retrieve(QUERY):
        assert one.metadata.keys() == {"page"}


def test_scores_from_0_to_1_fit_a_cutoff(index: VectorStoreIndex) -> None:
    wanted = [(text, score) for text, score in expected(index, QUERY, 5, None) if score > 0]
    assert 0 < len(wanted) < 5
    engine = RetrieverQueryEngine.from_args(
        index.as_retriever(similarity_top_k=5),
        llm=MockLLM(),
        node_postprocessors=[
            reranker(top_n=None, activation="sigmoid"),
            SimilarityPostprocessor(similarity_cutoff=0.5),
        ],
    )
    assert [one.text for one in engine.query(QUERY).source_nodes] == [text for text, _ in wanted]


async def test_an_empty_index(index: VectorStoreIndex) -> None:
    empty = VectorStoreIndex([], embed_model=MLXEmbedding(MODEL))
    engine = empty.as_query_engine(node_postprocessors=[reranker()], **ENGINE)
    assert engine.query(QUERY).source_nodes == (await engine.aquery(QUERY)).source_nodes == []


# Reports


@pytest.fixture
def events() -> Iterator[list[Any]]:
    """The rerank events of all dispatchers."""
    seen: list[Any] = []

    class Handler(BaseEventHandler):
        @classmethod
        def class_name(cls) -> str:
            return "Handler"

        def handle(self, event: Any, **kwargs: Any) -> None:
            if isinstance(event, ReRankStartEvent | ReRankEndEvent):
                seen.append(event)

    root, handler = get_dispatcher(), Handler()
    root.add_event_handler(handler)
    yield seen
    root.event_handlers.remove(handler)


async def _at_once(ours: MLXRerank) -> list[NodeWithScore]:
    return ours.postprocess_nodes(nodes(), query_str=QUERY)


async def _on_the_loop(ours: MLXRerank) -> list[NodeWithScore]:
    return await ours.apostprocess_nodes(nodes(), query_str=QUERY)


WAYS = (_at_once, _on_the_loop)


def payloads(debug: LlamaDebugHandler) -> list[list[dict[str, Any]]]:
    """The payloads of both events of each reranking."""
    return [[one.payload or {} for one in pair] for pair in debug.get_event_pairs(CBEventType.RERANKING)]


async def test_events_tell_of_every_call(events: list[Any]) -> None:
    for top_n in (3, None):
        for way in WAYS:
            found = await way(reranker(top_n=top_n))
            start, end = events
            assert (start.query.query_str, start.model_name) == (QUERY, str(RERANKER))
            assert (start.top_n, len(start.nodes)) == (top_n or 8, 8)
            assert end.nodes == found
            events.clear()
    reranker().postprocess_nodes([], query_str=QUERY)
    assert events == []


async def test_callbacks_tell_of_every_call() -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    ours = reranker(top_n=3, callback_manager=CallbackManager([debug]))
    for way in WAYS:
        found = await way(ours)
        [(start, end)] = payloads(debug)
        assert start[EventPayload.QUERY_STR] == QUERY
        assert start[EventPayload.MODEL_NAME] == str(RERANKER)
        assert start[EventPayload.TOP_K] == 3
        assert len(start[EventPayload.NODES]) == 8
        assert end[EventPayload.NODES] == found
        debug.flush_event_logs()


async def test_a_call_that_fails_is_told_as_failed(events: list[Any]) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    ours = reranker(instruction="Find plants", callback_manager=CallbackManager([debug]))
    for way in WAYS:
        with pytest.raises(ValueError, match="takes none") as caught:
            await way(ours)
        [(_, end)] = payloads(debug)
        assert end == {EventPayload.EXCEPTION: caught.value}
        debug.flush_event_logs()
    assert {type(one) for one in events} == {ReRankStartEvent}


def test_it_does_what_the_frameworks_own_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """``SentenceTransformerRerank`` with the same scores gives the same nodes, and tells the same."""
    seen: list[list[tuple[str, str]]] = []

    class CrossEncoder:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def predict(self, given: list[tuple[str, str]]) -> Any:
            seen.append(given)
            with rerank_service() as service:
                return service.score(given)

    module: Any = types.ModuleType("sentence_transformers")
    module.CrossEncoder = CrossEncoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    handlers = [LlamaDebugHandler(print_trace_on_end=False) for _ in range(2)]
    theirs = SentenceTransformerRerank(model="any", device="cpu", top_n=3, keep_retrieval_score=True)
    ours = reranker(top_n=3, keep_retrieval_score=True)
    results = []
    for one, handler in zip((theirs, ours), handlers, strict=True):
        one.callback_manager = CallbackManager([handler])
        given = [NodeWithScore(node=TextNode(text=text, id_=str(at), metadata={"page": at}), score=0.5)
                 for at, text in enumerate(FACTS)]  # fmt: skip
        results.append(one.postprocess_nodes(given, QueryBundle(QUERY)))
    assert ranking(results[0]) == ranking(results[1])
    assert [one.metadata for one in results[0]] == [one.metadata for one in results[1]]
    assert [text for _, text in seen[0]] == [f"page: {at}\n\n{text}" for at, text in enumerate(FACTS)]
    (told, retold) = ([[one.keys() for one in pair] for pair in payloads(handler)] for handler in handlers)
    assert told == retold


@pytest.mark.long
def test_the_example_runs() -> None:
    example = REPOSITORY / "integrations" / "llama-index" / "examples" / "rerank_nodes.py"
    output = run_python(example.read_text(encoding="utf-8"), "how do I divide?", "--reranker", str(RERANKER))
    lines = output.strip().splitlines()
    assert lines[0] == "how do I divide?"
    assert [line for line in lines if not line.startswith("    [")] == [lines[0], lines[1], lines[5]]
    assert len(lines) == 9
    assert sorted(lines[2:5]) != sorted(lines[6:9])
