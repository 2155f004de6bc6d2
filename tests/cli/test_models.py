"""The registry and the cache on the command line, with a hub on this machine."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.cli import main
from akidb_embeddings.hub import cache
from akidb_embeddings.registry import MODELS, RERANKERS
from tests.cli.tools import TINY
from tests.fixtures import model_path
from tests.hub_server import HubServer, write_files

TINY_FILES = {
    path.relative_to(TINY[1]).as_posix(): path.read_bytes() for path in Path(TINY[1]).rglob("*") if path.is_file()
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Return a hub that has one model, the tiny BERT, with a revision."""
    with HubServer() as server:
        server.add("org/tiny", TINY_FILES, v2=TINY_FILES | {"README.md": b"second"})
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def rows(shown: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line}


def test_models_lists_the_registry(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    table = rows(shown)
    columns = ["WEIGHTS", "SIZE", "DIMENSION", "POOLING", "TOKENS", "LICENCE", "CACHED", "DESCRIPTION"]
    assert table["NAME"] == columns
    facts = ["4", "bits", "335", "MB", "1024", "last", "32768", "Apache-2.0", "no"]
    assert table["qwen3-0.6b-4bit"][: len(facts)] == facts
    assert table["minilm-l6-v2"][4:9] == ["384", "mean", "256", "Apache-2.0", "bundled"]
    assert all(spec.description in shown for spec in MODELS.values())
    assert shown.endswith(f"\ncache: {home}/.cache/akidb, 0 bytes in 0 models\n")


def test_models_lists_rerankers_apart(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    embedding_models, rerankers, _ = capsys.readouterr().out.split("\n\n")
    table = rows(rerankers)
    assert list(table) == ["RERANKER", *RERANKERS]
    columns = ["WEIGHTS", "SIZE", "SCORES", "TOKENS", "LANGUAGES", "LICENCE", "CACHED", "DESCRIPTION"]
    assert table["RERANKER"] == columns
    facts = ["float32", "91.8", "MB", "logits", "512", "English", "Apache-2.0", "no", "ms-marco-MiniLM-L6-v2:"]
    assert table["ms-marco-minilm-l6-v2"][: len(facts)] == facts
    assert table["bge-reranker-v2-m3"][3:9] == ["0", "to", "1", "8192", "multilingual", "Apache-2.0"]
    assert not RERANKERS.keys() & rows(embedding_models).keys()


def test_a_reranker_is_downloaded_listed_and_described(
    hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = RERANKERS["ms-marco-minilm-l6-v2"]
    hub.add(spec.repo, TINY_FILES, **{spec.revision or "": TINY_FILES})
    assert main(["download", spec.name]) == 0
    shown = capsys.readouterr()
    folder = home / ".cache/akidb/models" / spec.name
    assert f"{spec.name}: downloading 91.8 MB from {hub.url}/{spec.repo}" in shown.err
    assert shown.out.startswith(f"{spec.name}: {folder} (cache, ")

    assert main(["models"]) == 0
    shown_models = capsys.readouterr().out
    assert rows(shown_models)[spec.name][7] == "cache"
    assert "ALSO IN THE CACHE" not in shown_models

    assert main(["info", spec.name]) == 0
    described = capsys.readouterr().out
    for label, text in (
        ("repository", spec.repo),
        ("kind", "reranker"),
        ("languages", "English"),
        ("max tokens", "512"),
        ("scores", "logits"),
        ("on this machine", f"cache: {folder}"),
    ):
        assert f"\n{label:<15}  {text}\n" in described
    assert "dimension" not in described


def test_info_of_a_reranker_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "qwen3-reranker-0.6b-4bit"]) == 0
    described = capsys.readouterr().out
    for label, text in (
        ("kind", "reranker"),
        ("instruction", "Given a web search query, retrieve relevant passages that answer the query"),
        ("download", "347 MB, 4 bits"),
        ("on this machine", "no; get it with: akidb-embed download qwen3-reranker-0.6b-4bit"),
    ):
        assert f"\n{label:<15}  {text}\n" in described


def test_a_model_of_the_registry_is_listed_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_files(home / ".cache/akidb/models/gemma-300m-4bit", TINY_FILES)
    sizes = {name: len(content) for name, content in TINY_FILES.items()}
    spec = MODELS["gemma-300m-4bit"]
    cache.Manifest(spec.name, spec.repo, spec.revision, "0" * 40, sizes, "").write(folder)
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("gemma-300m-4bit") == 1
    assert rows(shown)["gemma-300m-4bit"][8] == "cache"
    assert "in 1 models" in shown


@pytest.mark.long
def test_download_then_models_then_clear(hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "org/tiny"]) == 0
    assert main(["download", "org/tiny", "--revision", "v2"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    folder = home / ".cache/akidb/models/org--tiny"
    assert first.startswith(f"org/tiny: {folder} (cache, ")
    assert second.startswith(f"org/tiny: {folder}@v2 (cache, ")

    (folder / "model.safetensors").write_bytes(b"damage")
    assert main(["models"]) == 0
    shown = capsys.readouterr().out
    assert rows(shown)["org/tiny"][-1] == "damaged"
    assert rows(shown)["org/tiny@v2"][-1] == "whole"
    assert "in 2 models" in shown

    assert main(["clear", "org/tiny"]) == 0
    assert capsys.readouterr().out.endswith("kB freed\n")
    assert not folder.exists()
    assert main(["clear", "org/tiny"]) == 1
    assert "is not in the cache" in capsys.readouterr().err


def test_download_goes_where_the_configuration_says_and_is_used_from_there(
    hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("embedding_config.yaml").write_text("embedding: {cache_dir: ~/elsewhere}", encoding="utf-8")
    assert main(["download", "org/tiny"]) == 0
    asked = len(hub.requests)
    assert main(["text", "--model", "org/tiny"]) == 0
    assert len(hub.requests) == asked
    assert (home / "elsewhere/models/org--tiny").is_dir()
    assert main(["clear", "--all", "--cache-dir", "nowhere"]) == 0
    assert capsys.readouterr().out.endswith("0 bytes freed\n")
    assert main(["clear", "--all"]) == 0
    assert not (home / "elsewhere/models/org--tiny").exists()


@pytest.mark.long
def test_force_fetches_again(hub: HubServer) -> None:
    for arguments, fetched in (([], 1), ([], 1), (["--force"], 2)):
        assert main(["download", "org/tiny", *arguments]) == 0
        assert len(hub.sent("tokenizer.json")) == fetched


def test_a_download_that_fails_says_so_in_one_line(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "org/missing"]) == 1
    shown = capsys.readouterr().err
    assert "org/missing" in shown
    assert "does not exist, or is private" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "one of the arguments NAME --all is required"), (["x", "--all"], "not allowed with argument")],
)
def test_clear_wants_one_of_name_and_all(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clear", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_info_of_a_model_that_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "minilm-l6-v2"]) == 0
    shown = capsys.readouterr().out
    with EmbeddingService("minilm-l6-v2") as service:
        fingerprint = service.fingerprint()
    for label, text in (
        ("repository", "sentence-transformers/all-MiniLM-L6-v2"),
        ("on this machine", "bundled: "),
        ("dimension", "384"),
        ("max tokens", "256"),
        ("pooling", "mean"),
        ("normalized", "yes"),
        ("quantization", "8 bits, group size 64"),
        ("prompts", 'document: "", query: ""'),
        ("fingerprint", f"{fingerprint} (default settings)"),
    ):
        assert f"\n{label:<15}  {text}" in shown


def test_info_of_a_model_that_is_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "gemma-300m-4bit"]) == 0
    shown = capsys.readouterr().out
    for label, text in (
        ("licence", "Gemma"),
        ("dimension", "768"),
        ("prompts", 'query: "task: search result | query: ", document: "title: none | text: "'),
        ("on this machine", "no; get it with: akidb-embed download gemma-300m-4bit"),
    ):
        assert f"\n{label:<15}  {text}" in shown
    assert "fingerprint" not in shown


def test_info_of_a_folder_with_prompts_and_unknown_pooling(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(TINY[1], "model")
    shutil.rmtree("model/1_Pooling")
    Path("model/modules.json").unlink()
    prompts = {"prompts": {"query": "find:\n", "sts": "x"}, "default_prompt_name": "sts"}
    Path("model/config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    assert main(["info", "./model"]) == 0
    shown = capsys.readouterr().out
    assert "unknown, since the model does not say how it was trained: set --pooling" in shown
    assert 'query: "find:\\n", sts: "x"' in shown
    assert "2048 at most, 512 unless configured" in shown
    assert "quantization     none" in shown


def test_info_of_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "qwen3-0.6b-4bits"]) == 1
    assert "Did you mean 'qwen3-0.6b-4bit'" in capsys.readouterr().err


def test_info_of_rerankers_in_folders(capsys: pytest.CaptureFixture[str]) -> None:
    for name, facts in (
        ("tiny-bert-reranker", {"kind": "reranker", "architecture": "bert", "quantization": "none"}),
        ("tiny-bert-labels", {"kind": "reranker", "labels": "contradiction, entailment, neutral"}),
    ):
        assert main(["info", str(model_path(name))]) == 0
        shown = capsys.readouterr().out
        assert [label for label, text in facts.items() if f"\n{label:<15}  {text}" not in shown] == []
