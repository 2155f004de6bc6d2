"""``akidb-embed config``: values, their sources, and the file."""

import json
from pathlib import Path

import pytest
import yaml

from akidb_embeddings import EmbeddingConfig
from akidb_embeddings.cli import main


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
    assert found["max_tokens"] == (512, "default")


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
    assert yaml.safe_load(shown) == {"embedding": EmbeddingConfig(dimensions=64).to_dict()}
    assert "# configuration file: none (looked for $AKIDB_CONFIG" in shown
    assert [line.split() for line in shown.splitlines() if " dimensions:" in line] == [
        ["dimensions:", "64", "#", "command", "line"]
    ]


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
