"""Safetensors files: whole or damaged, one or several."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.tensor_files import locate_tensors, read_header, weight_files


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


@pytest.mark.parametrize("size", [0, 4, 20, -1])
def test_a_cut_file_is_named_with_the_cure(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged.*download"):
        read_header(file)


@pytest.mark.parametrize(
    "content", [b"\xff" * 64, (2).to_bytes(8, "little") + b"[]", (2).to_bytes(8, "little") + b"{]"]
)
def test_a_file_of_something_else_is_damaged(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_header(file)


def test_a_file_with_bytes_too_many_is_damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="bytes instead of"):
        read_header(file)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no weights"):
        weight_files(tmp_path)


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
