"""Downloading models from a hub on this machine: what is fetched, where it is kept, and how it is replaced."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from akidb_embeddings.errors import DownloadError, EmbeddingError
from akidb_embeddings.hub import cache, download, resolve
from akidb_embeddings.registry import MODELS
from tests.hub_fixtures import BUNDLED, KNOWN, REPO, SOCKETS_ARE_LEFT, names, snapshot, use_registry
from tests.hub_fixtures import own_home as own_home
from tests.hub_fixtures import own_hub as own_hub
from tests.hub_server import HubServer, commit_of, safetensors, tiny_model, write_files

pytestmark = SOCKETS_ARE_LEFT


def test_the_bundled_model_comes_first_and_is_never_fetched(server: HubServer) -> None:
    bundle = write_files(resolve.BUNDLE_ROOT / BUNDLED, tiny_model())
    snapshot(MODELS[BUNDLED].repo, tiny_model())
    for files in (
        resolve.find_model(BUNDLED),
        download.resolve_model(BUNDLED),
        download.download_model(BUNDLED, force=True),
    ):
        assert files == resolve.ModelFiles(BUNDLED, bundle, "bundled", MODELS[BUNDLED], None)
    assert server.requests == []


def test_a_download_fetches_what_is_needed_and_nothing_else(server: HubServer) -> None:
    needed = tiny_model(
        **{
            "vocab.txt": b"a",
            "tokenizer.model": b"b",
            "LICENSE.txt": b"c",
            "README.md": b"",
            "modules.json": b"[]",
            "1_Pooling/config.json": b"{}",
            "2_Dense/model.safetensors": safetensors(1),
        }
    )
    others = [".gitattributes", "pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "onnx/config.json", "akidb.json"]
    others += ["openvino/config.json", "checkpoint-5/model.safetensors", "a/b/config.json", "2_Dense/pytorch_model.bin"]
    commit = server.add(REPO, needed | dict.fromkeys(others, b"{}"))
    assert resolve.find_model(REPO) is None

    files = download.resolve_model(REPO)
    assert files == resolve.ModelFiles(REPO, cache.get_cache_dir() / "models/org--name", "cache", None, commit)
    assert names(files.path) == sorted([*needed, cache.MANIFEST])
    assert all((files.path / name).read_bytes() == content for name, content in needed.items())
    manifest = cache.read_manifest(files.path)
    assert manifest is not None
    assert (manifest.repo, manifest.requested, manifest.commit) == (REPO, None, commit)
    assert manifest.files == {name: len(content) for name, content in needed.items()}


def test_a_cached_model_needs_no_network(server: HubServer) -> None:
    downloaded = download.download_model(REPO)
    server.requests.clear()
    assert resolve.find_model(REPO) == download.resolve_model(REPO) == download.download_model(REPO) == downloaded
    assert server.requests == []


def test_a_download_leaves_nothing_behind(server: HubServer) -> None:
    files = download.download_model(REPO)
    assert names(cache.get_cache_dir()) == sorted(
        ["models/.locks/org--name.lock", *(f"models/org--name/{name}" for name in names(files.path))]
    )
    assert not cache.hugging_face_cache().exists()


def test_the_cache_dir_argument_is_used(server: HubServer, tmp_path: Path) -> None:
    files = download.download_model(REPO, cache_dir=tmp_path / "own")
    assert files.path == tmp_path / "own/models/org--name"
    assert download.is_model_cached(REPO, cache_dir=tmp_path / "own")
    assert not download.is_model_cached(REPO)


def test_a_registry_name_is_fetched_from_its_repository(server: HubServer) -> None:
    commit = server.add(MODELS[KNOWN].repo)
    files = download.download_model(KNOWN)
    assert (files.path.name, files.spec, files.revision) == (KNOWN, MODELS[KNOWN], commit)
    assert resolve.find_model(MODELS[KNOWN].repo) is None
    assert download.download_model(MODELS[KNOWN].repo).spec == MODELS[KNOWN]


def test_a_registry_name_takes_its_pinned_revision_unless_asked_otherwise(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned, other = tiny_model(**{"config.json": b"[1]"}), tiny_model(**{"config.json": b"[2]"})
    server.add("org/pinned", v1=pinned, v2=other)
    spec = replace(MODELS["minilm-l6-v2"], name="pinned", repo="org/pinned", revision="v1", bundled=False)
    use_registry(monkeypatch, spec)
    assert download.download_model("pinned").revision == commit_of(pinned)
    assert download.download_model("pinned", revision="v2").revision == commit_of(other)
    use_registry(monkeypatch, replace(spec, revision="v2"))
    assert resolve.find_model("pinned") is None, "an earlier pin does not count"


def test_revisions_are_kept_apart(server: HubServer) -> None:
    branch = tiny_model(**{"config.json": b'{"branch": 1}'})
    main = server.add(REPO, **{"feature/x": branch})
    files = download.download_model(REPO, revision="feature/x")
    assert files.revision == commit_of(branch)
    assert files.path == cache.get_cache_dir() / "models/org--name@feature%2Fx"
    assert resolve.find_model(REPO) is None
    assert download.download_model(REPO, revision=main).path.name == f"org--name@{main}"
    assert resolve.find_model(REPO, revision="feature/x") == files


def test_a_cached_model_of_another_repository_does_not_count(server: HubServer) -> None:
    server.add(MODELS[KNOWN].repo)
    folder = download.download_model(KNOWN).path
    manifest = cache.read_manifest(folder)
    assert manifest is not None
    cache.Manifest(KNOWN, "former/repo", None, manifest.commit, manifest.files, manifest.date).write(folder)
    assert resolve.find_model(KNOWN) is None
    assert download.resolve_model(KNOWN).path == folder


def test_force_replaces_the_model(server: HubServer) -> None:
    download.download_model(REPO)
    newer = tiny_model(**{"config.json": b'{"newer": 1}'})
    server.add(REPO, newer)
    assert download.download_model(REPO).revision != commit_of(newer)
    files = download.download_model(REPO, force=True)
    assert files.revision == commit_of(newer)
    assert (files.path / "config.json").read_bytes() == newer["config.json"]
    assert resolve.find_model(REPO) == files
    assert not cache.partial_folder(files.path).exists()


@pytest.mark.long
def test_readers_do_not_notice_a_replacement(server: HubServer) -> None:
    files = download.download_model(REPO)
    with ThreadPoolExecutor(1) as pool:
        replacements = pool.submit(lambda: [download.download_model(REPO, force=True) for _ in range(5)])
        while not replacements.done():
            assert resolve.find_model(REPO) == files
        assert replacements.result() == [files] * 5


def test_a_reader_between_the_two_renames_waits(server: HubServer) -> None:
    files = download.download_model(REPO)
    previous = cache.partial_folder(files.path) / "previous"
    previous.parent.mkdir()
    files.path.rename(previous)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(resolve.find_model, REPO)
        threading.Event().wait(0.1)
        previous.rename(files.path)
        assert reader.result() == files


def test_a_failed_force_keeps_the_old_model(server: HubServer) -> None:
    files = download.download_model(REPO)
    server.failures["GET", "model.safetensors"] = 500
    with pytest.raises(DownloadError):
        download.download_model(REPO, force=True)
    assert resolve.find_model(REPO) == files


def test_a_folder_that_is_not_ours_is_not_replaced(server: HubServer) -> None:
    folder = write_files(cache.model_folder(REPO, None), {"precious": b"x"})
    with pytest.raises(EmbeddingError, match="move it away"):
        download.download_model(REPO)
    assert names(folder) == ["precious"]


def test_importing_is_cheap() -> None:
    heavy = ("huggingface_hub", "filelock", "mlx", "numpy", "tokenizers", "transformers")
    code = f"import sys, akidb_embeddings.hub.download; raise SystemExit(bool(sys.modules.keys() & set({heavy})))"
    subprocess.run([sys.executable, "-c", code], cwd=Path(download.__file__).parents[2], check=True)
