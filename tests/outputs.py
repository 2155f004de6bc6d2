"""Sparse weights and token vectors as the golden files have them: rows of different sizes, one after the other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from akidb_embeddings.vectors.sparse import SparseVector
from tests.fixtures import DATA, adapter_path, copy_model, edit_json, golden


def golden_rows(model: str, name: str) -> list[NDArray[Any]]:
    arrays = golden(model)
    return np.split(arrays[name], np.cumsum(arrays[f"{name}_sizes"])[:-1])


def golden_sparse(model: str, name: str) -> list[SparseVector]:
    indices, values = golden_rows(model, f"{name}_indices"), golden_rows(model, f"{name}_values")
    return [SparseVector(*pair) for pair in zip(indices, values, strict=True)]


def check_sparse(found: Sequence[SparseVector], expected: Sequence[SparseVector], tolerance: float = 1e-5) -> None:
    """Fail unless the weights are the same; one below the tolerance may be missing."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.indices.dtype == np.int32
        assert one.values.dtype == np.float32
        assert (np.diff(one.indices) > 0).all()
        assert (one.values > 0).all()
        weights, others = (dict(zip(v.indices.tolist(), v.values.tolist(), strict=True)) for v in (one, other))
        for index in weights.keys() | others.keys():
            assert abs(weights.get(index, 0.0) - others.get(index, 0.0)) <= tolerance


def bge_m3(folder: Path, *files: str) -> Path:
    """The tiny XLM-RoBERTa with BGE-M3's layer of weights, in safetensors or as its authors publish it."""
    copy_model("tiny-xlm-roberta", folder)
    for file in files or ("sparse_linear.safetensors",):
        (folder / file).write_bytes((DATA / "models" / "tiny-bge-m3" / file).read_bytes())
    return folder


def fitting_adapter(folder: Path) -> Path:
    """A LoRA adapter of one layer that every BERT with 32 dimensions has."""
    copy_model(adapter_path("tiny-bert-lora"), folder)
    edit_json(folder / "adapter_config.json", rank_pattern={}, alpha_pattern={}, r=2, lora_alpha=4)
    generator = np.random.default_rng(0)
    layer = "base_model.model.encoder.layer.0.attention.output.dense"
    shapes = {f"{layer}.lora_A.weight": (2, 32), f"{layer}.lora_B.weight": (32, 2)}
    tensors = {name: generator.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder
