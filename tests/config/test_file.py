"""The YAML file of settings: what it may say, where it is looked for, and how it is blamed."""

from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.file import find_config_file
from akidb_embeddings.errors import ConfigurationError
from tests.config_files import DEFAULTS, refusal, write, write_text
from tests.config_files import empty_home as empty_home

# YAML files


@pytest.mark.parametrize("text", ["", "# only a comment\n", "embedding:\n", "embedding: {}\n", "---\n"])
def test_file_without_values_gives_the_defaults(tmp_path: Path, text: str) -> None:
    config = EmbeddingConfig.from_yaml(write_text(tmp_path / "empty.yaml", text))
    assert config == EmbeddingConfig()
    assert config.sources == dict.fromkeys(DEFAULTS, "default")


def test_yes_and_no_are_booleans(tmp_path: Path) -> None:
    file = write_text(tmp_path / "words.yaml", "embedding:\n  normalize: no\n  auto_download: yes\n")
    config = EmbeddingConfig.from_yaml(file)
    assert (config.normalize, config.auto_download) == (False, True)


def test_text_is_read_as_utf_8(tmp_path: Path) -> None:
    file = write_text(tmp_path / "prompt.yaml", "embedding:\n  query_prompt: '質問: '\n")
    assert EmbeddingConfig.from_yaml(file).query_prompt == "質問: "


def test_path_may_be_a_string_and_start_at_home(home: Path) -> None:
    write(home / "mine.yaml", batch_size=3)
    assert EmbeddingConfig.from_yaml("~/mine.yaml").batch_size == 3


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("embedding:\n  batch_size: [1\n", 3, "valid YAML"),
        ("embedding:\n  memory: fast\n\tpooling: cls\n", 3, "valid YAML"),
        ("embedding:\n  model_name: !!python/object/apply:os.getcwd []\n", 2, "could not determine a constructor"),
        ("embedding:\n  batch_size: 1\n  memory: fast\n  batch_size: 2\n", 4, "'batch_size' is given twice"),
        ("embedding: {}\nembedding: {}\n", 2, "'embedding' is given twice"),
    ],
)
def test_broken_yaml_is_refused_by_file_and_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    file = write_text(tmp_path / "broken.yaml", text)
    message = refusal(EmbeddingConfig.from_yaml, file)
    assert message.startswith(f"{file}, line {line}: ")
    assert words in message


@pytest.mark.parametrize("text", ["embedding:\n  revision: 2024-13-45\n", "embedding: \0\n"])
def test_broken_yaml_without_a_line_is_refused_by_file(tmp_path: Path, text: str) -> None:
    file = write_text(tmp_path / "broken.yaml", text)
    assert refusal(EmbeddingConfig.from_yaml, file).startswith(f"{file}: not valid YAML: ")


def test_invalid_utf_8_is_refused_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes("embedding:\n  query_prompt: 'tête'\n".encode("latin-1"))
    assert refusal(EmbeddingConfig.from_yaml, file) == f"{file}, line 2: not valid UTF-8"


@pytest.mark.parametrize(
    "text", ["- embedding\n", "embedding\n", "embedding: [1]\n", "embedding: []\n", "embedding: no\n"]
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = write_text(tmp_path / "list.yaml", text)
    message = refusal(EmbeddingConfig.from_yaml, file)
    assert message.startswith(f"{file}: ")
    assert "is not a mapping" in message


def test_unknown_root_key_is_refused(tmp_path: Path) -> None:
    file = write_text(tmp_path / "root.yaml", "embeddings:\n  batch_size: 8\n")
    message = refusal(EmbeddingConfig.from_yaml, file)
    assert message.startswith(f"{file}: ")
    assert "'embeddings'" in message
    assert "Did you mean 'embedding'?" in message


def test_key_that_is_no_string_is_refused(tmp_path: Path) -> None:
    file = write_text(tmp_path / "number.yaml", "embedding:\n  1: a\n")
    assert "unknown key 1 (value 'a')" in refusal(EmbeddingConfig.from_yaml, file)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    assert str(missing) in refusal(EmbeddingConfig.from_yaml, missing)
    assert str(missing) in refusal(EmbeddingConfig.resolve, config_path=str(missing))


def test_directory_is_refused_by_name(tmp_path: Path) -> None:
    assert refusal(EmbeddingConfig.from_yaml, tmp_path).startswith(f"{tmp_path}: cannot be read")


def test_unreadable_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "secret.yaml", batch_size=8)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")  # chmod would not stop a test that runs as root

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert refusal(EmbeddingConfig.from_yaml, file) == f"{file}: cannot be read: Permission denied"


# Finding the file


def test_nothing_found() -> None:
    assert find_config_file() is None
    assert EmbeddingConfig.from_yaml() == EmbeddingConfig()
    assert EmbeddingConfig.resolve() == EmbeddingConfig()


def test_search_order(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_home = write(home / ".config/akidb/embedding_config.yaml", batch_size=1)
    assert find_config_file() == in_home

    in_xdg = write(tmp_path / "xdg/akidb/embedding_config.yaml", batch_size=2)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert find_config_file() == in_xdg

    in_work = write(Path("embedding_config.yaml").absolute(), batch_size=3)
    assert find_config_file() == in_work

    named = write(tmp_path / "named.yaml", batch_size=4)
    monkeypatch.setenv("AKIDB_CONFIG", str(named))
    assert find_config_file() == named
    assert EmbeddingConfig.from_yaml().batch_size == 4


def test_xdg_config_home_replaces_the_one_in_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".config/akidb/embedding_config.yaml", batch_size=1)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))
    assert find_config_file() is None


@pytest.mark.parametrize("value", ["", "relative"])
def test_empty_or_relative_xdg_config_home_counts_as_unset(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    in_home = write(home / ".config/akidb/embedding_config.yaml", batch_size=1)
    write(Path("relative/akidb/embedding_config.yaml"), batch_size=2)
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert find_config_file() == in_home


def test_place_that_cannot_be_looked_into_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/" + "x" * 5000)  # stat fails, and not because nothing is there
    assert find_config_file() is None


def test_directory_of_that_name_is_passed_over() -> None:
    Path("embedding_config.yaml").mkdir()
    assert find_config_file() is None


@pytest.mark.parametrize("call", [find_config_file, EmbeddingConfig.from_yaml, EmbeddingConfig.resolve])
def test_named_file_that_is_missing_is_an_error(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("embedding_config.yaml"), batch_size=3)
    monkeypatch.setenv("AKIDB_CONFIG", "/nowhere/akidb.yaml")
    message = refusal(call)
    assert "AKIDB_CONFIG" in message
    assert "/nowhere/akidb.yaml" in message


def test_named_file_may_start_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(home / "akidb.yaml", batch_size=3)
    monkeypatch.setenv("AKIDB_CONFIG", "~/akidb.yaml")
    assert find_config_file() == file


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_CONFIG", "")
    file = write(Path("embedding_config.yaml").absolute(), batch_size=3)
    assert find_config_file() == file


def test_broken_file_that_was_found_is_an_error() -> None:
    file = write(Path("embedding_config.yaml").absolute(), batch_size=0)
    assert refusal(EmbeddingConfig.resolve).startswith(f"{file}: ")


@pytest.mark.parametrize("text", ["[" * 600, "[" * 600 + "]" * 600, "{a: " * 600 + "1" + "}" * 600])
def test_a_file_that_is_nested_too_deeply_is_told(tmp_path: Path, text: str) -> None:
    file = write_text(tmp_path / "deep.yaml", f"embedding: {text}\n")
    with pytest.raises(ConfigurationError, match="nested too deeply to be read") as error:
        EmbeddingConfig.from_yaml(file)
    assert error.value.source == str(file)
