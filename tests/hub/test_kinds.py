"""Embedding models and rerankers: found and downloaded alike, and never taken for each other."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import ConfigurationError, DownloadError, EmbeddingError, ModelNotFoundError
from akidb_embeddings.hub import cache, download, resolve
from akidb_embeddings.registry import BUNDLED, MODELS, REFUSED, RERANKERS
from tests.hub_fixtures import REPO, SOCKETS_ARE_LEFT, names, snapshot, use_registry
from tests.hub_fixtures import own_home as own_home
from tests.hub_fixtures import own_hub as own_hub
from tests.hub_server import HubServer, tiny_model, write_files

pytestmark = SOCKETS_ARE_LEFT

QWEN3 = replace(RERANKERS["qwen3-reranker-0.6b"], revision=None)
MODULES = b"""[
    {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"path": "1_LogitScore", "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}
]"""
QWEN3_FILES = tiny_model(
    **{
        "modules.json": MODULES,
        "1_LogitScore/config.json": b"{}",
        "chat_template.jinja": b"{{ messages }}",
        "config_sentence_transformers.json": b"{}",
        "sentence_bert_config.json": b"{}",
        "tokenizer_config.json": b"{}",
        "vocab.json": b"{}",
        "merges.txt": b"",
    }
)


# The wrong kind


@pytest.mark.parametrize("name", [*RERANKERS, *(spec.repo for spec in RERANKERS.values())])
def test_a_reranker_is_no_embedding_model(server: HubServer, name: str) -> None:
    for function in (download.resolve_model, resolve.find_model):
        with pytest.raises(ConfigurationError) as caught:
            function(name)
        assert caught.value.field == "model_name"
        assert str(caught.value).startswith(f"model_name is {name!r}, a reranker: ")
        assert "Use RerankService" in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize("name", [*MODELS, *(spec.repo for spec in MODELS.values())])
def test_an_embedding_model_is_no_reranker(server: HubServer, name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        download.resolve_reranker(name)
    assert str(caught.value).startswith(f"model_name is {name!r}, an embedding model: ")
    assert "Use EmbeddingService" in str(caught.value)
    assert server.requests == []


def test_a_service_says_it_before_a_download(server: HubServer) -> None:
    with pytest.raises(ConfigurationError, match="Use RerankService"):
        EmbeddingService("bge-reranker-base")
    assert server.requests == []


def test_it_is_said_of_models_that_are_here_too(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    use_registry(monkeypatch, QWEN3)
    server.add(QWEN3.repo, QWEN3_FILES)
    download.download_model(QWEN3.name)
    with pytest.raises(ConfigurationError, match="a reranker"):
        download.resolve_model(QWEN3.name)


def test_folders_and_other_repositories_are_of_either_kind(server: HubServer, home: Path) -> None:
    folder = write_files(home / "model", tiny_model())
    for function in (download.resolve_model, download.resolve_reranker):
        assert function("./model").path == folder
        assert (function(REPO).origin, function(REPO).spec) == ("cache", None)


# Alike


def test_a_reranker_is_downloaded_with_what_its_score_depends_on(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_registry(monkeypatch, QWEN3)
    commit = server.add(QWEN3.repo, QWEN3_FILES | {"1_LogitScore/other.bin": b"", "figure.png": b""})
    found = download.find_download(QWEN3.name)
    assert found is not None
    assert (found.size_bytes, found.command) == (QWEN3.size_bytes, f"akidb-embed download {QWEN3.name}")
    assert not download.get_model_info(QWEN3.name).cached

    files = download.resolve_reranker(QWEN3.name)
    folder = cache.get_cache_dir() / "models" / QWEN3.name
    assert files == resolve.ModelFiles(QWEN3.name, folder, "cache", QWEN3, commit)
    assert names(folder) == sorted([*QWEN3_FILES, cache.MANIFEST])

    server.requests.clear()
    assert download.resolve_reranker(QWEN3.name) == download.download_model(QWEN3.name) == files
    info = download.get_model_info(QWEN3.name)
    assert (info.spec, info.cached, info.repo) == (QWEN3, True, QWEN3.repo)
    assert download.list_cached_models() == [info]
    assert download.is_model_cached(QWEN3.name)
    assert server.requests == []
    assert cache.clear_cache(QWEN3.name) > 0
    assert cache.clear_cache(QWEN3.name) == 0


def test_a_registry_name_is_not_a_folder(home: Path) -> None:
    write_files(home / "bge-reranker-base", tiny_model())
    assert not download.is_model_cached("bge-reranker-base")


def test_a_known_rerankers_snapshot_needs_no_list_of_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    use_registry(monkeypatch, QWEN3)
    folder = snapshot(QWEN3.repo, tiny_model())
    files = download.resolve_reranker(QWEN3.name, auto_download=False)
    assert (files.path, files.origin) == (folder, "huggingface")


def test_a_snapshot_without_the_tokens_that_its_modules_compare_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    use_registry(monkeypatch, QWEN3)
    snapshot(QWEN3.repo, {name: text for name, text in QWEN3_FILES.items() if name != "1_LogitScore/config.json"})
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(ModelNotFoundError, match=r"without 1_LogitScore/config\.json"),
    ):
        download.resolve_reranker(QWEN3.name, auto_download=False)


# Names


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("bge-reranker-bse", "Did you mean 'bge-reranker-base' (a reranker), "),
        ("Qwen3-Reranker-0.6", "Did you mean 'qwen3-reranker-0.6b' (a reranker)"),
        ("bge-base-en-1.5", "Did you mean 'bge-base-en-v1.5'"),
        ("BAAI/BGE-reranker-base", "Capitals count: the repository is 'BAAI/bge-reranker-base'. Did you mean "),
    ],
)
def test_near_names_are_of_both_kinds(name: str, suggested: str) -> None:
    for function in (download.resolve_model, download.resolve_reranker, download.download_model):
        with pytest.raises(ModelNotFoundError, match="Unknown model") as caught:
            function(name)
        assert suggested in str(caught.value)


@pytest.mark.parametrize("repo", REFUSED)
def test_what_cannot_be_computed_is_refused_with_the_reason(server: HubServer, repo: str) -> None:
    for name in (repo, repo.partition("/")[2], repo.upper()):
        for function in (download.resolve_reranker, download.resolve_model, download.download_model):
            with pytest.raises(ModelNotFoundError) as caught:
                function(name)
            assert str(caught.value) == f"{name!r} is not supported: {REFUSED[repo]}"
    assert server.requests == []


def test_a_folder_with_a_refused_name_is_a_folder(home: Path) -> None:
    folder = write_files(home / "jinaai/jina-reranker-v2-base-multilingual", tiny_model())
    assert download.resolve_reranker("jinaai/jina-reranker-v2-base-multilingual").path == folder


def test_the_bundled_embedding_model_does_not_stand_in_for_a_reranker(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bge-reranker-base", "org/other"):
        with pytest.raises(DownloadError) as caught:
            download.resolve_reranker(name)
        assert BUNDLED not in str(caught.value)
    with pytest.raises(DownloadError) as caught:
        download.download_model("bge-reranker-base")
    assert BUNDLED not in str(caught.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("bge-reranker-base", "org/other"):
        with pytest.raises(EmbeddingError, match="HF_HUB_OFFLINE is set") as offline:
            download.resolve_reranker(name)
        assert BUNDLED not in str(offline.value)
