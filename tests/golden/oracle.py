"""sentence-transformers as the oracle: one text at a time, float32, eager attention, on the CPU."""

import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import sentence_transformers
import tokenizers
import torch
import transformers
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from texts import DOCUMENTS, QUERIES, TEXTS

Vectors = NDArray[np.float32]

RAW_POOLINGS = {"texts_mean": "mean", "texts_cls": "cls", "texts_last": "lasttoken"}


def load(folder: Path) -> SentenceTransformer:
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    return SentenceTransformer(str(folder), device="cpu", model_kwargs=options, local_files_only=True)


def transformer(model: SentenceTransformer) -> Any:
    """The transformers model inside: its first module's."""
    return model[0].model


def embed(encode: Callable[..., Any], texts: Sequence[str]) -> Vectors:
    """[len(texts), dimension]; a batch never holds more than one text."""
    rows = [encode([text], batch_size=1, show_progress_bar=False, convert_to_numpy=True)[0] for text in texts]
    return np.stack(rows).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Encoded:
    """One text on its way through the model: its token ids [L] and its last hidden states [1, L, hidden]."""

    ids: list[int]
    hidden: torch.Tensor


def hidden_states(model: SentenceTransformer, text: str) -> Encoded:
    features = model.preprocess([text])
    with torch.inference_mode():
        hidden = model[0](features)["token_embeddings"]
    return Encoded(features["input_ids"][0].tolist(), hidden)


def pool(hidden: torch.Tensor, mode: str) -> Vectors:
    """Pooled hidden states [hidden], before any dense layer or normalization."""
    pooling = Pooling(hidden.shape[-1], pooling_mode=mode)
    pooled: Vectors = pooling({"token_embeddings": hidden})["sentence_embedding"][0].numpy()
    return pooled


def golden(folder: Path, *, raw_poolings: bool) -> dict[str, NDArray[Any]]:
    """Everything the tests compare with, by the names that ``README.md`` explains."""
    model = load(folder)
    encoded = [hidden_states(model, text) for text in TEXTS]
    tokenizer = model.tokenizer
    arrays: dict[str, NDArray[Any]] = {
        "texts": embed(model.encode, TEXTS),
        "queries": embed(model.encode_query, QUERIES),
        "documents": embed(model.encode_document, DOCUMENTS),
        "token_counts": np.array([len(text.ids) for text in encoded], np.int32),
        "full_token_counts": np.array([len(tokenizer(text)["input_ids"]) for text in TEXTS], np.int32),
        "versions": np.array(json.dumps(versions())),
    }
    if raw_poolings:
        for name, mode in RAW_POOLINGS.items():
            arrays[name] = np.stack([pool(text.hidden, mode) for text in encoded])
    return arrays


def versions() -> dict[str, str]:
    modules = (torch, transformers, sentence_transformers, tokenizers, safetensors, np)
    return {"python": platform.python_version()} | {module.__name__: module.__version__ for module in modules}
