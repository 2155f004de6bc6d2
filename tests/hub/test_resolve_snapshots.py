"""Snapshots in the Hugging Face cache: used if they are whole, completed in our own cache if not."""

import contextlib
import logging
from pathlib import Path

import pytest

from akidb_embeddings.errors import DownloadError, ModelNotFoundError
from akidb_embeddings.hub import download, resolve
from akidb_embeddings.registry import MODELS
from tests.hub_fixtures import BIG, KNOWN, REPO, SOCKETS_ARE_LEFT, snapshot
from tests.hub_fixtures import own_home as own_home
from tests.hub_fixtures import own_hub as own_hub
from tests.hub_server import Files, HubServer, commit_of, tiny_model, write_files

pytestmark = SOCKETS_ARE_LEFT


@pytest.mark.parametrize("revision", [None, "main", "commit"])
def test_a_whole_snapshot_is_found(revision: str | None) -> None:
    files = tiny_model(**{"modules.json": b"[]"})
    folder = snapshot(REPO, files)
    revision = commit_of(files) if revision == "commit" else revision
    found = resolve.find_model(REPO, revision=revision)
    assert found == resolve.ModelFiles(REPO, folder, "huggingface", None, commit_of(files))
    assert resolve.find_model(REPO, revision="other") is None
    assert download.get_model_info(REPO).size_on_disk == sum(map(len, files.values()))


def test_the_hugging_face_cache_may_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    snapshot(MODELS[KNOWN].repo, tiny_model())
    found = resolve.find_model(KNOWN)
    assert found is not None
    assert found.spec == MODELS[KNOWN]
    monkeypatch.delenv("HF_HUB_CACHE")
    assert resolve.find_model(KNOWN) is None


@pytest.mark.parametrize("missing", ["tokenizer.json", "model.safetensors", "modules.json"])
def test_a_partial_snapshot_is_completed_in_our_cache(
    server: HubServer, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    files = BIG | {"modules.json": b"[]"}
    server.add(REPO, files)
    snapshot(REPO, {name: files[name] for name in files if name != missing}, commit=commit_of(files))
    with caplog.at_level(logging.WARNING):
        assert resolve.find_model(REPO) is None
    assert missing in caplog.text
    with pytest.raises(ModelNotFoundError, match=f"without {missing}"):
        download.resolve_model(REPO, auto_download=False)
    found = download.resolve_model(REPO)
    assert found.origin == "cache"
    assert all(len(server.sent(name)) == (name == missing) for name in files), "only what is missing is fetched"


def test_a_damaged_snapshot_is_not_used_and_force_replaces_it(server: HubServer) -> None:
    commit = server.add(REPO, BIG)
    damaged = BIG | {"model.safetensors": BIG["model.safetensors"][:-1], "modules.json": b"[]"}
    snapshot(REPO, damaged, commit=commit)
    assert resolve.find_model(REPO) is None
    with contextlib.suppress(DownloadError):
        download.download_model(REPO)
    found = download.download_model(REPO, force=True)
    assert (found.path / "model.safetensors").read_bytes() == BIG["model.safetensors"]


SETTINGS = ("config_sentence_transformers.json", "sentence_bert_config.json", "tokenizer_config.json")
WHOLE = tiny_model(**{"modules.json": b"[]", **dict.fromkeys(SETTINGS, b"{}")})


def without(name: str, files: Files = WHOLE) -> Files:
    return {other: content for other, content in files.items() if other != name}


@pytest.mark.parametrize("missing", SETTINGS)
def test_a_snapshot_without_settings_that_the_repository_has_is_completed(
    server: HubServer, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    """As after a download that failed at one small file. It loads, but with other prompts or another activation."""
    snapshot(REPO, without(missing), commit=server.add(REPO, WHOLE))
    with caplog.at_level(logging.WARNING):
        found = download.resolve_model(REPO)
    assert found.origin == "cache"
    assert (found.path / missing).read_bytes() == b"{}"
    assert f"incomplete, without {missing}" in caplog.text
    assert all(len(server.sent(name)) == (name == missing) for name in WHOLE), "only what is missing is fetched"


@pytest.mark.parametrize("missing", SETTINGS)
def test_a_snapshot_is_used_without_settings_that_no_one_has(
    server: HubServer, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    files = without(missing)
    folder = snapshot(REPO, files, commit=server.add(REPO, files))
    assert download.resolve_model(REPO).path == folder
    assert not caplog.records


@pytest.mark.parametrize("way", ["offline", "no download", "no answer"])
def test_where_the_hub_does_not_tell_a_warning_does(
    server: HubServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    folder = snapshot(REPO, without(SETTINGS[0]), commit=server.add(REPO, WHOLE))
    if way == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif way == "no answer":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        assert download.resolve_model(REPO, auto_download=way != "no download").path == folder
    [told] = [record.getMessage() for record in caplog.records if record.name.startswith("akidb")]
    assert f"has no {SETTINGS[0]}" in told
    assert "akidb-embed download org/name" in told


def test_what_other_libraries_found_absent_is_not_asked_for(server: HubServer) -> None:
    folder = snapshot(REPO, without(SETTINGS[0]), commit=server.add(REPO, WHOLE))
    write_files(folder.parents[1] / ".no_exist" / folder.name, {SETTINGS[0]: b""})
    assert download.resolve_model(REPO).path == folder
    assert not server.requests
