"""Whether a folder holds a whole model."""

import json
from pathlib import Path

import pytest

from akidb_embeddings.checkpoint.integrity import check_model, missing_files, snapshot_problem
from akidb_embeddings.errors import CheckpointError
from tests.hub_server import safetensors, tiny_model, write_files


def modules(*kinds: str) -> bytes:
    """Return a modules.json whose module number N has the folder N_Kind."""
    entries = [{"type": f"sentence_transformers.models.{kind}", "path": f"{n}_{kind}"} for n, kind in enumerate(kinds)]
    return json.dumps(entries).encode()


def test_missing_files(tmp_path: Path) -> None:
    assert missing_files(tmp_path) == ["config.json", "tokenizer.json", "model.safetensors"]
    assert missing_files(write_files(tmp_path, tiny_model())) == []


def test_every_shard_of_the_index_is_needed(tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}})
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": index.encode()}
    write_files(tmp_path, files | {"one.safetensors": safetensors()})
    assert missing_files(tmp_path) == ["two.safetensors"]


@pytest.mark.parametrize("index", [b"{", b"[]", b"{}", b'{"weight_map": []}'])
def test_an_unreadable_index_is_named(tmp_path: Path, index: bytes) -> None:
    write_files(tmp_path, {"model.safetensors.index.json": index})
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        missing_files(tmp_path)


def test_damaged_dense_weights_are_found(tmp_path: Path) -> None:
    write_files(tmp_path, tiny_model() | {"2_Dense/model.safetensors": safetensors()[:-1]})
    with pytest.raises(CheckpointError, match="2_Dense"):
        check_model(tmp_path, "")


def test_a_snapshot_needs_the_files_that_decide_its_vectors(tmp_path: Path) -> None:
    write_files(tmp_path, tiny_model())
    assert "modules.json" in snapshot_problem(tmp_path, is_known=False)
    assert snapshot_problem(tmp_path, is_known=True) == ""
    write_files(tmp_path, {"README.md": b""})
    assert snapshot_problem(tmp_path, is_known=False) == ""
    write_files(tmp_path, {"modules.json": modules("Normalize", "Pooling", "Dense"), "2_Dense/config.json": b"{}"})
    assert "1_Pooling/config.json" in snapshot_problem(tmp_path, is_known=False)
    assert "1_Pooling" not in snapshot_problem(tmp_path, is_known=True)
    assert "2_Dense/model.safetensors" in snapshot_problem(tmp_path, is_known=True)
    write_files(tmp_path, {"1_Pooling/config.json": b"{}", "2_Dense/model.safetensors": safetensors()})
    assert snapshot_problem(tmp_path, is_known=False) == ""


@pytest.mark.parametrize("is_known", [True, False])
def test_a_rerankers_snapshot_needs_the_tokens_that_it_compares_and_no_pooling(tmp_path: Path, is_known: bool) -> None:
    write_files(tmp_path, tiny_model() | {"modules.json": modules("Transformer", "LogitScore")})
    assert snapshot_problem(tmp_path, is_known=is_known) == "incomplete, without 1_LogitScore/config.json"
    write_files(tmp_path, {"1_LogitScore/config.json": b"{}"})
    assert snapshot_problem(tmp_path, is_known=is_known) == ""


@pytest.mark.parametrize("text", [b"{", b"{}x", b"[1]", b'[{"path": ""}]', b'[{"type": 1, "path": ""}]'])
def test_unreadable_modules_are_a_flaw(tmp_path: Path, text: bytes) -> None:
    write_files(tmp_path, tiny_model() | {"modules.json": text})
    assert "modules.json" in snapshot_problem(tmp_path, is_known=True)
