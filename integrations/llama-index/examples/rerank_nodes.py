"""Retrieve and rerank for RAG: an index of vectors finds twenty passages, and a reranker reads them and picks three.

The passages are of the language reference that comes with Python. The embedding model is bundled. The reranker is
downloaded when it is first used (92 MB); no other network, no server, no LLM.

Run: ``python rerank_nodes.py``, or
``python rerank_nodes.py "your question" --reranker bge-reranker-v2-m3``.
"""

import argparse
import re
import textwrap
from pydoc_data.topics import topics

from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index.postprocessor.akidb import MLXRerank

QUESTIONS = [
    "how do I catch an exception?",
    "which objects count as false in a condition?",
    "how do I format a number with two decimals?",
]
TOPICS = ["booleans", "comparisons", "exceptions", "formatstrings", "try", "truth", "while", "with"]
RETRIEVED, READ = 20, 3


def nodes() -> list[TextNode]:
    """A node for each paragraph of more than a line, under the topics above."""
    return [
        # The topic is for people: left out of what the models read.
        TextNode(text=" ".join(paragraph.split()), metadata={"topic": topic}, excluded_embed_metadata_keys=["topic"])
        for topic in TOPICS
        for paragraph in re.split(r"\n\s*\n", topics[topic])
        if len(paragraph.split()) > 12
    ]


def show(found: list[NodeWithScore], heading: str) -> None:
    print(f"  {heading}")
    for one in found:
        print(f"    [{one.metadata['topic']}] {textwrap.shorten(one.text, 120)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("questions", nargs="*", default=QUESTIONS)
    parser.add_argument("--reranker", default="ms-marco-minilm-l6-v2", help="a registry name, a repository or a folder")
    arguments = parser.parse_args()
    Settings.embed_model = MLXEmbedding("minilm-l6-v2")
    retriever = VectorStoreIndex(nodes()).as_retriever(similarity_top_k=RETRIEVED)
    # In a query engine: index.as_query_engine(similarity_top_k=RETRIEVED, node_postprocessors=[reranker])
    reranker = MLXRerank(arguments.reranker, top_n=READ)
    for question in arguments.questions:
        print(f"\n{question}")
        retrieved = retriever.retrieve(question)
        show(retrieved[:READ], f"the first {READ} of {RETRIEVED} by their vectors:")
        show(reranker.postprocess_nodes(retrieved, query_str=question), "after reranking:")


if __name__ == "__main__":
    main()
