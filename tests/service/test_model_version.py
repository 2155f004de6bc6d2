"""The version of a model's folder: another one whenever the vectors may be, the same one otherwise, and cheap."""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings import MODELS, EmbeddingConfig
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.hub import resolve
from akidb_embeddings.registry import BUNDLED as BUNDLED_NAME
from akidb_embeddings.service import shared
from akidb_embeddings.service.shared import close_shared_services, model_version, shared_service
from tests.conftest import Making, at_once, background, eventually, run_python
from tests.fixtures import BUNDLED, copy_model, edit_json


def version(name: str | Path, **values: Any) -> str | None:
    return model_version(EmbeddingConfig(model_name=str(name), **values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with prompts, a default one among them, and dense layers."""
    copy = copy_model("tiny-gemma3", tmp_path / "model")
    edit_json(copy / PROMPTS_FILE, default_prompt_name="query")
    return copy


def other_last_byte(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def other_prompt(folder: Path) -> None:
    edit_json(folder / PROMPTS_FILE, prompts={"query": "other: ", "document": "title: none | text: "})


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: other_last_byte(folder / "model.safetensors"),
        lambda folder: other_last_byte(folder / "3_Dense" / "model.safetensors"),
        lambda folder: edit_json(folder / "3_Dense" / "config.json", activation_function="torch.nn.Tanh"),
        lambda folder: edit_json(
            folder / "1_Pooling" / "config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False
        ),
        lambda folder: edit_json(folder / "tokenizer.json", added_tokens=[]),
        lambda folder: edit_json(folder / "tokenizer_config.json", truncation_side="left"),
        lambda folder: edit_json(folder / "special_tokens_map.json", additional_special_tokens=["<ent>"]),
        lambda folder: edit_json(folder / "added_tokens.json", **{"<ent>": 500}),
        lambda folder: edit_json(folder / "sentence_bert_config.json", do_lower_case=True),
        lambda folder: edit_json(folder / "config.json", rope_theta=7.0),
        lambda folder: shutil.rmtree(folder / "1_Pooling"),
        other_prompt,
        lambda folder: edit_json(folder / PROMPTS_FILE, prompts=None, default_prompt_name=None),
        lambda folder: edit_json(folder / PROMPTS_FILE, default_prompt_name="document"),
        lambda folder: edit_json(folder / PROMPTS_FILE, default_prompt_name=None),
        lambda folder: edit_json(folder / PROMPTS_FILE, truncate_dim=8),
    ],
    ids=[
        "weights", "dense weights", "activation", "pooling", "tokenizer", "truncation side", "special tokens",
        "added tokens", "lowercase", "config", "no pooling", "prompt", "no prompts", "default prompt",
        "no default prompt", "truncate_dim",
    ],
)  # fmt: skip
def test_what_changes_vectors_changes_the_version(folder: Path, change: Callable[[Path], object]) -> None:
    before = version(folder)
    assert before
    change(folder)
    assert version(folder) not in (before, None)


def test_a_setting_in_a_file_of_an_older_name_changes_the_version(tmp_path: Path) -> None:
    """sentence-transformers named the file after the encoder, and it is read under any of these names."""
    folder = copy_model("tiny-bert", tmp_path / "model")
    file = (folder / "sentence_bert_config.json").rename(folder / "sentence_roberta_config.json")
    before = version(folder)
    edit_json(file, do_lower_case=True)
    assert version(folder) != before


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_module_in_a_folder_of_any_name_changes_the_version(folder: Path, file: str) -> None:
    """modules.json says where they are."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[3]["path"] = "projection"
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "3_Dense").rename(folder / "projection")
    before = version(folder)
    if file == "config.json":
        edit_json(folder / "projection" / file, activation_function="torch.nn.Tanh")
    else:
        other_last_byte(folder / "projection" / file)
    assert version(folder) != before


def touch(folder: Path) -> None:
    for file in folder.rglob("*"):
        os.utime(file, (1, 1))


def rewrite(folder: Path) -> None:
    for file in filter(Path.is_file, folder.rglob("*")):
        file.write_bytes(file.read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        touch,
        rewrite,
        lambda folder: (folder / "README.md").write_text("new"),
        lambda folder: (folder / "SOURCE").write_text("new"),
        lambda folder: edit_json(folder / PROMPTS_FILE, __version__={"sentence_transformers": "9"}),
        lambda folder: (folder / "2_Dense" / "README.md").write_text("new"),
    ],
    ids=["touched", "rewritten", "README", "SOURCE", "another exporter", "README of a module"],
)
def test_what_changes_no_vectors_changes_no_version(folder: Path, change: Callable[[Path], object]) -> None:
    before = version(folder)
    assert before
    change(folder)
    assert version(folder) == before


def test_the_order_of_prompts_is_none_of_it(folder: Path) -> None:
    before = version(folder)
    prompts = json.loads((folder / PROMPTS_FILE).read_text())["prompts"]
    edit_json(folder / PROMPTS_FILE, prompts=dict(reversed(prompts.items())))
    assert version(folder) == before


def test_a_copy_and_a_link_have_the_same_version(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    versions = {version(name) for name in (folder, "copy", "./copy", tmp_path / "link", f"{folder}/")}
    assert versions == {version(folder)} != {None}


def test_settings_are_none_of_it(folder: Path) -> None:
    """They stand in the configuration, beside the version."""
    assert version(folder, pooling="cls", query_prompt="x", dimensions=8) == version(folder)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("org/name", {}),
        ("sentence-transformers/all-MiniLM-L6-v2", {}),
        (next(name for name, spec in MODELS.items() if not spec.bundled), {}),
        (BUNDLED_NAME, {"revision": "main"}),
        ("no-such-model", {}),
        ("./not-there", {}),
        ("/not/there/either", {}),
        ("~nobody-has-this-name/model", {}),
    ],
)
def test_what_is_no_folder_has_no_version(name: str, values: dict[str, Any]) -> None:
    assert version(name, **values) is None


def test_a_folder_by_the_name_of_a_known_model_is_not_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(name for name, spec in MODELS.items() if not spec.bundled)
    copy_model("tiny-bert", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert version(name) is None
    assert version(f"./{name}")


@pytest.mark.parametrize("bundled", [True, False])
def test_a_service_has_the_version_of_its_folder(making: Making, folder: Path, bundled: bool) -> None:
    config = EmbeddingConfig(model_name=BUNDLED_NAME if bundled else str(folder))
    before = model_version(config)
    assert before
    service = shared_service(config)
    assert model_version(config) == before
    service.close()
    assert model_version(config) == before


def test_a_bundle_that_was_left_out_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the model comes from a cache or the hub, like any other."""
    for module in (resolve, shared):
        monkeypatch.setattr(module, "BUNDLE_ROOT", tmp_path)
    assert version(BUNDLED_NAME) is None


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", PROMPTS_FILE])
def test_a_folder_that_is_no_whole_model_is_an_error(folder: Path, file: str) -> None:
    (folder / file).write_text("{")
    with pytest.raises(CheckpointError, match=file):
        version(folder)


def test_a_loaded_model_keeps_its_version_though_its_folder_changed(making: Making, folder: Path) -> None:
    config = EmbeddingConfig(model_name=str(folder))
    service, loaded = shared_service(config), model_version(config)
    other_last_byte(folder / "model.safetensors")
    assert model_version(config) == loaded
    assert model_version(config.with_values(dimensions=8)) != loaded
    shutil.rmtree(folder)
    copy_model("tiny-gemma3", folder)
    other_prompt(folder)
    assert model_version(config) == loaded
    service.close()
    changed = model_version(config)
    assert changed not in (loaded, None)
    assert shared_service(config).settings.prompts["query"] == "other: "
    assert model_version(config) == changed
    close_shared_services()


def test_it_does_not_wait_for_a_service_that_is_loading(making: Making, folder: Path) -> None:
    config = EmbeddingConfig(model_name=str(folder))
    making.gate.clear()
    loading = background(lambda: shared_service(config))
    assert eventually(lambda: making.begun)
    before = background(lambda: model_version(config)).result(5)
    making.gate.set()
    assert loading.result(30).alive
    assert model_version(config) == before


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads, lock, digest = list[str](), threading.Lock(), hashlib.file_digest

    def noted(stream: Any, name: str) -> Any:
        with lock:
            reads.append(stream.name)
        return digest(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    return reads


def test_unchanged_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = counted_reads(monkeypatch)
    assert version(folder) == version(folder, dimensions=8) == version(folder)
    assert len(reads) == len(set(reads)) > 3
    os.utime(folder / "config.json", (1, 1))
    version(folder)
    assert reads.count(str(folder / "config.json")) == 2


def test_weights_replaced_with_equal_size_and_time_change_the_version(folder: Path) -> None:
    """As archives with a fixed time, rsync and cp -p leave them."""
    weights = folder / "model.safetensors"
    times = weights.stat()
    before = version(folder)
    other = folder / "other"
    shutil.copy(weights, other)
    other_last_byte(other)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(weights)
    assert version(folder) != before


def test_many_threads_agree(folder: Path) -> None:
    assert len(set(at_once(lambda caller: version(folder, dimensions=1 + caller), 16))) == 1


def test_no_mlx_is_needed() -> None:
    program = """
import sys
from akidb_embeddings import EmbeddingConfig, model_version
print(*[len(model_version(EmbeddingConfig(model_name=name))) for name in sys.argv[1:]])
assert not {name.partition(".")[0] for name in sys.modules} & {"mlx", "transformers", "torch"}
"""
    assert run_python(program, BUNDLED_NAME, str(BUNDLED)) == "20 20\n"
