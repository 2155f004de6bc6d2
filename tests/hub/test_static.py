"""Static models on the hub: their table and tokenizer may be in a folder of their own."""

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.hub import cache, download, resolve
from tests.fixtures import model_path
from tests.hub_fixtures import REPO, SOCKETS_ARE_LEFT, names, snapshot
from tests.hub_fixtures import own_home as own_home
from tests.hub_fixtures import own_hub as own_hub
from tests.hub_server import HubServer

pytestmark = SOCKETS_ARE_LEFT


def files_of(name: str) -> dict[str, bytes]:
    folder = model_path(name)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["tiny-static", "tiny-static-folder", "tiny-model2vec"])
def test_a_download_has_all_that_is_needed(name: str, server: HubServer) -> None:
    files = files_of(name)
    server.add(REPO, files | {"onnx/model.onnx": b"", "onnx/tokenizer.json": b"{}"})
    with EmbeddingService(REPO) as embedder, EmbeddingService(model_path(name)) as local:
        assert embedder.fingerprint() == local.fingerprint()
        assert embedder.memory_bytes == local.memory_bytes
    assert names(cache.get_cache_dir() / "models/org--name") == sorted([*files, cache.MANIFEST])
    server.requests.clear()
    assert resolve.find_model(REPO) is not None
    assert server.requests == []


def test_a_repository_without_the_tokenizer(server: HubServer) -> None:
    files = files_of("tiny-static-folder")
    del files["0_StaticEmbedding/tokenizer.json"]
    server.add(REPO, files)
    with pytest.raises(CheckpointError, match=r"org/name has no 0_StaticEmbedding/tokenizer\.json"):
        download.download_model(REPO)


def test_a_snapshot_without_the_table_is_not_used() -> None:
    files = files_of("tiny-static-folder")
    table = files.pop("0_StaticEmbedding/model.safetensors")
    folder = snapshot(REPO, files)
    assert resolve.find_model(REPO) is None
    (folder / "0_StaticEmbedding" / "model.safetensors").write_bytes(table)
    assert resolve.find_model(REPO) is not None
