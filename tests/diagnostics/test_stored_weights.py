"""The second reader of weights finds what the first one reads wrongly, where vectors of both models agree."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings.checkpoint import base as base_module
from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from akidb_embeddings.checkpoint.kinds import read_model
from akidb_embeddings.checkpoint.safetensors import Location
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.compute.weights import Weights
from akidb_embeddings.conversion.convert import BITS, convert
from akidb_embeddings.diagnostics.stored_weights import StoredNumbers, changed_matrix, misread_tensor
from akidb_embeddings.diagnostics.verify import verify
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.registry import RerankerSpec
from tests.checkpoint.test_dtypes import fp8, store_as
from tests.fixtures import BUNDLED, copy_model, model_path
from tests.random_models import BERT, random_model


def reading(folder: Path) -> tuple[bool, str]:
    [check] = [one for one in verify(str(folder)).checks if one.name == "weights as stored"]
    return check.passed, check.text


def test_fp8_that_is_read_as_integers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was before dtypes were checked: the conversion's quality was 1.000000."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    store_as(folder / "model.safetensors", "F8_E4M3", "encoder.layer.0.output.dense.weight", fp8)
    monkeypatch.setattr(base_module, "check_dtypes", lambda *arguments: None)
    monkeypatch.setattr(Weights, "_pop", lambda self, name, shape, kind: self._tensors.pop(name))
    passed, text = reading(folder)
    assert not passed
    assert "output.dense.weight is stored as F8_E4M3: its number 0 is" in text
    with pytest.raises(CheckpointError, match=r"not converted as they are stored\. .*output\.dense\.weight"):
        convert(folder, tmp_path / "out", bits=None, measure=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_loader_that_gives_another_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    assert reading(folder) == (True, "NumPy reads the same numbers from the files")
    real: Any = mx.load
    monkeypatch.setattr(mx, "load", lambda name: {key: array * 1.5 for key, array in real(name).items()})
    passed, text = reading(folder)
    assert not passed
    assert "is stored as F32: its number" in text


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("bits", [None, *BITS])
def test_conversions_of_every_kind(tmp_path: Path, bits: int | None, dtype: str) -> None:
    source = random_model(tmp_path / "model", BERT)
    convert(source, tmp_path / "out", bits=bits, dtype=dtype, group_size=32)
    before, after = read_checkpoint(source), read_checkpoint(tmp_path / "out")
    assert misread_tensor(after) == ""
    assert changed_matrix(before, after) == ""
    tensors = load_file(source / "model.safetensors")
    save_file({name: values * np.float32(1.5) for name, values in tensors.items()}, source / "model.safetensors")
    assert "was " in changed_matrix(read_checkpoint(source), after)


def test_the_bundled_model() -> None:
    assert misread_tensor(read_checkpoint(BUNDLED)) == ""


def test_every_code_of_eight_bits(tmp_path: Path) -> None:
    """Against MLX's own conversion from FP8, and what the format says of E5M2."""
    codes = np.arange(256, dtype=np.uint8)
    header: dict[str, Any] = {
        name: {"dtype": name, "shape": [256], "data_offsets": [256 * index, 256 * index + 256]}
        for index, name in enumerate(("F8_E4M3", "F8_E5M2"))
    }
    text = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + codes.tobytes() * 2)
    numbers = StoredNumbers()
    found = {name: numbers.read(Location(file, name, (256,), name), 0, 256) for name in header}
    expected = np.array(mx.from_fp8(mx.array(codes), mx.float32))
    finite = np.isfinite(expected) & np.isfinite(found["F8_E4M3"])
    assert finite.sum() >= 254
    np.testing.assert_array_equal(found["F8_E4M3"][finite], expected[finite])
    halves = (codes.astype(np.uint16) << 8).view(np.float16)  # E5M2 is float16 without its last byte
    np.testing.assert_array_equal(found["F8_E5M2"], halves.astype(np.float64))
    np.testing.assert_array_equal(numbers.read(Location(file, "F8_E5M2", (256,), "F8_E5M2"), 250, 9).shape, (6,))


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("tiny-bert-reranker", "pooler.dense.weight"),
        ("tiny-modernbert-reranker-cls", "head.dense.weight"),
        ("tiny-xlm-roberta-reranker", "classifier.out_proj.weight"),
        ("tiny-qwen3-reranker-untied", "lm_head.weight"),
    ],
)
def test_a_head_is_read_too(name: str, tensor: str, tmp_path: Path) -> None:
    """Embedding models do not use tensors of these names."""
    source = read_model(model_path(name), kind=RerankerSpec)
    out = convert(source.path, tmp_path / "out", kind=RerankerSpec).path
    assert misread_tensor(source) == changed_matrix(source, read_model(out)) == ""
    tensors = load_file(out / "model.safetensors")
    [key] = [key for key in tensors if key.endswith(tensor)]
    tensors[key][0, 0] += 1
    save_file(tensors, out / "model.safetensors")
    assert changed_matrix(source, read_model(out)).startswith(f"{tensor}: its number 0 was ")
