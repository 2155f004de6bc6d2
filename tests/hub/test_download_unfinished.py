"""Downloads that are cut off, killed or still running: nothing of them counts, and the next call goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from akidb_embeddings.errors import DownloadError, EmbeddingError
from akidb_embeddings.hub import cache, download, resolve
from tests.hub_fixtures import BIG, REPO, SOCKETS_ARE_LEFT
from tests.hub_fixtures import own_home as own_home
from tests.hub_fixtures import own_hub as own_hub
from tests.hub_server import HubServer, tiny_model

pytestmark = SOCKETS_ARE_LEFT


def test_a_cut_connection_is_taken_up_where_it_broke(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    server.add(REPO, BIG)
    server.cuts["model.safetensors"] = [1000, 70_000]
    while not download.is_model_cached(REPO):
        with contextlib.suppress(DownloadError):  # some versions leave the next attempt to the next call
            download.download_model(REPO)
        assert not server.cuts["model.safetensors"] or not download.is_model_cached(REPO)
    content = (download.download_model(REPO).path / "model.safetensors").read_bytes()
    assert content == BIG["model.safetensors"]
    assert server.sent("model.safetensors") == ["", "bytes=1000-", "bytes=71000-"]


def test_after_a_broken_download_nothing_counts_and_the_next_goes_on(server: HubServer) -> None:
    server.add(REPO, BIG)
    server.failures["GET", "model.safetensors"] = 500
    with pytest.raises(DownloadError, match="akidb-embed download org/name"):
        download.download_model(REPO)
    assert resolve.find_model(REPO) is None
    assert not download.is_model_cached(REPO)
    assert download.list_cached_models() == []
    assert not download.get_model_info(REPO).cached

    server.failures.clear()
    download.download_model(REPO)
    assert len(server.sent("config.json")) == 1, "a finished file is not fetched twice"
    assert download.is_model_cached(REPO)


def test_an_unfinished_download_of_another_commit_is_not_mixed_in(server: HubServer) -> None:
    server.add(REPO, BIG)
    server.failures["GET", "model.safetensors"] = 500
    with pytest.raises(DownloadError):
        download.download_model(REPO)
    newer = tiny_model(**{"config.json": b"[]"})
    commit = server.add(REPO, newer)
    with pytest.raises(DownloadError):
        download.download_model(REPO)
    unfinished = cache.partial_folder(cache.model_folder(REPO, None))
    assert [path.name for path in unfinished.iterdir()] == [commit[:12]]
    server.failures.clear()
    files = download.download_model(REPO)
    assert all((files.path / name).read_bytes() == content for name, content in newer.items())


def test_a_file_of_the_wrong_size_never_counts(server: HubServer) -> None:
    commit = server.add(REPO, BIG)
    server.failures["GET", "model.safetensors"] = 500
    with pytest.raises(DownloadError):
        download.download_model(REPO)
    server.failures.clear()
    staging = cache.staging_folder(cache.model_folder(REPO, None), commit)
    (staging / "config.json").write_bytes(b"damaged after its download")
    os.utime(staging / "config.json", (0, 0))  # huggingface_hub itself notices a newer file
    with pytest.raises(DownloadError, match=r"incomplete: config\.json"):
        download.download_model(REPO)
    assert resolve.find_model(REPO) is None
    assert (download.download_model(REPO).path / "config.json").read_bytes() == BIG["config.json"]


def test_nothing_counts_while_the_download_runs(server: HubServer) -> None:
    server.open_gate.clear()
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(download.download_model, REPO)
        while not server.sent("model.safetensors"):
            threading.Event().wait(0.01)
        assert resolve.find_model(REPO) is None
        with pytest.raises(EmbeddingError, match="being downloaded"):
            cache.clear_cache(REPO)
        server.open_gate.set()
        assert pending.result() == resolve.find_model(REPO)


def test_two_threads_share_one_download(server: HubServer) -> None:
    server.open_gate.clear()
    with ThreadPoolExecutor(2) as pool:
        downloads = [pool.submit(download.download_model, REPO) for _ in range(2)]
        while not server.sent("model.safetensors"):
            threading.Event().wait(0.01)
        server.open_gate.set()
        first, second = (download.result() for download in downloads)
    assert first == second == resolve.find_model(REPO)
    assert len(server.sent("model.safetensors")) == 1


def test_a_killed_download_does_not_count_and_is_taken_up(server: HubServer) -> None:
    server.open_gate.clear()
    code = f"from akidb_embeddings.hub import download; download.download_model({REPO!r})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(download.__file__).parents[2]) as process:
        while not server.sent("model.safetensors"):
            threading.Event().wait(0.01)
        process.kill()
    assert resolve.find_model(REPO) is None
    server.open_gate.set()
    assert download.download_model(REPO) == resolve.find_model(REPO)


@pytest.mark.long
def test_ctrl_c_does_not_wait_for_the_file(server: HubServer) -> None:
    """huggingface_hub finishes the files that it has begun, which may take minutes."""
    server.open_gate.clear()
    command = [sys.executable, "-m", "akidb_embeddings", "download", REPO]
    with subprocess.Popen(command, cwd=Path(download.__file__).parents[2], stderr=subprocess.DEVNULL) as process:
        while not server.sent("model.safetensors"):
            threading.Event().wait(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert resolve.find_model(REPO) is None
    server.open_gate.set()
    assert download.download_model(REPO) == resolve.find_model(REPO)
