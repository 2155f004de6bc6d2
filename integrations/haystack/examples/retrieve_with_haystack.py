"""Retrieval for RAG with Haystack: index the language reference that comes with Python, and ask questions.

Both pipelines are saved as YAML and loaded again, as a service would load them. The store is in memory; no server, no
network, no LLM.

Run: ``python retrieve_with_haystack.py``, or ``python retrieve_with_haystack.py "your question"``.
"""

import re
import sys
import textwrap
import time
from pydoc_data.topics import topics

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack_integrations.components.embedders.akidb import MLXDocumentEmbedder, MLXTextEmbedder

QUESTIONS = [
    "how do I catch an exception?",
    "which objects count as false in a condition?",
    "how do I format a number with two decimals?",
]
TOPICS = ["booleans", "comparisons", "exceptions", "formatstrings", "try", "truth", "while", "with"]


def documents() -> list[Document]:
    """A document for each paragraph of more than a line, under the topics above."""
    return [
        Document(content=" ".join(paragraph.split()), meta={"topic": topic})
        for topic in TOPICS
        for paragraph in re.split(r"\n\s*\n", topics[topic])
        if len(paragraph.split()) > 12
    ]


def indexing(store: InMemoryDocumentStore) -> Pipeline:
    """Documents to the store."""
    pipeline = Pipeline()
    pipeline.add_component("embedder", MLXDocumentEmbedder("minilm-l6-v2"))
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("embedder.documents", "writer.documents")
    return pipeline


def querying(store: InMemoryDocumentStore) -> Pipeline:
    """A question to the passages that answer it."""
    pipeline = Pipeline()
    pipeline.add_component("embedder", MLXTextEmbedder("minilm-l6-v2"))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=3))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    return pipeline


def main() -> None:
    store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
    found = documents()
    start = time.perf_counter()
    Pipeline.loads(indexing(store).dumps()).run({"embedder": {"documents": found}})
    print(f"Indexed {len(found)} passages in {time.perf_counter() - start:.1f} s.")
    asking = Pipeline.loads(querying(store).dumps())
    for question in sys.argv[1:] or QUESTIONS:
        print(f"\n{question}")
        for one in asking.run({"embedder": {"text": question}})["retriever"]["documents"]:
            print(f"  {one.score:.3f}  [{one.meta['topic']}] {textwrap.shorten(one.content, 150)}")


if __name__ == "__main__":
    main()
