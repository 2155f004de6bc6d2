"""Semantic search: a table of the language reference that comes with Python, reopened by its name, and searched.

LanceDB runs inside this program and keeps its table in a folder; no server, no network.

Run: ``python search_with_lancedb.py``, or ``python search_with_lancedb.py "your question"``.
"""

import re
import sys
import tempfile
import textwrap
import time
from pydoc_data.topics import topics
from typing import Any

import lancedb
import lancedb_akidb  # noqa: F401  # puts "akidb" into LanceDB's registry
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel

QUESTIONS = [
    "how do I catch an exception?",
    "which objects count as false in a condition?",
    "how do I format a number with two decimals?",
]
TOPICS = ["booleans", "comparisons", "exceptions", "formatstrings", "try", "truth", "while", "with"]


def passages() -> list[dict[str, str]]:
    """A row for each paragraph of more than a line, under the topics above."""
    return [
        {"topic": topic, "text": " ".join(paragraph.split())}
        for topic in TOPICS
        for paragraph in re.split(r"\n\s*\n", topics[topic])
        if len(paragraph.split()) > 12
    ]


def build(folder: str) -> None:
    """Embed the passages and keep them in the folder."""
    start = time.perf_counter()
    model = get_registry().get("akidb").create(name="minilm-l6-v2")

    class Passage(LanceModel):
        topic: str
        text: str = model.SourceField()
        vector: list[float] = model.VectorField()

    found = passages()
    print(f"Indexing {len(found)} passages of Python's language reference …", flush=True)
    lancedb.connect(folder).create_table("python", schema=Passage).add(found)
    print(f"Indexed {len(found)} passages in {time.perf_counter() - start:.1f} s.")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        build(folder)
        # As in another program, which imports lancedb_akidb: the table has kept which model computes its vectors.
        table: Any = lancedb.connect(folder).open_table("python")
        for question in sys.argv[1:] or QUESTIONS:
            print(f"\n{question}")
            for row in table.search(question).distance_type("cosine").limit(3).to_list():
                print(f"  {1 - row['_distance']:.3f}  [{row['topic']}] {textwrap.shorten(row['text'], 150)}")


if __name__ == "__main__":
    main()
