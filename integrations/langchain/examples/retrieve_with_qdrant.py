"""Retrieval for RAG: index the language reference that comes with Python in Qdrant, reopen the index, ask questions.

Qdrant runs inside this program and keeps its collection in a folder; no server, no network, no LLM. The passages
printed are what a RAG chain would hand to its model.

Run: ``python retrieve_with_qdrant.py``, or ``python retrieve_with_qdrant.py "your question"``.
"""

import re
import shutil
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from pydoc_data.topics import topics

from langchain_akidb import MLXEmbeddings
from langchain_core.documents import Document
from langchain_qdrant import QdrantVectorStore

QUESTIONS = [
    "how do I catch an exception?",
    "which objects count as false in a condition?",
    "how do I format a number with two decimals?",
]
TOPICS = ["booleans", "comparisons", "exceptions", "formatstrings", "try", "truth", "while", "with"]
INDEX = Path(tempfile.gettempdir(), "akidb-langchain-index")


def documents() -> list[Document]:
    """A document for each paragraph of more than a line, under the topics above."""
    return [
        Document(" ".join(paragraph.split()), metadata={"topic": topic})
        for topic in TOPICS
        for paragraph in re.split(r"\n\s*\n", topics[topic])
        if len(paragraph.split()) > 12
    ]


def build(embeddings: MLXEmbeddings, collection: str) -> None:
    """Embed the documents and keep them in the folder."""
    shutil.rmtree(INDEX, ignore_errors=True)
    start = time.perf_counter()
    found = documents()
    print(f"Indexing {len(found)} passages of Python's language reference …", flush=True)
    store = QdrantVectorStore.from_documents(found, embeddings, path=str(INDEX), collection_name=collection)
    store.client.close()  # a folder is open in one program at a time
    print(f"Indexed {len(found)} passages in {time.perf_counter() - start:.1f} s, in {INDEX}.")


def main() -> None:
    questions = sys.argv[1:] or QUESTIONS
    embeddings = MLXEmbeddings("minilm-l6-v2")
    # The namespace names the space the vectors lie in: an index of another model or prompt is never asked by mistake.
    collection = embeddings.cache_namespace
    build(embeddings, collection)
    store = QdrantVectorStore.from_existing_collection(collection, embeddings, path=str(INDEX))
    for question in questions:
        print(f"\n{question}")
        for document, score in store.similarity_search_with_score(question, k=3):
            print(f"  {score:.3f}  [{document.metadata['topic']}] {textwrap.shorten(document.page_content, 150)}")
    store.client.close()


if __name__ == "__main__":
    main()
