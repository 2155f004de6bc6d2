"""The dtype of each tensor, against what its role allows."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.compute.runtime import mx
from akidb_embeddings.errors import CheckpointError
from tests.fixtures import copy_model, edit_json
from tests.random_models import QWEN3, quantize_folder, random_model


def store_as(file: Path, dtype: str, name: str, convert: Callable[[NDArray[Any]], bytes]) -> None:
    """Store one tensor again in another dtype."""
    header, body, arrays = {}, b"", load_file(file)
    for key, values in arrays.items():
        raw = convert(values) if key == name else values.tobytes()
        entry = {"dtype": dtype if key == name else "F32", "shape": values.shape}
        header[key] = {**entry, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)


def fp8(values: NDArray[Any]) -> bytes:
    return np.array(mx.to_fp8(mx.array(values))).tobytes()


def as_type(dtype: str) -> Callable[[NDArray[Any]], bytes]:
    return lambda values: np.abs(values * 10).astype(dtype).tobytes()


@pytest.mark.parametrize("name", ["encoder.layer.0.output.dense.weight", "encoder.layer.0.output.LayerNorm.weight"])
@pytest.mark.parametrize(
    ("dtype", "convert"),
    [
        ("F8_E4M3", fp8),
        ("F8_E5M2", fp8),
        ("I8", as_type("i1")),
        ("U8", as_type("u1")),
        ("BOOL", as_type("?")),
        ("I32", as_type("i4")),
        ("U32", as_type("u4")),
        ("F64", as_type("f8")),
    ],
)
def test_a_weight_in_a_dtype_that_is_no_float_is_refused(
    tmp_path: Path, name: str, dtype: str, convert: Callable[[NDArray[Any]], bytes]
) -> None:
    """MLX reads FP8 as the integers 0 to 255, which gave vectors with a cosine of -0.37 to the authors'."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    store_as(folder / "model.safetensors", dtype, name, convert)
    message = (
        rf"model\.safetensors stores the tensor {name} as {dtype}; allowed: F32, F16, BF16\. (Give|Write) the model"
    )
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(folder))


def test_a_dtype_that_no_role_of_mlx_lms_models_allows(tmp_path: Path) -> None:
    folder = copy_model("tiny-llama", tmp_path / "model")
    store_as(folder / "model.safetensors", "F8_E4M3", "model.layers.0.mlp.up_proj.weight", fp8)
    with pytest.raises(CheckpointError, match=r"up_proj\.weight as F8_E4M3; allowed: F32, F16, BF16, I64"):
        EmbeddingService(str(folder))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "?"])
def test_integers_in_place_of_a_weight_of_mlx_lms_models(tmp_path: Path, dtype: str) -> None:
    folder = copy_model("tiny-llama", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] = (tensors["model.layers.0.mlp.up_proj.weight"] * 9).astype(dtype)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"up_proj\.weight holds .*; its role allows .*floating"):
        EmbeddingService(str(folder))


def test_tensors_that_embeddings_do_not_use_may_have_any_dtype(tmp_path: Path) -> None:
    folder = copy_model("tiny-bert", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors["embeddings.position_ids"] = np.arange(4)[None]
    save_file(tensors, folder / "model.safetensors")
    EmbeddingService(str(folder)).close()


@pytest.mark.parametrize(
    ("mode", "part", "dtype", "message"),
    [
        ((4, 64, "affine"), "weight", mx.int32, "as I32; allowed: U32"),
        ((4, 64, "affine"), "scales", mx.int16, "as I16; allowed: F32, F16, BF16, U8"),
        ((4, 64, "affine"), "biases", mx.uint8, "as U8; allowed: F32, F16, BF16"),
        ((4, 64, "affine"), "scales", mx.uint8, "scales holds .*uint8; its role allows .*floating"),
        ((4, 32, "mxfp4"), "scales", mx.float16, "scales holds .*float16; its role allows .*uint8"),
    ],
)
def test_packed_matrices(tmp_path: Path, mode: tuple[int, int, str], part: str, dtype: mx.Dtype, message: str) -> None:
    source = random_model(tmp_path / "model", QWEN3)
    quantize_folder(source, tmp_path / "packed", tmp_path / "expanded", lambda name: mode)
    EmbeddingService(str(tmp_path / "packed")).close()
    file = tmp_path / "packed" / "model.safetensors"
    tensors = mx.load(str(file))
    assert isinstance(tensors, dict)
    name = f"layers.0.mlp.up_proj.{part}"
    tensors[name] = tensors[name].astype(dtype)
    mx.eval(tensors)
    mx.save_safetensors(str(file), tensors)
    with pytest.raises(CheckpointError, match=message):
        EmbeddingService(str(tmp_path / "packed"))


@pytest.mark.parametrize(
    ("key", "value"), [("bits", 7), ("bits", 0), ("group_size", 0), ("mode", "nf4"), ("bits", "4")]
)
def test_a_quantization_that_mlx_has_not(tmp_path: Path, key: str, value: object) -> None:
    source = random_model(tmp_path / "model", QWEN3)
    quantize_folder(source, tmp_path / "packed", tmp_path / "expanded", lambda name: (4, 64, "affine"))
    edit_json(tmp_path / "packed" / "config.json", quantization={"bits": 4, "group_size": 64, key: value})
    with pytest.raises(CheckpointError, match=rf"gives {key} as .*; it must be one of"):
        EmbeddingService(str(tmp_path / "packed"))
