"""Models that cannot be had: why, in words that help, and that offline nothing is asked."""

import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingConfig
from akidb_embeddings.errors import CheckpointError, DownloadError, EmbeddingError, ModelNotFoundError
from akidb_embeddings.hub import cache, download, resolve
from akidb_embeddings.registry import MODELS
from tests.hub_fixtures import BIG, BUNDLED, KNOWN, REPO, SOCKETS_ARE_LEFT
from tests.hub_fixtures import own_home as own_home
from tests.hub_fixtures import own_hub as own_hub
from tests.hub_server import HubServer, tiny_model, write_files

pytestmark = SOCKETS_ARE_LEFT


def test_a_repository_without_usable_weights_fetches_nothing(server: HubServer) -> None:
    server.add(REPO, {"config.json": b"{}", "pytorch_model.bin": b"", "vocab.txt": b""})
    with pytest.raises(CheckpointError, match=r"org/name has no tokenizer\.json, model\.safetensors"):
        download.download_model(REPO)
    assert not any("/resolve/" in path for _, path, _ in server.requests)


def test_an_unknown_repository(server: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match="HF_TOKEN") as caught:
        download.download_model("org/other")
    assert "org/other" in str(caught.value)
    assert server.url in str(caught.value)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusals_without_a_reason(server: HubServer, status: int) -> None:
    server.failures["GET", "/api/models"] = status
    with pytest.raises(ModelNotFoundError, match=f"status {status}"):
        download.download_model(REPO)


def test_a_gated_repository(server: HubServer) -> None:
    server.gated.add(REPO)
    with pytest.raises(ModelNotFoundError, match=r"gated.*HF_TOKEN"):
        download.download_model(REPO)
    assert resolve.find_model(REPO) is None


def test_the_token_is_sent(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.tokens[REPO] = "hf_secret"
    with pytest.raises(ModelNotFoundError, match="HF_TOKEN"):
        download.download_model(REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert download.download_model(REPO).origin == "cache"


def test_an_unknown_revision(server: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match="no revision 'v9'"):
        download.download_model(REPO, revision="v9")


@pytest.mark.parametrize("part", ["/api/models", "model.safetensors"])
def test_a_failing_hub(server: HubServer, part: str) -> None:
    server.failures["GET", part] = 500
    with pytest.raises(DownloadError, match="500") as caught:
        download.download_model(REPO)
    assert REPO in str(caught.value)
    assert server.url in str(caught.value)


def test_no_hub_at_all() -> None:
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:1 failed.*Check the network") as caught:
        download.download_model(REPO)
    assert "Connection refused" in str(caught.value)
    assert f"`akidb-embed download {REPO}`" in str(caught.value)
    assert "minilm-l6-v2" in str(caught.value)


def test_what_is_said_of_a_download_that_fails_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the HTTP client's traceback, nor the hash of the pinned commit, which its messages contain."""
    name = EmbeddingConfig.model_name
    assert len(MODELS[name].revision or "") == 40
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        with monkeypatch.context() as patch:
            for variable, value in environment.items():
                patch.setenv(variable, value)
            with pytest.raises(EmbeddingError) as caught:
                download.download_model(name)
        shown = "".join(traceback.format_exception(caught.value))
        assert re.search(r"[0-9a-f]{40}", shown) is None
        assert "httpx" not in shown.replace("ConnectError", "")
        assert "During handling" not in shown
        assert "direct cause" not in shown
        message = str(caught.value)
        assert f"`akidb-embed download {name}`" in message
        assert message.endswith("Or use model_name minilm-l6-v2, which is bundled and works offline.")
        assert "\n" not in message
        assert "--model minilm-l6-v2" in caught.value.message({"model_name": "--model"})
        assert "minilm-l6-v2" not in caught.value.message({"model_name": None})


@pytest.mark.parametrize(
    ("name", "meant"), [("sentence-transformers/all-mini-lm-l6-v2", BUNDLED), ("org/bge-m3-4-bit", "bge-m3-4bit")]
)
def test_a_repository_that_does_not_exist_may_be_a_known_model(server: HubServer, name: str, meant: str) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"does not exist.*Did you mean '{meant}'"):
        download.download_model(name)
    with pytest.raises(ModelNotFoundError, match=rf"not on this machine.*Did you mean '{meant}'"):
        download.resolve_model(name, auto_download=False)
    server.failures["GET", "/api/models"] = 500
    with pytest.raises(DownloadError, match=rf"status 500.*Did you mean '{meant}'"):
        download.download_model(name)


# What would be downloaded


def test_the_size_of_a_known_model_is_the_registrys(server: HubServer) -> None:
    found = download.find_download(KNOWN)
    assert found is not None
    assert (found.size_bytes, found.repo, found.endpoint) == (MODELS[KNOWN].size_bytes, MODELS[KNOWN].repo, server.url)
    assert found.command == f"akidb-embed download {KNOWN}"
    assert server.requests == []


def test_the_size_of_another_repository_is_that_of_the_files_that_are_downloaded(server: HubServer) -> None:
    server.add(REPO, {**BIG, "pytorch_model.bin": b"x" * 10**6})
    found = download.find_download(REPO, revision="main")
    assert found is not None
    assert (found.size_bytes, found.command) == (
        sum(map(len, BIG.values())),
        f"akidb-embed download {REPO} --revision main",
    )
    download.download_model(REPO)
    assert download.find_download(REPO) is None
    again = download.find_download(REPO, force=True)
    assert again is not None
    assert again.size_bytes == found.size_bytes


def test_nothing_is_downloaded_that_is_here_or_may_not_be(
    server: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(home / "model", tiny_model())
    assert download.find_download("./model") is None
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert download.find_download(REPO) is None
    assert server.requests == []


def test_a_size_that_cannot_be_asked_for_is_the_error_of_the_download(server: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match=r"org/other at .* does not exist"):
        download.find_download("org/other")
    server.failures["GET", "/api/models"] = 500
    with pytest.raises(DownloadError, match="status 500"):
        download.find_download(REPO)


def test_a_full_disk(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*args: object, **kwargs: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_space)
    with pytest.raises(DownloadError, match=r"No space left.*AKIDB_CACHE_DIR"):
        download.download_model(REPO)


def test_a_cache_that_cannot_be_written(server: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    with pytest.raises(DownloadError, match="org/name"):
        download.download_model(REPO, cache_dir=home / "file")


# Offline


@pytest.mark.parametrize("value", ["1", "true", "YES", "On"])
def test_offline_nothing_is_asked(server: HubServer, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    for name in (REPO, KNOWN, BUNDLED):
        for function in (download.resolve_model, download.download_model):
            with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE is set") as caught:
                function(name)
            assert str(cache.model_folder(name, None).parent) in str(caught.value)
            assert str(cache.hugging_face_cache()) in str(caught.value)
            assert ("minilm-l6-v2, which is bundled" in str(caught.value)) == (name != BUNDLED)
    assert server.requests == []


def test_offline_a_cached_model_is_found(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    files = download.download_model(REPO)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert download.resolve_model(REPO) == files


@pytest.mark.parametrize("value", ["0", "false", ""])
def test_these_values_are_not_offline(server: HubServer, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert download.resolve_model(REPO).origin == "cache"


def test_offline_when_huggingface_hub_was_imported(server: HubServer) -> None:
    code = (
        "import os; os.environ['HF_HUB_OFFLINE'] = '1'; import huggingface_hub.constants\n"
        "del os.environ['HF_HUB_OFFLINE']; from akidb_embeddings import errors\n"
        "from akidb_embeddings.hub import download\n"
        f"try: download.download_model({REPO!r})\n"
        "except errors.ModelNotFoundError as error: assert 'HF_HUB_OFFLINE' in str(error)\n"
        "else: raise SystemExit(1)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(download.__file__).parents[2], check=True)


def test_without_auto_download_the_command_is_named(server: HubServer) -> None:
    with pytest.raises(ModelNotFoundError, match=r"`akidb-embed download org/name --revision v1`"):
        download.resolve_model(REPO, revision="v1", auto_download=False)
    assert server.requests == []
