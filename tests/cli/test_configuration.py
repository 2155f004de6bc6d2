"""``akidb-embed config``: values, their sources, and the file."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from akidb_embeddings import EmbeddingConfig, RerankConfig
from akidb_embeddings.cli import main
from akidb_embeddings.config.file import as_yaml


def sources(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[object, str]]:
    found = json.loads(capsys.readouterr().out)
    return {name: (entry["value"], entry["source"]) for name, entry in found["settings"].items()}


def test_each_value_has_its_source(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("embedding_config.yaml").write_text("embedding: {pooling: cls, normalize: false}", encoding="utf-8")
    arguments = ["--model", "minilm-l6-v2", "--no-normalize", "--no-download", "--cache-dir", "~/models"]
    assert main(["config", "--json", *arguments]) == 0
    found = sources(capsys)
    file = str(home / "embedding_config.yaml")
    assert found.keys() == EmbeddingConfig().to_dict().keys()
    assert found["pooling"] == ("cls", file)
    assert found["model_name"] == ("minilm-l6-v2", "command line")
    assert found["auto_download"] == (False, "command line")
    assert found["cache_dir"] == (str(home / "models"), "command line")
    assert found["max_tokens"] == (None, "default")


def test_every_option_reaches_its_field(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--model m --revision r --pooling last --dimensions 7 --max-tokens 8 --truncate error --normalize"
    more = "--batch-size 9 --memory compact --cache-dir /c --no-download --untrained-dimensions"
    assert main(["config", "--json", *options.split(), *more.split()]) == 0
    found = sources(capsys)
    given = {name: value for name, (value, source) in found.items() if source == "command line"}
    assert given == {
        "model_name": "m",
        "revision": "r",
        "pooling": "last",
        "dimensions": 7,
        "max_tokens": 8,
        "truncate": "error",
        "normalize": True,
        "batch_size": 9,
        "memory": "compact",
        "cache_dir": "/c",
        "auto_download": False,
        "untrained_dimensions": True,
    }


def test_the_table_is_a_configuration_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--dimensions", "64"]) == 0
    shown = capsys.readouterr().out
    expected = {"embedding": EmbeddingConfig(dimensions=64).to_dict(), "rerank": RerankConfig().to_dict()}
    assert yaml.safe_load(shown) == expected
    assert "# configuration file: none (looked for $AKIDB_CONFIG" in shown
    assert [line.split() for line in shown.splitlines() if " dimensions:" in line] == [
        ["dimensions:", "64", "#", "command", "line"]
    ]


@pytest.mark.parametrize("form", [[], ["--yaml"]], ids=["with comments", "yaml"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"max_tokens": 8192, "normalize": True, "model_name": "bge-m3-8bit"},
        {"normalize": False, "truncate": "error", "auto_download": False, "revision": "123456"},
        {"query_prompt": "Instruct: find\nQuery: ", "document_prompt": ""},
        {"query_prompt": 'it\'s "so": # no comment', "document_prompt": " - a: b\t\r\n\n  "},
        {"query_prompt": "質問: é🦊", "document_prompt": "\x07\x85\u2028\ufeff\x7f\\n"},
        {"query_prompt": "word " * 100, "document_prompt": "null"},
        {"query_prompt_name": "yes", "document_prompt_name": "~", "model_name": "0x10"},
        {"task": "Find: 'it'\n", "cache_dir": "/tmp/a folder: with # and é"},
        {"cache_dir": "models", "memory": "compact", "batch_size": 7},
    ],
    ids=str,
)
def test_what_is_printed_is_a_file_that_means_the_same(
    values: dict[str, Any], form: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The options come in a file, for not all of them have a flag."""
    config, file, printed = EmbeddingConfig(**values), home / "given: #\n.yaml", home / "printed.yaml"
    file.write_text(yaml.safe_dump({"embedding": values}), encoding="utf-8")
    assert main(["config", "--config", str(file), *form]) == 0
    shown = capsys.readouterr().out
    assert shown.isascii()  # whatever encoding the terminal has
    printed.write_text(shown, encoding="utf-8")
    assert EmbeddingConfig.from_yaml(printed) == config
    assert ("#" in shown.replace("# no comment", "").replace("with # and", "")) == (not form)


@given(value=st.one_of(st.text(), st.integers(), st.booleans(), st.none()))
def test_any_value_comes_back_from_what_is_printed(value: Any) -> None:
    text = as_yaml(value)
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert yaml.safe_load(f"embedding:\n  key:  {text}  # comment\n") == {"embedding": {"key": value}}


def test_a_printed_file_takes_options_of_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--model", "minilm-l6-v2", "--max-tokens", "64", "--no-normalize", "--yaml"]) == 0
    (home / "printed.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    expected = EmbeddingConfig(model_name="minilm-l6-v2", max_tokens=64, normalize=False)
    assert EmbeddingConfig.from_yaml(home / "printed.yaml") == expected


@pytest.mark.parametrize("form", [[], ["--yaml"]], ids=["with comments", "yaml"])
def test_the_reranker_has_its_section(form: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values: dict[str, Any] = {"model_name": "bge-reranker-v2-m3", "max_tokens": 1024, "instruction": "find: 'it'"}
    file = home / "own.yaml"
    file.write_text(yaml.safe_dump({"rerank": values, "embedding": {"max_tokens": 9}}), encoding="utf-8")
    arguments = ["config", "--config", str(file), "--max-tokens", "7", "--cache-dir", "/c", "--no-download"]
    assert main([*arguments, *form]) == 0
    (home / "printed.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    expected = RerankConfig(**values, cache_dir="/c", auto_download=False)
    assert RerankConfig.from_yaml(home / "printed.yaml") == expected
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["max_tokens"] == {"value": 7, "source": "command line"}
    assert found["rerank"].keys() == RerankConfig().to_dict().keys()
    assert found["rerank"]["max_tokens"] == {"value": 1024, "source": str(file)}
    assert found["rerank"]["cache_dir"] == {"value": "/c", "source": "command line"}
    assert found["rerank"]["batch_size"] == {"value": 32, "source": "default"}


def test_yaml_and_json_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--yaml", "--json"]) == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["option", "variable", "discovered"])
def test_the_file_that_was_read_is_named_even_if_it_sets_nothing(
    way: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / ("embedding_config.yaml" if way == "discovered" else "own.yaml")
    file.write_text("embedding:\n", encoding="utf-8")
    if way == "variable":
        monkeypatch.setenv("AKIDB_CONFIG", str(file))
    assert main(["config", *(["--config", str(file)] if way == "option" else [])]) == 0
    assert capsys.readouterr().out.startswith(f"# configuration file: {file}\n")


def test_a_wrong_file_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("embedding_config.yaml").write_text("embedding: {poling: cls}", encoding="utf-8")
    assert main(["config"]) == 2
    assert "unknown key 'poling' (value 'cls'). Did you mean 'pooling'?" in capsys.readouterr().err
