"""Calls of ``SentenceTransformer.encode`` and the like that its goldens are made of.

Standard library only, so that the tests make the same calls.
"""

import json
from pathlib import Path
from typing import Any

TEXTS = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
    "",
    "cat",
    "MIXED Case, with Punctuation!?",
    " ".join(["again"] * 300),
]
BASE = "tiny-bert-cls"
PROMPTS = {"query": "Find this: ", "document": "the text ", "STS": "compare: "}
MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "default": {"default_prompt_name": "STS"},
    "raw": {"default_prompt_name": "STS", "truncate_dim": 24, "similarity_fn_name": "dot"},
}
"""Entries of config_sentence_transformers.json besides the prompts; ``raw`` has no module that normalizes."""
MATRYOSHKA = [8, 16, 24]

Call = tuple[str, dict[str, Any]]
CALLS: dict[str, Call] = {
    "encode": ("encode", {}),
    "prompt_name": ("encode", {"prompt_name": "query"}),
    "prompt": ("encode", {"prompt": "mine: "}),
    "no prompt": ("encode", {"prompt": ""}),
    "both": ("encode", {"prompt": "mine: ", "prompt_name": "query"}),
    "query": ("encode_query", {}),
    "query STS": ("encode_query", {"prompt_name": "STS"}),
    "document": ("encode_document", {}),
    "document prompt": ("encode_document", {"prompt": ""}),
    "normalized": ("encode", {"normalize_embeddings": True}),
    "cut": ("encode", {"truncate_dim": 16}),
    "cut normalized": ("encode", {"truncate_dim": 16, "normalize_embeddings": True}),
    **{name: ("encode", {"precision": name}) for name in ("float32", "int8", "uint8", "binary", "ubinary")},
    "cut int8": ("encode_query", {"precision": "int8", "truncate_dim": 8}),
    "cut ubinary": ("encode", {"precision": "ubinary", "truncate_dim": 16}),
}
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")


def edit_model(folder: Path, name: str) -> Path:
    """Make a copy of ``BASE`` into one of ``MODELS``."""
    described = folder / "config_sentence_transformers.json"
    _edit(described, json.loads(described.read_text(encoding="utf-8")) | {"prompts": PROMPTS} | MODELS[name])
    config = folder / "config.json"
    _edit(config, json.loads(config.read_text(encoding="utf-8")) | {"matryoshka_dimensions": MATRYOSHKA})
    if name == "raw":
        modules = folder / "modules.json"
        _edit(modules, json.loads(modules.read_text(encoding="utf-8"))[:-1])
    return folder


def _edit(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")
