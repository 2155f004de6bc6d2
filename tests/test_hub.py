"""Finding and downloading models, against a hub on this machine."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from akidb_embeddings import cache, finder, hub
from akidb_embeddings.errors import (
    CheckpointError,
    DownloadError,
    EmbeddingError,
    ModelNotFoundError,
)
from akidb_embeddings.registry import MODELS
from tests.hub_server import Files, HubServer, commit_of, isolate, safetensors, tiny_model, write_files

# huggingface_hub 0.x leaves its sockets to the garbage collector, which then complains.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

REPO = "org/name"
KNOWN = next(name for name, spec in MODELS.items() if not spec.bundled and spec.revision is None)
BUNDLED = "minilm-l6-v2"
BIG = tiny_model(**{"model.safetensors": safetensors(50_000)})


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the test's own home; no model is bundled unless a test says so."""
    monkeypatch.setattr(finder, "BUNDLE_ROOT", tmp_path / "bundled")
    return isolate(monkeypatch, tmp_path / "home")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Return a hub of the test's own, which HF_ENDPOINT names and which has the repository ``org/name``."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))  # huggingface_hub waits for seconds
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.add(REPO)
        yield server


def snapshot(repo: str, files: Files, *, branch: str = "main", commit: str = "") -> Path:
    """Put a snapshot into the Hugging Face cache, as links to its blobs."""
    root = cache.hugging_face_cache() / f"models--{repo.replace('/', '--')}"
    write_files(root, {f"refs/{branch}": (commit or commit_of(files)).encode()})
    folder = root / "snapshots" / (commit or commit_of(files))
    for name, content in files.items():
        write_files(root / "blobs", {name.replace("/", "-"): content})
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(root / "blobs" / name.replace("/", "-"))
    return folder


def names(folder: Path) -> list[str]:
    """Return the names of all files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Downloads


def test_the_bundled_model_comes_first_and_is_never_fetched(server: HubServer) -> None:
    bundle = write_files(finder.BUNDLE_ROOT / BUNDLED, tiny_model())
    snapshot(MODELS[BUNDLED].repo, tiny_model())
    for files in (finder.find_model(BUNDLED), hub.resolve_model(BUNDLED), hub.download_model(BUNDLED, force=True)):
        assert files == finder.ModelFiles(BUNDLED, bundle, "bundled", MODELS[BUNDLED], None)
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
    assert finder.find_model(REPO) is None

    files = hub.resolve_model(REPO)
    assert files == finder.ModelFiles(REPO, cache.get_cache_dir() / "models/org--name", "cache", None, commit)
    assert names(files.path) == sorted([*needed, cache.MANIFEST])
    assert all((files.path / name).read_bytes() == content for name, content in needed.items())
    manifest = cache.read_manifest(files.path)
    assert manifest is not None
    assert (manifest.repo, manifest.requested, manifest.commit) == (REPO, None, commit)
    assert manifest.files == {name: len(content) for name, content in needed.items()}


def test_a_cached_model_needs_no_network(server: HubServer) -> None:
    downloaded = hub.download_model(REPO)
    server.requests.clear()
    assert finder.find_model(REPO) == hub.resolve_model(REPO) == hub.download_model(REPO) == downloaded
    assert server.requests == []


def test_a_download_leaves_nothing_behind(server: HubServer) -> None:
    files = hub.download_model(REPO)
    assert names(cache.get_cache_dir()) == sorted(
        ["models/.locks/org--name.lock", *(f"models/org--name/{name}" for name in names(files.path))]
    )
    assert not cache.hugging_face_cache().exists()


def test_the_cache_dir_argument_is_used(server: HubServer, tmp_path: Path) -> None:
    files = hub.download_model(REPO, cache_dir=tmp_path / "own")
    assert files.path == tmp_path / "own/models/org--name"
    assert hub.is_model_cached(REPO, cache_dir=tmp_path / "own")
    assert not hub.is_model_cached(REPO)


def test_a_registry_name_is_fetched_from_its_repository(server: HubServer) -> None:
    commit = server.add(MODELS[KNOWN].repo)
    files = hub.download_model(KNOWN)
    assert (files.path.name, files.spec, files.revision) == (KNOWN, MODELS[KNOWN], commit)
    assert finder.find_model(MODELS[KNOWN].repo) is None
    assert hub.download_model(MODELS[KNOWN].repo).spec == MODELS[KNOWN]


def test_a_registry_name_takes_its_pinned_revision_unless_asked_otherwise(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned, other = tiny_model(**{"config.json": b"[1]"}), tiny_model(**{"config.json": b"[2]"})
    server.add("org/pinned", v1=pinned, v2=other)
    spec = replace(MODELS["minilm-l6-v2"], name="pinned", repo="org/pinned", revision="v1", bundled=False)
    monkeypatch.setattr(finder, "MODELS", {"pinned": spec})
    assert hub.download_model("pinned").revision == commit_of(pinned)
    assert hub.download_model("pinned", revision="v2").revision == commit_of(other)
    monkeypatch.setattr(finder, "MODELS", {"pinned": replace(spec, revision="v2")})
    assert finder.find_model("pinned") is None, "an earlier pin does not count"


def test_revisions_are_kept_apart(server: HubServer) -> None:
    branch = tiny_model(**{"config.json": b'{"branch": 1}'})
    main = server.add(REPO, **{"feature/x": branch})
    files = hub.download_model(REPO, revision="feature/x")
    assert files.revision == commit_of(branch)
    assert files.path == cache.get_cache_dir() / "models/org--name@feature%2Fx"
    assert finder.find_model(REPO) is None
    assert hub.download_model(REPO, revision=main).path.name == f"org--name@{main}"
    assert finder.find_model(REPO, revision="feature/x") == files


def test_a_cached_model_of_another_repository_does_not_count(server: HubServer) -> None:
    server.add(MODELS[KNOWN].repo)
    folder = hub.download_model(KNOWN).path
    manifest = cache.read_manifest(folder)
    assert manifest is not None
    cache.Manifest(KNOWN, "former/repo", None, manifest.commit, manifest.files, manifest.date).write(folder)
    assert finder.find_model(KNOWN) is None
    assert hub.resolve_model(KNOWN).path == folder


def test_force_replaces_the_model(server: HubServer) -> None:
    hub.download_model(REPO)
    newer = tiny_model(**{"config.json": b'{"newer": 1}'})
    server.add(REPO, newer)
    assert hub.download_model(REPO).revision != commit_of(newer)
    files = hub.download_model(REPO, force=True)
    assert files.revision == commit_of(newer)
    assert (files.path / "config.json").read_bytes() == newer["config.json"]
    assert finder.find_model(REPO) == files
    assert not cache.partial_folder(files.path).exists()


def test_readers_do_not_notice_a_replacement(server: HubServer) -> None:
    files = hub.download_model(REPO)
    with ThreadPoolExecutor(1) as pool:
        replacements = pool.submit(lambda: [hub.download_model(REPO, force=True) for _ in range(5)])
        while not replacements.done():
            assert finder.find_model(REPO) == files
        assert replacements.result() == [files] * 5


def test_a_reader_between_the_two_renames_waits(server: HubServer) -> None:
    files = hub.download_model(REPO)
    previous = cache.partial_folder(files.path) / "previous"
    previous.parent.mkdir()
    files.path.rename(previous)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(finder.find_model, REPO)
        threading.Event().wait(0.1)
        previous.rename(files.path)
        assert reader.result() == files


def test_a_failed_force_keeps_the_old_model(server: HubServer) -> None:
    files = hub.download_model(REPO)
    server.failures["GET", "model.safetensors"] = 500
    with pytest.raises(DownloadError):
        hub.download_model(REPO, force=True)
    assert finder.find_model(REPO) == files


def test_a_folder_that_is_not_ours_is_not_replaced(server: HubServer) -> None:
    folder = write_files(cache.model_folder(REPO, None), {"precious": b"x"})
    with pytest.raises(EmbeddingError, match="move it away"):
        hub.download_model(REPO)
    assert names(folder) == ["precious"]


def test_a_cut_connection_is_taken_up_where_it_broke(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    server.add(REPO, BIG)
    server.cuts["model.safetensors"] = [1000, 70_000]
    while not hub.is_model_cached(REPO):
        with contextlib.suppress(DownloadError):  # some versions leave the next attempt to the next call
            hub.download_model(REPO)
        assert not server.cuts["model.safetensors"] or not hub.is_model_cached(REPO)
    content = (hub.download_model(REPO).path / "model.safetensors").read_bytes()
    assert content == BIG["model.safetensors"]
    assert server.sent("model.safetensors") == ["", "bytes=1000-", "bytes=71000-"]


def test_after_a_broken_download_nothing_counts_and_the_next_goes_on(server: HubServer) -> None:
    server.add(REPO, BIG)
    server.failures["GET", "model.safetensors"] = 500
    with pytest.raises(DownloadError, match="akidb-embed download org/name"):
        hub.download_model(REPO)
    assert finder.find_model(REPO) is None
    assert not hub.is_model_cached(REPO)
    assert hub.list_cached_models() == []
    assert not hub.get_model_info(REPO).cached

    server.failures.clear()
    hub.download_model(REPO)
    assert len(server.sent("config.json")) == 1, "a finished file is not fetched twice"
    assert hub.is_model_cached(REPO)


def test_an_unfinished_download_of_another_commit_is_not_mixed_in(server: HubServer) -> None:
    server.add(REPO, BIG)
    server.failures["GET", "model.safetensors"] = 500
    with pytest.raises(DownloadError):
        hub.download_model(REPO)
    newer = tiny_model(**{"config.json": b"[]"})
    commit = server.add(REPO, newer)
    with pytest.raises(DownloadError):
        hub.download_model(REPO)
    unfinished = cache.partial_folder(cache.model_folder(REPO, None))
    assert [path.name for path in unfinished.iterdir()] == [commit[:12]]
    server.failures.clear()
    files = hub.download_model(REPO)
    assert all((files.path / name).read_bytes() == content for name, content in newer.items())


def test_a_file_of_the_wrong_size_never_counts(server: HubServer) -> None:
    commit = server.add(REPO, BIG)
    server.failures["GET", "model.safetensors"] = 500
    with pytest.raises(DownloadError):
        hub.download_model(REPO)
    server.failures.clear()
    staging = cache.staging_folder(cache.model_folder(REPO, None), commit)
    (staging / "config.json").write_bytes(b"damaged after its download")
    os.utime(staging / "config.json", (0, 0))  # huggingface_hub itself notices a newer file
    with pytest.raises(DownloadError, match=r"incomplete: config\.json"):
        hub.download_model(REPO)
    assert finder.find_model(REPO) is None
    assert (hub.download_model(REPO).path / "config.json").read_bytes() == BIG["config.json"]


def test_nothing_counts_while_the_download_runs(server: HubServer) -> None:
    server.open_gate.clear()
    with ThreadPoolExecutor(1) as pool:
        download = pool.submit(hub.download_model, REPO)
        while not server.sent("model.safetensors"):
            threading.Event().wait(0.01)
        assert finder.find_model(REPO) is None
        with pytest.raises(EmbeddingError, match="being downloaded"):
            cache.clear_cache(REPO)
        server.open_gate.set()
        assert download.result() == finder.find_model(REPO)


def test_two_threads_share_one_download(server: HubServer) -> None:
    server.open_gate.clear()
    with ThreadPoolExecutor(2) as pool:
        downloads = [pool.submit(hub.download_model, REPO) for _ in range(2)]
        while not server.sent("model.safetensors"):
            threading.Event().wait(0.01)
        server.open_gate.set()
        first, second = (download.result() for download in downloads)
    assert first == second == finder.find_model(REPO)
    assert len(server.sent("model.safetensors")) == 1


def test_a_killed_download_does_not_count_and_is_taken_up(server: HubServer) -> None:
    server.open_gate.clear()
    code = f"from akidb_embeddings import hub; hub.download_model({REPO!r})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(hub.__file__).parents[1]) as process:
        while not server.sent("model.safetensors"):
            threading.Event().wait(0.01)
        process.kill()
    assert finder.find_model(REPO) is None
    server.open_gate.set()
    assert hub.download_model(REPO) == finder.find_model(REPO)


def test_a_repository_without_usable_weights_fetches_nothing(server: HubServer) -> None:
    server.add(REPO, {"config.json": b"{}", "pytorch_model.bin": b"", "vocab.txt": b""})
    with pytest.raises(CheckpointError, match=r"org/name has no tokenizer\.json, model\.safetensors"):
        hub.download_model(REPO)
    assert not any("/resolve/" in path for _, path, _ in server.requests)


# Refusals


def test_an_unknown_repository(server: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match="HF_TOKEN") as caught:
        hub.download_model("org/other")
    assert "org/other" in str(caught.value)
    assert server.url in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusals_without_a_reason(server: HubServer, status: int) -> None:
    server.failures["GET", "/api/models"] = status
    with pytest.raises(ModelNotFoundError, match=f"status {status}"):
        hub.download_model(REPO)


def test_a_gated_repository(server: HubServer) -> None:
    server.gated.add(REPO)
    with pytest.raises(ModelNotFoundError, match=r"gated.*HF_TOKEN"):
        hub.download_model(REPO)
    assert finder.find_model(REPO) is None


def test_the_token_is_sent(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.tokens[REPO] = "hf_secret"
    with pytest.raises(ModelNotFoundError, match="HF_TOKEN"):
        hub.download_model(REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert hub.download_model(REPO).origin == "cache"


def test_an_unknown_revision(server: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match="no revision 'v9'"):
        hub.download_model(REPO, revision="v9")


@pytest.mark.parametrize("part", ["/api/models", "model.safetensors"])
def test_a_failing_hub(server: HubServer, part: str) -> None:
    server.failures["GET", part] = 500
    with pytest.raises(DownloadError, match="500") as caught:
        hub.download_model(REPO)
    assert REPO in str(caught.value)
    assert server.url in str(caught.value)


def test_no_hub_at_all() -> None:
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:1 failed.*check the network"):
        hub.download_model(REPO)


def test_a_full_disk(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*args: object, **kwargs: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_space)
    with pytest.raises(DownloadError, match=r"No space left.*AKIDB_CACHE_DIR"):
        hub.download_model(REPO)


def test_a_cache_that_cannot_be_written(server: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    with pytest.raises(DownloadError, match="org/name"):
        hub.download_model(REPO, cache_dir=home / "file")


# Offline


@pytest.mark.parametrize("value", ["1", "true", "YES", "On"])
def test_offline_nothing_is_asked(server: HubServer, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    for name in (REPO, KNOWN, BUNDLED):
        for function in (hub.resolve_model, hub.download_model):
            with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE is set") as caught:
                function(name)
            assert str(cache.model_folder(name, None)) in str(caught.value)
            assert str(cache.hugging_face_cache()) in str(caught.value)
            assert ("'minilm-l6-v2' is bundled" in str(caught.value)) == (name != BUNDLED)
    assert server.requests == []


def test_offline_a_cached_model_is_found(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    files = hub.download_model(REPO)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.resolve_model(REPO) == files


@pytest.mark.parametrize("value", ["0", "false", ""])
def test_these_values_are_not_offline(server: HubServer, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert hub.resolve_model(REPO).origin == "cache"


def test_offline_when_huggingface_hub_was_imported(server: HubServer) -> None:
    code = (
        "import os; os.environ['HF_HUB_OFFLINE'] = '1'; import huggingface_hub.constants\n"
        "del os.environ['HF_HUB_OFFLINE']; from akidb_embeddings import errors, hub\n"
        f"try: hub.download_model({REPO!r})\n"
        "except errors.ModelNotFoundError as error: assert 'HF_HUB_OFFLINE' in str(error)\n"
        "else: raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(hub.__file__).parents[1], check=True)


def test_without_auto_download_the_command_is_named(server: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match=r"`akidb-embed download org/name --revision v1`"):
        hub.resolve_model(REPO, revision="v1", auto_download=False)
    assert server.requests == []


# The Hugging Face cache


@pytest.mark.parametrize("revision", [None, "main", "commit"])
def test_a_whole_snapshot_is_found(revision: str | None) -> None:
    files = tiny_model(**{"modules.json": b"[]"})
    folder = snapshot(REPO, files)
    revision = commit_of(files) if revision == "commit" else revision
    found = finder.find_model(REPO, revision=revision)
    assert found == finder.ModelFiles(REPO, folder, "huggingface", None, commit_of(files))
    assert finder.find_model(REPO, revision="other") is None
    assert hub.get_model_info(REPO).size_on_disk == sum(map(len, files.values()))


def test_the_hugging_face_cache_may_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    snapshot(MODELS[KNOWN].repo, tiny_model())
    found = finder.find_model(KNOWN)
    assert found is not None
    assert found.spec == MODELS[KNOWN]
    monkeypatch.delenv("HF_HUB_CACHE")
    assert finder.find_model(KNOWN) is None


@pytest.mark.parametrize("missing", ["tokenizer.json", "model.safetensors", "modules.json"])
def test_a_partial_snapshot_is_completed_in_our_cache(
    server: HubServer, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    files = BIG | {"modules.json": b"[]"}
    server.add(REPO, files)
    snapshot(REPO, {name: files[name] for name in files if name != missing}, commit=commit_of(files))
    with caplog.at_level(logging.WARNING):
        assert finder.find_model(REPO) is None
    assert missing in caplog.text
    with pytest.raises(ModelNotFoundError, match=f"without {missing}"):
        hub.resolve_model(REPO, auto_download=False)
    found = hub.resolve_model(REPO)
    assert found.origin == "cache"
    assert all(len(server.sent(name)) == (name == missing) for name in files), "only what is missing is fetched"


def test_a_damaged_snapshot_is_not_used_and_force_replaces_it(server: HubServer) -> None:
    commit = server.add(REPO, BIG)
    damaged = BIG | {"model.safetensors": BIG["model.safetensors"][:-1], "modules.json": b"[]"}
    snapshot(REPO, damaged, commit=commit)
    assert finder.find_model(REPO) is None
    with contextlib.suppress(DownloadError):
        hub.download_model(REPO)
    found = hub.download_model(REPO, force=True)
    assert (found.path / "model.safetensors").read_bytes() == BIG["model.safetensors"]


# The cache


def test_a_damaged_cached_model_says_how_to_mend_it(server: HubServer) -> None:
    files = hub.download_model(REPO)
    for name in ("model.safetensors", "config.json"):
        content = (files.path / name).read_bytes()
        (files.path / name).write_bytes(content[:-1])
        with pytest.raises(CheckpointError, match=f"{name} is damaged.*`akidb-embed download org/name --force`"):
            hub.resolve_model(REPO)
        assert not hub.is_model_cached(REPO)
        assert [info.cached for info in hub.list_cached_models()] == [False]
        (files.path / name).write_bytes(content)
    (files.path / "model.safetensors").write_bytes(bytes(len(tiny_model()["model.safetensors"])))
    with pytest.raises(CheckpointError, match="header cannot be read"):
        finder.find_model(REPO)
    assert hub.download_model(REPO, force=True) == finder.find_model(REPO) == files


def test_a_cached_model_that_lost_a_file_is_fetched_again(server: HubServer) -> None:
    files = hub.download_model(REPO)
    (files.path / "tokenizer.json").unlink()
    assert finder.find_model(REPO) is None
    assert hub.resolve_model(REPO) == files
    assert (files.path / "tokenizer.json").is_file()


def test_a_cached_folder_without_a_manifest_does_not_count() -> None:
    write_files(cache.model_folder(REPO, None), tiny_model())
    assert finder.find_model(REPO) is None
    assert hub.list_cached_models() == []


def test_list_info_and_clear(server: HubServer) -> None:
    server.add(MODELS[KNOWN].repo)
    known, other = hub.download_model(KNOWN), hub.download_model(REPO, revision="main")
    infos = hub.list_cached_models()
    assert [
        (info.name, info.repo, info.spec, info.cached, info.origin, info.path, info.revision) for info in infos
    ] == [
        (REPO, REPO, None, True, "cache", other.path, other.revision),
        (KNOWN, MODELS[KNOWN].repo, MODELS[KNOWN], True, "cache", known.path, known.revision),
    ]
    assert infos[1] == hub.get_model_info(KNOWN)
    assert infos[1].size_on_disk == sum(path.stat().st_size for path in known.path.iterdir())

    assert cache.clear_cache(KNOWN) == infos[1].size_on_disk
    assert hub.list_cached_models() == infos[:1]
    assert cache.clear_cache() == infos[0].size_on_disk
    assert hub.list_cached_models() == []
    assert not hub.is_model_cached(REPO, revision="main")


def test_clearing_leaves_the_bundle_and_the_hugging_face_cache() -> None:
    bundle = write_files(finder.BUNDLE_ROOT / BUNDLED, tiny_model())
    folder = snapshot(REPO, tiny_model())
    assert cache.clear_cache() == cache.clear_cache(BUNDLED) == 0
    assert names(bundle) == names(folder) == sorted(tiny_model())


def test_info_of_a_model_that_is_not_here() -> None:
    info = hub.get_model_info(KNOWN)
    assert info == hub.ModelInfo(KNOWN, MODELS[KNOWN].repo, MODELS[KNOWN], False, None, None, 0, None)


def test_importing_is_cheap() -> None:
    heavy = ("huggingface_hub", "filelock", "mlx", "numpy", "tokenizers", "transformers")
    code = f"import sys, akidb_embeddings.hub; raise SystemExit(bool(sys.modules.keys() & set({heavy})))"
    subprocess.run([sys.executable, "-c", code], cwd=Path(hub.__file__).parents[1], check=True)
