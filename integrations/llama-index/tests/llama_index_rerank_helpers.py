"""What the modules about the reranker share: one that no file of this machine changes, its equal, nodes."""

import asyncio
import copy
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.akidb import MLXRerank

from akidb_embeddings import RerankConfig, RerankService
from tests.fixtures import DATA

RERANKER = DATA / "models" / "tiny-bert-reranker"  # which gives logits
XLM_ROBERTA = DATA / "models" / "tiny-xlm-roberta-reranker"  # which gives numbers from 0 to 1
QWEN3 = DATA / "models" / "tiny-qwen3-reranker"
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
# Every field, none with its default; NAMED has the one that excludes another.
FIELDS: dict[str, Any] = {
    "revision": "main",
    "max_tokens": 64,
    "truncate": "error",
    "instruction": "Find plants",
    "batch_size": 5,
    "memory": "compact",
    "compute": "strict",
    "warm_up": False,
    "keep_warm": 1.5,
    "max_queued_tokens": 1000,
    "auto_download": False,
    "cache_dir": "models",
    "top_n": None,
    "activation": "sigmoid",
    "max_over_passages": True,
    "keep_retrieval_score": True,
}
NAMED: dict[str, Any] = {"prompt_name": "query"}

COPIES: dict[str, Callable[[MLXRerank], MLXRerank]] = {
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "model_copy": lambda one: one.model_copy(),
    "deep model_copy": lambda one: one.model_copy(deep=True),
    "dict": lambda one: MLXRerank.from_dict(one.to_dict()),
    "json": lambda one: MLXRerank.from_json(one.to_json()),
    "json of a dict": lambda one: MLXRerank.from_dict(json.loads(json.dumps(one.to_dict()))),
}


def reranker(model: str | Path = RERANKER, **arguments: Any) -> MLXRerank:
    """The reranker with these arguments over the defaults."""
    return MLXRerank(model, config=RerankConfig(), **arguments)


def rerank_service(model: str | Path = RERANKER, **settings: Any) -> RerankService:
    """What it is to agree with."""
    return RerankService(model, config=RerankConfig(), **settings)


Call = Callable[[MLXRerank, Sequence[NodeWithScore], str], list[NodeWithScore]]


def _on_a_loop(ours: MLXRerank, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
    return asyncio.run(ours.apostprocess_nodes(nodes, query_str=query))


def _at_once(ours: MLXRerank, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
    return ours.postprocess_nodes(nodes, query_str=query)


ways = pytest.mark.parametrize("rerank", [_at_once, _on_a_loop], ids=["sync", "async"])


def nodes(texts: Sequence[str] = PASSAGES) -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(text=text, id_=str(at), metadata={}), score=1 - at / 100)
        for at, text in enumerate(texts)
    ]


def ranking(found: Sequence[NodeWithScore]) -> list[tuple[int, float | None]]:
    return [(int(one.node_id), one.score) for one in found]
