"""Retrieval for RAG: index the language reference that comes with Python with FAISS, reopen the index, ask questions.

FAISS runs inside this program and keeps its vectors in a file; no server, no network, no LLM. The passages printed are
what a query engine would hand to its model.

Run: ``python retrieve_with_faiss.py``, or ``python retrieve_with_faiss.py "your question"``.
"""

import re
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from pydoc_data.topics import topics

import faiss
from llama_index.core import Settings, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import TextNode
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index.vector_stores.faiss import FaissVectorStore

QUESTIONS = [
    "how do I catch an exception?",
    "which objects count as false in a condition?",
    "how do I format a number with two decimals?",
]
TOPICS = ["booleans", "comparisons", "exceptions", "formatstrings", "try", "truth", "while", "with"]
INDEX = Path(tempfile.gettempdir(), "akidb-llama-index")


def nodes() -> list[TextNode]:
    """A node for each paragraph of more than a line, under the topics above."""
    return [
        # The topic is for people: left out of what is embedded.
        TextNode(text=" ".join(paragraph.split()), metadata={"topic": topic}, excluded_embed_metadata_keys=["topic"])
        for topic in TOPICS
        for paragraph in re.split(r"\n\s*\n", topics[topic])
        if len(paragraph.split()) > 12
    ]


def build(embed_model: MLXEmbedding) -> None:
    """Embed the nodes and keep them in the folder."""
    start = time.perf_counter()
    found = nodes()
    print(f"Indexing {len(found)} passages of Python's language reference …", flush=True)
    dimension = len(embed_model.get_text_embedding("how long is a vector?"))
    # Inner product of vectors of length 1: cosine similarity.
    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(dimension))
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(found, storage_context=context, show_progress=True)
    index.storage_context.persist(persist_dir=str(INDEX))
    print(f"Indexed {len(found)} passages in {time.perf_counter() - start:.1f} s, in {INDEX}.")


def main() -> None:
    questions = sys.argv[1:] or QUESTIONS
    Settings.embed_model = embed_model = MLXEmbedding("minilm-l6-v2")
    build(embed_model)
    store = FaissVectorStore.from_persist_dir(str(INDEX))
    index = load_index_from_storage(StorageContext.from_defaults(vector_store=store, persist_dir=str(INDEX)))
    retriever = index.as_retriever(similarity_top_k=3)
    for question in questions:
        print(f"\n{question}")
        for result in retriever.retrieve(question):
            print(f"  {result.score:.3f}  [{result.metadata['topic']}] {textwrap.shorten(result.text, 150)}")


if __name__ == "__main__":
    main()
