"""Models in the cache: damaged ones are told of or fetched again, whole ones listed, and all can be cleared."""

import pytest

from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.hub import cache, download, resolve
from akidb_embeddings.registry import MODELS
from tests.hub_fixtures import BUNDLED, KNOWN, REPO, SOCKETS_ARE_LEFT, names, snapshot
from tests.hub_fixtures import own_home as own_home
from tests.hub_fixtures import own_hub as own_hub
from tests.hub_server import HubServer, tiny_model, write_files

pytestmark = SOCKETS_ARE_LEFT


def test_a_damaged_cached_model_says_how_to_mend_it(server: HubServer) -> None:
    files = download.download_model(REPO)
    for name in ("model.safetensors", "config.json"):
        content = (files.path / name).read_bytes()
        (files.path / name).write_bytes(content[:-1])
        with pytest.raises(CheckpointError, match=f"{name} is damaged.*`akidb-embed download org/name --force`"):
            download.resolve_model(REPO)
        assert not download.is_model_cached(REPO)
        assert [info.cached for info in download.list_cached_models()] == [False]
        (files.path / name).write_bytes(content)
    (files.path / "model.safetensors").write_bytes(bytes(len(tiny_model()["model.safetensors"])))
    with pytest.raises(CheckpointError, match="header cannot be read"):
        resolve.find_model(REPO)
    assert download.download_model(REPO, force=True) == resolve.find_model(REPO) == files


def test_a_cached_model_that_lost_a_file_is_fetched_again(server: HubServer) -> None:
    files = download.download_model(REPO)
    (files.path / "tokenizer.json").unlink()
    assert resolve.find_model(REPO) is None
    assert download.resolve_model(REPO) == files
    assert (files.path / "tokenizer.json").is_file()


def test_a_cached_folder_without_a_manifest_does_not_count() -> None:
    write_files(cache.model_folder(REPO, None), tiny_model())
    assert resolve.find_model(REPO) is None
    assert download.list_cached_models() == []


def test_list_info_and_clear(server: HubServer) -> None:
    server.add(MODELS[KNOWN].repo)
    known, other = download.download_model(KNOWN), download.download_model(REPO, revision="main")
    infos = download.list_cached_models()
    assert [
        (info.name, info.repo, info.spec, info.cached, info.origin, info.path, info.revision) for info in infos
    ] == [
        (REPO, REPO, None, True, "cache", other.path, other.revision),
        (KNOWN, MODELS[KNOWN].repo, MODELS[KNOWN], True, "cache", known.path, known.revision),
    ]
    assert infos[1] == download.get_model_info(KNOWN)
    assert infos[1].size_on_disk == sum(path.stat().st_size for path in known.path.iterdir())

    assert cache.clear_cache(KNOWN) == infos[1].size_on_disk
    assert download.list_cached_models() == infos[:1]
    assert cache.clear_cache() == infos[0].size_on_disk
    assert download.list_cached_models() == []
    assert not download.is_model_cached(REPO, revision="main")


def test_clearing_leaves_the_bundle_and_the_hugging_face_cache() -> None:
    bundle = write_files(resolve.BUNDLE_ROOT / BUNDLED, tiny_model())
    folder = snapshot(REPO, tiny_model())
    assert cache.clear_cache() == cache.clear_cache(BUNDLED) == 0
    assert names(bundle) == names(folder) == sorted(tiny_model())


def test_info_of_a_model_that_is_not_here() -> None:
    info = download.get_model_info(KNOWN)
    assert info == download.ModelInfo(KNOWN, MODELS[KNOWN].repo, MODELS[KNOWN], False, None, None, 0, None)
