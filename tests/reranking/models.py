"""What the tests of rerankers share: the tiny models, their golden scores, and logits of a folder on any backend."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from akidb_embeddings.checkpoint.frame import DEFAULT_INSTRUCTION, FRAME, framed_pair
from akidb_embeddings.checkpoint.reranker import read_reranker
from akidb_embeddings.compute.backend import Backend
from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.planner import pad
from akidb_embeddings.tokenization.pair_tokenizer import PairTokenizer
from tests.fixtures import DATA, Array
from tests.golden.pairs import PAIRS, Pair

BERT, XLM_ROBERTA, QWEN3 = "tiny-bert-reranker", "tiny-xlm-roberta-reranker", "tiny-qwen3-reranker"
LABELS = "tiny-bert-labels"
CLASSIFIER = "tiny-qwen3-classifier"
ONE_SCORE = (
    *(BERT, XLM_ROBERTA, "tiny-roberta-reranker", "tiny-distilbert-reranker"),
    *("tiny-modernbert-reranker-cls", "tiny-modernbert-reranker-mean", CLASSIFIER, QWEN3),
    "tiny-qwen3-reranker-untied",
)
ALL = (*ONE_SCORE, LABELS)
QUERY, DOCUMENTS = "how do the plants make sugar", [document for _, document in PAIRS[60:80]]


def folder(name: str) -> Path:
    return DATA / "models" / name


def known(name: str) -> list[int]:
    """The pairs that have a golden score: one model has no token for a pair of empty texts."""
    return [at for at, pair in enumerate(PAIRS) if name != CLASSIFIER or any(pair)]


def chosen(name: str, step: int = 1) -> tuple[list[int], list[Pair]]:
    """Every ``step``-th of these pairs."""
    places = known(name)[::step]
    return places, [PAIRS[at] for at in places]


def logits(path: Path, backend: Backend, pairs: Sequence[Pair], rows: int = 1) -> Array:
    """Logits of pairs, float32 [n, labels], on this thread, in micro-batches of ``rows`` pairs."""
    checkpoint = read_reranker(path)
    queries, documents = zip(*pairs, strict=True)
    tokens = PairTokenizer(checkpoint, checkpoint.max_tokens).encode(queries, documents, checkpoint.default_prompt)
    model = MLXModel(checkpoint, backend)
    parts = []
    for begin in range(0, len(pairs), rows):
        firsts = None if tokens.first_parts is None else tokens.first_parts[begin : begin + rows]
        parts += model.start([pad(tokens.ids[begin : begin + rows], "", first_parts=firsts)])()
    model.close()
    return np.concatenate(parts)


# The template in Qwen/Qwen3-Reranker-0.6B since April 2026, to the byte.
CHAT_TEMPLATE = (
    '{%- set instruction = messages | selectattr("role", "eq", "system") | map(attribute="content") | first'
    f' | default("{DEFAULT_INSTRUCTION}") -%}}\n'
    '{%- set query_text = messages | selectattr("role", "eq", "query") | map(attribute="content") | first -%}\n'
    '{%- set document_text = messages | selectattr("role", "eq", "document") | map(attribute="content") | first -%}\n'
    + FRAME.before
    + framed_pair("{{ instruction }}", "{{ query_text }}", "{{ document_text }}")
    + FRAME.after
    + "\n"
)


def add_crossencoder_files(path: Path) -> None:
    """What that repository has for sentence-transformers."""
    ids = vocabulary(path)
    forward = {"method": "forward", "method_output_name": "logits"}
    kinds = {
        "": "base.modules.transformer.Transformer",
        "1_LogitScore": "cross_encoder.modules.logit_score.LogitScore",
    }
    files = {
        "modules.json": [
            {"idx": index, "name": str(index), "path": name, "type": f"sentence_transformers.{kind}"}
            for index, (name, kind) in enumerate(kinds.items())
        ],
        "sentence_bert_config.json": {
            "transformer_task": "text-generation",
            "modality_config": {"text": forward, "message": forward | {"format": "flat"}},
            "module_output_name": "causal_logits",
        },
        "1_LogitScore/config.json": {"true_token_id": ids["yes"], "false_token_id": ids["no"]},
        "config_sentence_transformers.json": {
            "activation_fn": "torch.nn.modules.linear.Identity",
            "default_prompt_name": "query",
            "model_type": "CrossEncoder",
            "prompts": {"query": DEFAULT_INSTRUCTION},
        },
    }
    (path / "1_LogitScore").mkdir()
    for name, content in files.items():
        (path / name).write_text(json.dumps(content))
    (path / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def vocabulary(path: Path) -> dict[str, int]:
    content = json.loads((path / "tokenizer.json").read_text())
    added = {token["content"]: token["id"] for token in content["added_tokens"]}
    return {**content["model"]["vocab"], **added}
