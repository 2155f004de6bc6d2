"""Safetensors files: whole or damaged, one or several."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from akidb_embeddings.checkpoint.safetensors import locate_tensors, read_header, weight_files
from akidb_embeddings.errors import CheckpointError
from tests.hub_server import safetensors


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(
        {"a.weight": np.ones((2, 3), np.float32), "model.b": np.ones(4, np.float16)}, tmp_path / "model.safetensors"
    )
    return tmp_path / "model.safetensors"


def test_names_and_shapes(file: Path) -> None:
    header = read_header(file)
    assert {key: location.shape for key, location in header.items()} == {"a.weight": (2, 3), "model.b": (4,)}
    assert set(locate_tensors(file.parent, "model.", [])) == {"a.weight", "b"}
    assert locate_tensors(file.parent, "model.", [])["b"].key == "model.b"


def test_whole_safetensors_pass(tmp_path: Path) -> None:
    arrays: list[dict[str, NDArray[Any]]] = [{}, {"a": np.zeros((2, 3)), "b": np.zeros(5, np.int8)}]
    for tensors in arrays:
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "mlx"})
        read_header(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234567",
        safetensors()[:-1],
        safetensors()[:20],
        safetensors() + b"\0",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a": {}}',
    ],
)
def test_damaged_safetensors_are_named_with_the_cure(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged.*; do this$"):
        read_header(path, "do this")


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        read_header(path)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        locate_tensors(tmp_path, "", [])


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_a_damaged_index(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        weight_files(tmp_path)


def test_an_index_never_leads_out_of_the_folder(file: Path) -> None:
    (file.parent / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "../../model.safetensors"}})
    )
    assert weight_files(file.parent) == [file]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        read_header(tmp_path / "model.safetensors")
