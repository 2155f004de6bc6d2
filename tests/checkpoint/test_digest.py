"""The digest of a model folder: what it depends on, and when files are read again for it."""

import hashlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.checkpoint.checkpoint import read_checkpoint
from tests.conftest import at_once
from tests.fixtures import adapter_path, copy_model, edit_json


def digest(folder: Path) -> str:
    return read_checkpoint(folder).digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_model("tiny-bert", tmp_path / "model")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read for a digest, as they are read."""
    names, lock, read = list[str](), threading.Lock(), hashlib.file_digest

    def noted(stream: Any, name: str) -> Any:
        with lock:
            names.append(Path(stream.name).name)
        return read(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    return names


@pytest.fixture
def an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock, but not that of the file system: all files have not changed for an hour."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3600 * 10**9)


def test_digest_sees_contents_and_not_the_place(folder: Path, tmp_path: Path) -> None:
    other = copy_model("tiny-bert", tmp_path / "other")
    (other / "README.md").write_text("a note")
    (other / "akidb.json").write_text("{}")
    (other / "SOURCE.json").write_text("{}")
    assert digest(folder) == digest(other)
    edit_json(other / "1_Pooling" / "config.json", note=1)
    assert digest(folder) != digest(other)


def test_digest_with_an_adapter_does_not_depend_on_which_folder_is_first(folder: Path, tmp_path: Path) -> None:
    adapter = adapter_path("tiny-bert-lora")
    digests = set()
    for name in ("a", "z", "model/adapter"):  # before the model's folder, after it, and in it
        shutil.copytree(adapter, tmp_path / name)
        digests.add(read_checkpoint(folder, adapter=tmp_path / name).digest)
    inside = tmp_path / "a" / "model"  # the model in its adapter's folder
    shutil.copytree(folder, inside, ignore=lambda *_: ["adapter"])
    digests.add(read_checkpoint(inside, adapter=tmp_path / "a").digest)
    assert len(digests) == 1
    assert digests != {digest(folder)}


def test_an_adapters_tokenizer_counts_if_it_is_used(folder: Path, tmp_path: Path) -> None:
    adapter = copy_model(adapter_path("tiny-bert-lora"), tmp_path / "adapter")
    alone = read_checkpoint(folder, adapter=adapter).digest
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, adapter / name)
    assert read_checkpoint(folder, adapter=adapter).digest == alone  # PEFT's folders have one that none reads
    shutil.copy(folder / "modules.json", adapter)
    shutil.copytree(folder / "1_Pooling", adapter / "1_Pooling")
    with_modules = read_checkpoint(folder, adapter=adapter).digest
    edit_json(adapter / "tokenizer_config.json", model_max_length=9)
    assert len({alone, with_modules, read_checkpoint(folder, adapter=adapter).digest}) == 3


@pytest.mark.usefixtures("an_hour_later")
def test_only_a_changed_file_is_read_again(folder: Path, reads: list[str]) -> None:
    first = digest(folder)
    assert "model.safetensors" in reads
    reads.clear()
    assert digest(folder) == first
    assert reads == []
    edit_json(folder / "config.json", note=1)
    changed = digest(folder)
    assert changed != first
    assert reads == ["config.json"]
    assert digest(folder) == changed


@pytest.mark.usefixtures("an_hour_later")
def test_a_file_in_place_of_another_is_read_though_size_and_time_are_equal(folder: Path) -> None:
    weights = folder / "model.safetensors"
    first, times = digest(folder), weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    (folder / "other").write_bytes(content)
    os.utime(folder / "other", ns=(times.st_atime_ns, times.st_mtime_ns))
    (folder / "other").replace(weights)
    assert digest(folder) != first


def test_a_file_that_has_just_changed_is_read_each_time(folder: Path, reads: list[str]) -> None:
    """It may change again within one tick of the file system's clock, and then look as it did."""
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    seen = set()
    for number in range(50):
        content[-1] = number
        weights.write_bytes(content)
        os.utime(weights, (1, 1))
        seen.add(digest(folder))
    assert len(seen) == 50
    assert reads.count(weights.name) == 50


@pytest.mark.usefixtures("an_hour_later")
def test_a_file_that_changes_while_it_is_read_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, read = folder / "model.safetensors", hashlib.file_digest
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1

    def overtaken(stream: Any, name: str) -> Any:
        result = read(stream, name)
        if stream.name == str(weights):
            weights.write_bytes(content)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", overtaken)
        before = digest(folder)
    assert digest(folder) != before


@pytest.mark.usefixtures("an_hour_later")
def test_threads_agree(folder: Path) -> None:
    assert len(set(at_once(lambda caller: digest(folder), 16))) == 1
