"""Retrieve and rerank for RAG: a store of vectors finds twenty passages, and a reranker reads them and picks three.

The passages are of the language reference that comes with Python. The embedding model is bundled. The reranker is
downloaded when it is first used (92 MB); no other network, no server, no LLM.

Run: ``python rerank_documents.py``, or
``python rerank_documents.py "your question" --reranker bge-reranker-v2-m3``.
"""

import argparse
import re
import textwrap
from pydoc_data.topics import topics

from langchain_akidb import MLXEmbeddings, MLXRerank
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

QUESTIONS = [
    "how do I catch an exception?",
    "which objects count as false in a condition?",
    "how do I format a number with two decimals?",
]
TOPICS = ["booleans", "comparisons", "exceptions", "formatstrings", "try", "truth", "while", "with"]
RETRIEVED, READ = 20, 3


def documents() -> list[Document]:
    """A document for each paragraph of more than a line, under the topics above."""
    return [
        Document(" ".join(paragraph.split()), metadata={"topic": topic})
        for topic in TOPICS
        for paragraph in re.split(r"\n\s*\n", topics[topic])
        if len(paragraph.split()) > 12
    ]


def show(found: list[Document], heading: str) -> None:
    print(f"  {heading}")
    for document in found:
        print(f"    [{document.metadata['topic']}] {textwrap.shorten(document.page_content, 120)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    parser.add_argument("--reranker", default="ms-marco-minilm-l6-v2", help="a registry name, a repository or a folder")
    arguments = parser.parse_args()
    store = InMemoryVectorStore.from_documents(documents(), MLXEmbeddings("minilm-l6-v2"))
    reranker = MLXRerank(arguments.reranker, top_n=READ)
    for question in arguments.questions:
        print(f"\n{question}")
        retrieved = store.similarity_search(question, k=RETRIEVED)
        show(retrieved[:READ], f"the first {READ} of {RETRIEVED} by their vectors:")
        show(list(reranker.compress_documents(retrieved, question)), "after reranking:")


if __name__ == "__main__":
    main()
