"""Semantic search: a collection of the language reference that comes with Python, reopened by its name, and asked.

Chroma runs inside this program and keeps its collection in a folder; no server, no network.

Run: ``python search_with_chroma.py``, or ``python search_with_chroma.py "your question"``.
"""

import re
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import chromadb
from chroma_akidb import MLXEmbeddingFunction

QUESTIONS = [
    "how do I catch an exception?",
    "which objects count as false in a condition?",
    "how do I format a number with two decimals?",
]
TOPICS = ["booleans", "comparisons", "exceptions", "formatstrings", "try", "truth", "while", "with"]


def passages() -> list[tuple[str, str]]:
    """The topic and the text of each paragraph of more than a line, under the topics above."""
    return [
        (topic, " ".join(paragraph.split()))
        for topic in TOPICS
        for paragraph in re.split(r"\n\s*\n", topics[topic])
        if len(paragraph.split()) > 12
    ]


def build(folder: Path) -> None:
    """Embed the passages and keep them in the folder."""
    start = time.perf_counter()
    found = passages()
    print(f"Indexing {len(found)} passages of Python's language reference …", flush=True)
    client = chromadb.PersistentClient(folder)
    collection = client.create_collection("python", embedding_function=MLXEmbeddingFunction("minilm-l6-v2"))
    collection.add(
        ids=[str(number) for number in range(len(found))],
        documents=[text for _, text in found],
        metadatas=[{"topic": topic} for topic, _ in found],
    )
    print(f"Indexed {len(found)} passages in {time.perf_counter() - start:.1f} s.")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        # As in another program, which imports chroma_akidb: Chroma has kept which model computes the vectors.
        collection = chromadb.PersistentClient(folder).get_collection("python")
        for question in sys.argv[1:] or QUESTIONS:
            print(f"\n{question}")
            found: Any = collection.query(query_texts=[question], n_results=3)
            lists = (found[name][0] for name in ("documents", "metadatas", "distances"))
            for text, metadata, distance in zip(*lists, strict=True):
                print(f"  {1 - distance:.3f}  [{metadata['topic']}] {textwrap.shorten(text, 150)}")


if __name__ == "__main__":
    main()
