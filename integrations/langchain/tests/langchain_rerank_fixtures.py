"""What the modules about the reranker need: one that no file of this machine changes, its equal, documents."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_akidb import MLXRerank
from langchain_core.documents import Document

from akidb_embeddings import RerankConfig, RerankService
from tests.fixtures import DATA

RERANKER = DATA / "models" / "tiny-bert-reranker"  # which gives logits
QUERY = "how do the plants make sugar"
PASSAGES = [
    "Plants make sugar from light, water and air.",
    "",
    "the sugar of the plants " * 20,
    "über 東京 🦊",
    "Plants make sugar from light, water and air.",
    "two\nlines",
    " ",
    "a stone",
]


def reranker(model: str | Path = RERANKER, **arguments: Any) -> MLXRerank:
    """The reranker with these arguments over the defaults."""
    return MLXRerank(model, config=RerankConfig(), **arguments)


def rerank_service(model: str | Path = RERANKER, **settings: Any) -> RerankService:
    """What it is to agree with."""
    return RerankService(model, config=RerankConfig(), **settings)


Call = Callable[[MLXRerank, Sequence[Document], str], Sequence[Document]]


def _on_a_loop(ours: MLXRerank, documents: Sequence[Document], query: str) -> Sequence[Document]:
    return asyncio.run(ours.acompress_documents(documents, query))


def _at_once(ours: MLXRerank, documents: Sequence[Document], query: str) -> Sequence[Document]:
    return ours.compress_documents(documents, query)


ways = pytest.mark.parametrize("compress", [_at_once, _on_a_loop], ids=["sync", "async"])


def documents(texts: Sequence[str] = PASSAGES) -> list[Document]:
    return [Document(text, id=f"d{at}", metadata={"at": at, "tags": ["plain"]}) for at, text in enumerate(texts)]


def ranking(found: Sequence[Document]) -> list[tuple[int, float]]:
    return [(document.metadata["at"], document.metadata["relevance_score"]) for document in found]
