"""sentence-transformers' ``CrossEncoder`` as the oracle: one pair at a time, float32, eager attention, on the CPU."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from oracle import versions
from pairs import INSTRUCTION, PAIRS, Pair
from qwen_recipe import QwenReranker, write_published_files
from sentence_transformers import CrossEncoder

Arrays = dict[str, NDArray[Any]]
INSTRUCTION_STEP = 5
"""Every fifth pair is also scored with another instruction."""


def load(folder: Path) -> CrossEncoder:
    options = {"attn_implementation": "eager", "dtype": torch.float32}
    return CrossEncoder(str(folder), device="cpu", model_kwargs=options, local_files_only=True)


def ids_of(model: CrossEncoder, pair: Pair) -> list[int]:
    """As the model gets them: whole, between special tokens, truncated."""
    return list(map(int, model.preprocess([pair])["input_ids"][0].tolist()))


def full_ids(model: CrossEncoder, pair: Pair) -> list[int]:
    """The same before truncation. In a list, because ``tokenizer(query, "")`` takes the query for a text alone."""
    ids: list[int] = model.tokenizer([pair])["input_ids"][0]
    return ids


def predict(model: CrossEncoder, pairs: list[Pair], **options: Any) -> NDArray[np.float32]:
    """[len(pairs)] or [len(pairs), labels]; NaN for a pair without any token, which transformers cannot compute."""
    labels = model.num_labels
    nothing = np.full((1, labels) if labels > 1 else (1,), np.nan, np.float32)
    rows = [
        model.predict([pair], batch_size=1, show_progress_bar=False, **options) if ids_of(model, pair) else nothing
        for pair in pairs
    ]
    return np.concatenate(rows).astype(np.float32, copy=False)


def golden(folder: Path) -> Arrays:
    """Everything the tests compare with, by the names that ``README.md`` explains."""
    model = load(folder)
    logits = predict(model, PAIRS, activation_fn=torch.nn.Identity())
    return {
        "logits": logits.reshape(len(PAIRS), -1),
        "scores": predict(model, PAIRS),
        "token_counts": np.array([len(ids_of(model, pair)) for pair in PAIRS], np.int32),
        "full_token_counts": np.array([len(full_ids(model, pair)) for pair in PAIRS], np.int32),
        "versions": np.array(json.dumps(versions())),
    }


def qwen_golden(folder: Path) -> Arrays:
    """The same for Qwen3-Reranker, by its authors' recipe, and by ``CrossEncoder`` with today's published files."""
    model = QwenReranker(folder)
    both = torch.stack([model.no_and_yes(model.ids(*pair)) for pair in PAIRS])
    others = [model.no_and_yes(model.ids(*pair, INSTRUCTION)) for pair in PAIRS[::INSTRUCTION_STEP]]
    lengths = {truncate: [len(model.ids(*pair, truncate=truncate)) for pair in PAIRS] for truncate in (True, False)}
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(parent) / folder.name
        write_published_files(folder, copy, model.yes, model.no)
        published = load(copy)
        crossencoder_logits = predict(published, PAIRS)
    return {
        "logits": (both[:, 1:] - both[:, :1]).numpy(),
        "scores": torch.log_softmax(both, dim=1)[:, 1].exp().numpy(),
        "instruction_logits": (torch.stack(others)[:, 1:] - torch.stack(others)[:, :1]).numpy(),
        "crossencoder_logits": crossencoder_logits[:, None],
        "token_counts": np.array(lengths[True], np.int32),
        "full_token_counts": np.array(lengths[False], np.int32),
        "versions": np.array(json.dumps(versions())),
    }
