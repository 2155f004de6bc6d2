"""Where settings come from, which ones win, and what is refused in which words."""

import copy
import dataclasses
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from akidb_embeddings.config import EmbeddingConfig
from akidb_embeddings.config_file import find_config_file
from akidb_embeddings.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "embedding_config.example.yaml"

DEFAULTS = {
    "model_name": "qwen3-0.6b-4bit",
    "revision": None,
    "pooling": "auto",
    "normalize": True,
    "dimensions": None,
    "untrained_dimensions": False,
    "max_tokens": 512,
    "truncate": "end",
    "query_prompt": None,
    "document_prompt": None,
    "query_prompt_name": None,
    "document_prompt_name": None,
    "task": None,
    "batch_size": 32,
    "memory": "fast",
    "max_queued_tokens": 4_000_000,
    "auto_download": True,
    "cache_dir": None,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, an empty working directory beside it, and none of the variables that point elsewhere."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("AKIDB_CONFIG", raising=False)
    monkeypatch.chdir(work)
    return home


def write(path: Path, **values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"embedding": values}), encoding="utf-8")
    return path


def write_text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(call: Any, *arguments: Any, **keywords: Any) -> str:
    """The message of the ConfigurationError that ``call`` raises."""
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


# Defaults and the example file


def test_defaults() -> None:
    assert EmbeddingConfig().to_dict() == DEFAULTS


def test_example_file_holds_every_key_at_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    everything = yaml.safe_load(re.sub(r"^  #(?=\w+:)", "  ", text, flags=re.MULTILINE))["embedding"]
    assert everything == DEFAULTS
    assert list(everything) == list(DEFAULTS)
    assert EmbeddingConfig.from_yaml(EXAMPLE) == EmbeddingConfig()
    assert not EmbeddingConfig.from_yaml(EXAMPLE).was_given("max_tokens")  # it still bows to a smaller limit


def test_every_field_has_a_rule() -> None:
    for field in dataclasses.fields(EmbeddingConfig):
        assert "must be" in refusal(EmbeddingConfig, **{field.name: object()})


def test_signature_lists_the_fields_by_keyword() -> None:
    parameters = inspect.signature(EmbeddingConfig).parameters
    assert list(parameters)[: len(DEFAULTS)] == list(DEFAULTS)
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_import_loads_nothing_heavy() -> None:
    heavy = {"mlx", "mlx_lm", "transformers", "huggingface_hub", "tokenizers", "torch", "numpy"}
    code = f"import sys, akidb_embeddings.config; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Validation

BAD_VALUES = [
    ("model_name", "", "repository"),
    ("model_name", "  ", "repository"),
    ("model_name", None, "repository"),
    ("revision", 1234567, "quote digits"),
    ("revision", "", "or None"),
    ("pooling", "max", "'auto', 'mean', 'cls', 'last'"),
    ("pooling", None, "'auto'"),
    ("normalize", "true", "True or False"),
    ("normalize", 1, "True or False"),
    ("normalize", None, "True or False"),
    ("dimensions", 0, "at least 1, or None"),
    ("dimensions", True, "an integer"),
    ("untrained_dimensions", 1, "True or False"),
    ("untrained_dimensions", None, "True or False"),
    ("max_tokens", 0, "at least 1"),
    ("max_tokens", -1, "at least 1"),
    ("max_tokens", True, "an integer"),
    ("max_tokens", 512.0, "an integer"),
    ("max_tokens", "512", "an integer"),
    ("max_tokens", None, "an integer"),
    ("truncate", True, "'end', 'error'"),
    ("truncate", "start", "'end', 'error'"),
    ("query_prompt", 5, "a string"),
    ("document_prompt", ["a"], "a string"),
    ("query_prompt_name", "", "one of the model's prompts, or None"),
    ("query_prompt_name", 5, "the name"),
    ("document_prompt_name", " ", "the name"),
    ("task", "", "an instruction"),
    ("task", " \n", "an instruction"),
    ("task", ["a"], "or None"),
    ("batch_size", 0, "from 1 to 128"),
    ("batch_size", 129, "from 1 to 128"),
    ("batch_size", 8.0, "from 1 to 128"),
    ("memory", "slow", "'fast', 'compact'"),
    ("max_queued_tokens", 0, "at least 1"),
    ("auto_download", 0, "True or False"),
    ("cache_dir", 3, "a folder"),
    ("cache_dir", "", "a folder"),
    ("cache_dir", "~no-such-user-here/cache", "a folder"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), BAD_VALUES)
def test_bad_value_is_refused_by_key_value_and_allowed(key: str, value: Any, allowed: str) -> None:
    for call in (EmbeddingConfig, EmbeddingConfig.resolve, EmbeddingConfig().with_values):
        message = refusal(call, **{key: value})
        assert message.startswith(f"{key}: {value!r} ")
        assert allowed in message


@pytest.mark.parametrize(("key", "value", "allowed"), BAD_VALUES)
def test_bad_value_in_a_file_also_names_the_file(tmp_path: Path, key: str, value: Any, allowed: str) -> None:
    file = write(tmp_path / "bad.yaml", **{key: value})
    message = refusal(EmbeddingConfig.from_yaml, file)
    assert message.startswith(f"{file}: {key}: {value!r} ")
    assert allowed in message


def test_bad_override_does_not_blame_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "good.yaml", batch_size=8)
    assert refusal(EmbeddingConfig.resolve, config_path=file, batch_size=0).startswith("batch_size: 0 ")


def test_replace_with_a_bad_value_does_not_blame_the_file(tmp_path: Path) -> None:
    config = EmbeddingConfig.from_yaml(write(tmp_path / "good.yaml", batch_size=8))
    assert refusal(dataclasses.replace, config, batch_size=0).startswith("batch_size: 0 ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 1),
        ("batch_size", 128),
        ("dimensions", 1),
        ("max_tokens", 1),
        ("max_queued_tokens", 1),
        ("query_prompt", ""),
        ("document_prompt", "passage: "),
        ("query_prompt_name", "STS"),
        ("document_prompt_name", "Clustering"),
        ("task", "Retrieve duplicates"),
        ("untrained_dimensions", True),
        ("pooling", "last"),
        ("truncate", "error"),
        ("memory", "compact"),
        ("revision", "v1.0"),
        ("normalize", False),
        ("auto_download", False),
    ],
)
def test_good_value_survives_every_construction(tmp_path: Path, key: str, value: Any) -> None:
    file = write(tmp_path / "good.yaml", **{key: value})
    built = [
        EmbeddingConfig(**{key: value}),
        EmbeddingConfig.from_yaml(file),
        EmbeddingConfig.resolve(config_path=file),
        EmbeddingConfig.resolve(**{key: value}),
        EmbeddingConfig().with_values(**{key: value}),
        dataclasses.replace(EmbeddingConfig(), **{key: value}),
    ]
    for config in built:
        assert config.to_dict() == {**DEFAULTS, key: value}
        assert config.was_given(key)


@pytest.mark.parametrize(
    "values",
    [
        {"query_prompt": "q: ", "query_prompt_name": "STS"},
        {"query_prompt": "", "query_prompt_name": "STS"},
        {"query_prompt": "q: ", "task": "Find it"},
        {"query_prompt_name": "STS", "task": "Find it"},
        {"document_prompt": "d: ", "document_prompt_name": "STS"},
        {"query_prompt": "q: ", "query_prompt_name": "STS", "task": "Find it"},
    ],
)
def test_two_ways_to_say_one_prompt_exclude_each_other(tmp_path: Path, values: dict[str, str]) -> None:
    words = " and ".join(f"{name} ({value!r})" for name, value in values.items())
    words += " exclude each other; keep one, and set what is left to None."
    for call in (EmbeddingConfig, EmbeddingConfig.resolve, EmbeddingConfig().with_values):
        assert refusal(call, **values) == words
    file = write(tmp_path / "both.yaml", **values)
    assert refusal(EmbeddingConfig.from_yaml, file) == f"{file}: {words}"


def test_an_override_takes_the_place_of_the_other_way_to_say_a_prompt(tmp_path: Path) -> None:
    file = write(tmp_path / "named.yaml", query_prompt_name="STS", document_prompt="d: ")
    config = EmbeddingConfig.resolve(config_path=file, task="Find it")
    assert (config.task, config.query_prompt_name, config.document_prompt) == ("Find it", None, "d: ")
    assert EmbeddingConfig.resolve(config, query_prompt="").task is None


def test_queries_and_documents_may_say_their_prompts_in_different_ways() -> None:
    config = EmbeddingConfig(task="Find it", document_prompt_name="STS")
    assert (config.task, config.document_prompt_name) == ("Find it", "STS")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("batchsize", "batch_size"), ("max-tokens", "max_tokens"), ("POOLING", "pooling"), ("model", "model_name")],
)
def test_unknown_key_names_the_nearest(tmp_path: Path, key: str, nearest: str) -> None:
    for call in (
        EmbeddingConfig,
        EmbeddingConfig.resolve,
        EmbeddingConfig().with_values,
        lambda **values: dataclasses.replace(EmbeddingConfig(), **values),
    ):
        message = refusal(call, **{key: 8})
        assert f"{key!r} (value 8)" in message
        assert f"Did you mean {nearest!r}?" in message
    file = write(tmp_path / "unknown.yaml", **{key: 8})
    message = refusal(EmbeddingConfig.from_yaml, file)
    assert message.startswith(f"{file}: ")
    assert f"{key!r} (value 8)" in message
    assert f"Did you mean {nearest!r}?" in message


def test_unknown_key_with_nothing_near_lists_the_known_ones() -> None:
    message = refusal(EmbeddingConfig, xyz=1)
    assert "Did you mean" not in message
    assert ", ".join(DEFAULTS) in message


def test_private_record_is_no_key_of_a_file(tmp_path: Path) -> None:
    assert "'_origins'" in refusal(EmbeddingConfig.from_yaml, write(tmp_path / "private.yaml", _origins={}))


def test_cache_dir_is_kept_as_a_string_with_home_expanded(home: Path, tmp_path: Path) -> None:
    expected = str(home / "models")
    file = write(tmp_path / "cache.yaml", cache_dir="~/models")
    for config in (
        EmbeddingConfig(cache_dir="~/models"),
        EmbeddingConfig(cache_dir=Path("~/models")),
        EmbeddingConfig(cache_dir=home / "models"),
        EmbeddingConfig.from_yaml(file),
    ):
        assert config.cache_dir == expected
        assert type(config.cache_dir) is str


# YAML files


@pytest.mark.parametrize("text", ["", "# only a comment\n", "embedding:\n", "embedding: {}\n", "---\n"])
def test_file_without_values_gives_the_defaults(tmp_path: Path, text: str) -> None:
    config = EmbeddingConfig.from_yaml(write_text(tmp_path / "empty.yaml", text))
    assert config == EmbeddingConfig()
    assert not any(config.was_given(name) for name in DEFAULTS)


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


# Priority

LAYERS = ["override", "config", "config_path", "found"]


def resolve_with(layers: list[str], tmp_path: Path) -> EmbeddingConfig:
    """Resolve with the given layers only; each sets ``batch_size`` to its own rank, 1 for the highest."""
    keywords: dict[str, Any] = {}
    if "override" in layers:
        keywords["batch_size"] = 1
    if "config" in layers:
        keywords["config"] = EmbeddingConfig(batch_size=2)
    if "config_path" in layers:
        keywords["config_path"] = write(tmp_path / "path.yaml", batch_size=3)
    if "found" in layers:
        write(Path("embedding_config.yaml"), batch_size=4)
    return EmbeddingConfig.resolve(**keywords)


@pytest.mark.parametrize("high", LAYERS)
def test_every_layer_beats_the_defaults(tmp_path: Path, high: str) -> None:
    assert resolve_with([high], tmp_path).batch_size == LAYERS.index(high) + 1


@pytest.mark.parametrize(
    ("high", "low"), [(high, low) for rank, high in enumerate(LAYERS) for low in LAYERS[rank + 1 :]]
)
def test_higher_layer_beats_lower(tmp_path: Path, high: str, low: str) -> None:
    assert resolve_with([high, low], tmp_path).batch_size == LAYERS.index(high) + 1


def test_base_is_taken_whole_and_lower_files_are_not_read(tmp_path: Path) -> None:
    write(Path("embedding_config.yaml"), memory="compact", batch_size=0)
    file = write(tmp_path / "path.yaml", truncate="error")
    assert EmbeddingConfig.resolve(config_path=file) == EmbeddingConfig(truncate="error")
    assert EmbeddingConfig.resolve(EmbeddingConfig(), config_path="/nowhere.yaml") == EmbeddingConfig()


def test_overrides_keep_the_rest_of_the_base(tmp_path: Path) -> None:
    file = write(tmp_path / "path.yaml", memory="compact", batch_size=8)
    expected = EmbeddingConfig(memory="compact", batch_size=2)
    assert EmbeddingConfig.resolve(config_path=file, batch_size=2) == expected
    assert EmbeddingConfig.resolve(EmbeddingConfig(memory="compact"), batch_size=2) == expected


@pytest.mark.parametrize(
    ("base", "override"),
    [
        ({"normalize": True}, {"normalize": False}),
        ({"auto_download": True}, {"auto_download": False}),
        ({"dimensions": 256}, {"dimensions": None}),
        ({"query_prompt": "q: "}, {"query_prompt": ""}),
        ({"query_prompt": "q: "}, {"query_prompt": None}),
        ({"max_tokens": 64}, {"max_tokens": 512}),
    ],
)
def test_override_counts_even_when_it_is_falsy_or_the_default(
    tmp_path: Path, base: dict[str, Any], override: dict[str, Any]
) -> None:
    file = write(tmp_path / "base.yaml", **base)
    for config in (
        EmbeddingConfig.resolve(config_path=file, **override),
        EmbeddingConfig.resolve(EmbeddingConfig(**base), **override),
    ):
        assert config == EmbeddingConfig(**override)
        assert all(config.sources[name] == "constructor" for name in override)


def test_zero_is_not_taken_for_nothing_given() -> None:
    assert "batch_size: 0 " in refusal(EmbeddingConfig.resolve, batch_size=0)


@pytest.mark.parametrize("config", [{"batch_size": 8}, {}, "qwen3-0.6b-4bit", 0])
def test_config_of_another_type_is_refused(config: Any) -> None:
    message = refusal(EmbeddingConfig.resolve, config)
    assert repr(config) in message
    assert "EmbeddingConfig(**values)" in message


# Sources


def test_sources_name_every_origin(tmp_path: Path) -> None:
    file = write(tmp_path / "some.yaml", batch_size=8, memory="compact")
    config = EmbeddingConfig.resolve(config_path=file, batch_size=4)
    assert list(config.sources) == list(DEFAULTS)
    assert config.sources["batch_size"] == "constructor"
    assert config.sources["memory"] == str(file)
    assert config.sources["pooling"] == "default"


def test_found_file_is_named_by_its_full_path() -> None:
    file = write(Path("embedding_config.yaml"), batch_size=3).absolute()
    assert EmbeddingConfig.resolve().sources["batch_size"] == str(file)


def test_sources_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        EmbeddingConfig().sources["batch_size"] = "elsewhere"  # type: ignore[index]


def test_was_given_refuses_a_name_that_is_no_field() -> None:
    with pytest.raises(KeyError):
        EmbeddingConfig().was_given("max_token")


@pytest.mark.parametrize("how", ["constructor", "yaml", "resolve", "resolve_config", "resolve_path", "with_values"])
def test_default_value_that_was_given_counts_as_given(tmp_path: Path, how: str) -> None:
    file = write(tmp_path / "given.yaml", max_tokens=512)
    config = {
        "constructor": lambda: EmbeddingConfig(max_tokens=512),
        "yaml": lambda: EmbeddingConfig.from_yaml(file),
        "resolve": lambda: EmbeddingConfig.resolve(max_tokens=512),
        "resolve_config": lambda: EmbeddingConfig.resolve(EmbeddingConfig(max_tokens=512), batch_size=2),
        "resolve_path": lambda: EmbeddingConfig.resolve(config_path=file, batch_size=2),
        "with_values": lambda: EmbeddingConfig().with_values(max_tokens=512),
    }[how]()
    assert config.was_given("max_tokens")
    assert not config.was_given("dimensions")


@pytest.mark.parametrize("how", ["constructor", "yaml", "resolve", "resolve_config", "resolve_path", "with_values"])
def test_value_that_was_not_given_stays_default(tmp_path: Path, how: str) -> None:
    file = write(tmp_path / "other.yaml", batch_size=2)
    config = {
        "constructor": lambda: EmbeddingConfig(batch_size=2),
        "yaml": lambda: EmbeddingConfig.from_yaml(file),
        "resolve": lambda: EmbeddingConfig.resolve(batch_size=2),
        "resolve_config": lambda: EmbeddingConfig.resolve(EmbeddingConfig(), batch_size=2),
        "resolve_path": lambda: EmbeddingConfig.resolve(config_path=file, memory="compact"),
        "with_values": lambda: EmbeddingConfig().with_values(batch_size=2),
    }[how]()
    assert config.was_given("batch_size")
    assert not config.was_given("max_tokens")


def mixed(tmp_path: Path) -> EmbeddingConfig:
    """A config with a value from a file, one from code, one given that is the default, and a folder."""
    file = write(tmp_path / "mixed.yaml", memory="compact", cache_dir="~/models")
    return EmbeddingConfig.resolve(config_path=file, batch_size=4, max_tokens=512)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_values_and_sources(tmp_path: Path, protocol: int) -> None:
    config = mixed(tmp_path)
    loaded = pickle.loads(pickle.dumps(config, protocol))
    assert loaded == config
    assert loaded.sources == config.sources


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, dataclasses.replace, EmbeddingConfig.with_values])
def test_copies_keep_values_and_sources(tmp_path: Path, duplicate: Any) -> None:
    config = mixed(tmp_path)
    assert duplicate(config) == config
    assert duplicate(config).sources == config.sources
    assert vars(duplicate(config)) == vars(config)


def test_pickled_config_can_be_changed(tmp_path: Path) -> None:
    config = mixed(tmp_path)
    changed = pickle.loads(pickle.dumps(config)).with_values(pooling="cls")
    assert changed.sources == {**config.sources, "pooling": "constructor"}


@pytest.mark.parametrize("change", [dataclasses.replace, EmbeddingConfig.with_values])
def test_changed_copy_keeps_the_sources_of_the_rest(tmp_path: Path, change: Any) -> None:
    config = mixed(tmp_path)
    changed = change(config, memory="fast", dimensions=256)
    assert changed.sources == {**config.sources, "memory": "constructor", "dimensions": "constructor"}
    assert config.memory == "compact"


# A value among values


def test_values_compare_and_hash_whatever_their_sources(tmp_path: Path) -> None:
    given, implied = EmbeddingConfig(max_tokens=512), EmbeddingConfig()
    from_file = EmbeddingConfig.from_yaml(write(tmp_path / "same.yaml", max_tokens=512))
    assert given == implied == from_file
    assert len({given, implied, from_file}) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_name", "minilm-l6-v2"),
        ("revision", "main"),
        ("pooling", "mean"),
        ("normalize", False),
        ("dimensions", 256),
        ("max_tokens", 256),
        ("truncate", "error"),
        ("query_prompt", ""),
        ("document_prompt", ""),
        ("query_prompt_name", "query"),
        ("document_prompt_name", "document"),
        ("task", "t"),
        ("untrained_dimensions", True),
        ("batch_size", 1),
        ("memory", "compact"),
        ("max_queued_tokens", 1),
        ("auto_download", False),
        ("cache_dir", "/models"),
    ],
)
def test_every_field_is_compared_and_hashed(key: str, value: Any) -> None:
    assert EmbeddingConfig(**{key: value}) != EmbeddingConfig()
    assert hash(EmbeddingConfig(**{key: value})) != hash(EmbeddingConfig())


def test_fields_cannot_be_assigned() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EmbeddingConfig().batch_size = 8  # type: ignore[misc]


def test_arguments_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        EmbeddingConfig("minilm-l6-v2")  # type: ignore[call-arg]


def test_to_dict_round_trip_holds_plain_values(tmp_path: Path) -> None:
    values = mixed(tmp_path).to_dict()
    assert EmbeddingConfig(**values) == mixed(tmp_path)
    assert {type(value) for value in values.values()} <= {str, int, bool, type(None)}
    assert yaml.safe_load(yaml.safe_dump(values)) == values


def test_repr_shows_the_fields_only() -> None:
    assert repr(EmbeddingConfig()) == f"EmbeddingConfig({', '.join(f'{k}={v!r}' for k, v in DEFAULTS.items())})"


def test_a_revision_does_not_move_to_another_model() -> None:
    base = EmbeddingConfig(model_name="a/b", revision="v1")
    assert EmbeddingConfig.resolve(base, model_name="c/d").revision is None
    assert EmbeddingConfig.resolve(base, model_name="c/d", revision="v2").revision == "v2"
    assert EmbeddingConfig.resolve(base, model_name="a/b").revision == "v1"
    assert EmbeddingConfig.resolve(base, pooling="cls").revision == "v1"
