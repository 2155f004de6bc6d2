"""A reranker of real dimensions with random float32 weights, and the bundled model's tokenizer: scores mean nothing."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.hub.resolve import BUNDLE_ROOT
from akidb_embeddings.registry import BUNDLED
from bench.model_folders import staged, write_json, write_tensors

RANDOM_RERANKER = "random:ms-marco-minilm-l6-v2"
MS_MARCO_MINILM_L6: Mapping[str, Any] = {
    "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 384,
    "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30522,
    "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    "pad_token_id": 0, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "dtype": "float32",
    "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity", "version": "4.1.0"},
}  # fmt: skip
_VERSION = 1
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_Part = tuple[str, str, tuple[int, ...]]


def random_reranker(cache: Path) -> Path:
    """The folder of the random reranker below ``cache``; made if it is not there yet."""
    folder = cache / "bench" / f"{RANDOM_RERANKER.replace(':', '-')}-v{_VERSION}"
    if not folder.is_dir():
        write_reranker(folder)
    return folder


def write_reranker(folder: Path, config: Mapping[str, Any] = MS_MARCO_MINILM_L6, seed: int = 5) -> None:
    """Write a whole model folder. It appears under its name when it is whole."""
    generator = np.random.default_rng(seed)
    with staged(folder) as staging:
        for name in _TOKENIZER_FILES:
            shutil.copy(BUNDLE_ROOT / BUNDLED / name, staging)
        write_json(staging / "config.json", config)
        parts = list(_parts(config))
        write_tensors(staging / "model.safetensors", parts, (_values(part, generator) for part in parts))


def _values(part: _Part, generator: np.random.Generator) -> NDArray[np.float32]:
    """Norms of one, biases of zero, and matrices whose products are about as large as their factors."""
    name, _, shape = part
    if name.endswith("LayerNorm.weight"):
        return np.ones(shape, dtype=np.float32)
    if name.endswith(".bias"):
        return np.zeros(shape, dtype=np.float32)
    spread = 1.0 if "_embeddings." in name else shape[1] ** -0.5
    return generator.standard_normal(shape, dtype=np.float32) * np.float32(spread)


def _parts(config: Mapping[str, Any]) -> Iterator[_Part]:
    """Name, type and shape of each tensor of ``BertForSequenceClassification``."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    rows = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    for name, size in rows.items():
        yield f"bert.embeddings.{name}_embeddings.weight", "float32", (config[size], hidden)
    yield from _norm("bert.embeddings.LayerNorm", hidden)
    for index in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{index}"
        for part in ("query", "key", "value"):
            yield from _dense(f"{layer}.attention.self.{part}", hidden, hidden)
        yield from _dense(f"{layer}.attention.output.dense", hidden, hidden)
        yield from _norm(f"{layer}.attention.output.LayerNorm", hidden)
        yield from _dense(f"{layer}.intermediate.dense", hidden, inner)
        yield from _dense(f"{layer}.output.dense", inner, hidden)
        yield from _norm(f"{layer}.output.LayerNorm", hidden)
    yield from _dense("bert.pooler.dense", hidden, hidden)
    yield from _dense("classifier", hidden, len(config["id2label"]))


def _dense(name: str, inputs: int, outputs: int) -> Iterator[_Part]:
    yield f"{name}.weight", "float32", (outputs, inputs)
    yield f"{name}.bias", "float32", (outputs,)


def _norm(name: str, size: int) -> Iterator[_Part]:
    yield f"{name}.weight", "float32", (size,)
    yield f"{name}.bias", "float32", (size,)
