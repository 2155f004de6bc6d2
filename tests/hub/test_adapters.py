"""Adapters: found and downloaded as models are, and never taken for one."""

from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import CheckpointError, ModelNotFoundError
from akidb_embeddings.hub import cache, download
from akidb_embeddings.hub.adapters import find_adapter, resolve_adapter
from tests.fixtures import adapter_path, model_path
from tests.hub_fixtures import REPO, SOCKETS_ARE_LEFT, names, snapshot
from tests.hub_fixtures import own_home as own_home
from tests.hub_fixtures import own_hub as own_hub
from tests.hub_server import HubServer, safetensors

pytestmark = SOCKETS_ARE_LEFT

FILES = {
    "adapter_config.json": b'{"base_model_name_or_path": "org/base"}',
    "adapter_model.safetensors": safetensors(),
    "README.md": b"",
    "tokenizer.json": b"{}",
}
ADAPTER = adapter_path("tiny-bert-lora")


def test_a_download_fetches_the_adapter_and_is_found_afterwards(server: HubServer) -> None:
    commit = server.add(REPO, FILES | {"optimizer.pt": b"", "checkpoint-5/model.safetensors": b""})
    assert find_adapter(REPO) is None
    folder = resolve_adapter(REPO)
    assert folder == cache.get_cache_dir() / "models/org--name"
    assert names(folder) == sorted([*FILES, cache.MANIFEST])
    server.requests.clear()
    assert find_adapter(REPO) == resolve_adapter(REPO) == folder
    assert server.requests == []
    info = download.get_model_info(REPO)
    assert (info.cached, info.revision) == (True, commit)
    assert [one.cached for one in download.list_cached_models()] == [True]


def test_a_revision_has_a_folder_of_its_own(server: HubServer) -> None:
    server.add(REPO, FILES, v2=FILES | {"README.md": b"2"})
    assert (resolve_adapter(REPO, revision="v2") / "README.md").read_bytes() == b"2"
    assert (resolve_adapter(REPO) / "README.md").read_bytes() == b""


def test_a_snapshot_of_the_hugging_face_cache_is_used_if_it_is_whole() -> None:
    """PEFT downloads two files alone; then it is unknown whether the repository has sentence-transformers' files."""
    folder = snapshot(REPO, {name: content for name, content in FILES.items() if name != "README.md"})
    assert find_adapter(REPO) is None
    (folder / "README.md").write_bytes(b"")
    assert find_adapter(REPO) == folder


def test_weights_in_pytorchs_format_are_not_downloaded(server: HubServer) -> None:
    server.add(REPO, {"adapter_config.json": b"{}", "adapter_model.bin": b""})
    with pytest.raises(CheckpointError, match=r"org/name has no adapter_model\.safetensors"):
        resolve_adapter(REPO)


def test_a_damaged_adapter_is_not_loaded(server: HubServer) -> None:
    server.add(REPO, FILES)
    (resolve_adapter(REPO) / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is damaged"):
        resolve_adapter(REPO)


def test_an_adapter_in_the_place_of_a_model_says_what_to_give(server: HubServer) -> None:
    server.add(REPO, FILES)
    with pytest.raises(CheckpointError, match=r"changes the weights of org/base\. Give that model in its place"):
        EmbeddingService(REPO)


def test_a_missing_adapter_is_downloaded_with_its_revision_if_it_may(server: HubServer) -> None:
    files = {path.name: path.read_bytes() for path in ADAPTER.iterdir()}
    server.add(REPO, FILES, v2=files)
    base = model_path("tiny-bert")
    with pytest.raises(ModelNotFoundError, match="not on this machine"):
        EmbeddingService(base, adapter=REPO, adapter_revision="v2", auto_download=False)
    with (
        EmbeddingService(base, adapter=REPO, adapter_revision="v2") as downloaded,
        EmbeddingService(base, adapter=ADAPTER) as local,
    ):
        assert downloaded.fingerprint() == local.fingerprint()


def test_an_incomplete_folder_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"it has no adapter_model\.safetensors"):
        find_adapter(str(tmp_path))
