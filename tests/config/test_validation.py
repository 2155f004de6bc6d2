"""Which settings are refused, in which words, and that good ones come through every construction."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.config.embedding import EmbeddingConfig
from tests.config_files import DEFAULTS, refusal, write
from tests.config_files import empty_home as empty_home

BAD_VALUES = [
    ("model_name", "", "repository"),
    ("model_name", "  ", "repository"),
    ("model_name", None, "repository"),
    ("revision", 1234567, "quote digits"),
    ("revision", "", "or None"),
    ("adapter", " ", "a Hugging Face repository or a local folder, or None"),
    ("pooling", "max", "'auto', 'mean', 'cls', 'last'"),
    ("pooling", None, "'auto'"),
    ("normalize", "true", "True or False, or None"),
    ("normalize", 1, "True or False"),
    ("dimensions", 0, "at least 1, or None"),
    ("dimensions", True, "an integer"),
    ("untrained_dimensions", 1, "True or False"),
    ("untrained_dimensions", None, "True or False"),
    ("max_tokens", 0, "at least 1, or None"),
    ("max_tokens", -1, "at least 1"),
    ("max_tokens", True, "an integer"),
    ("max_tokens", 512.0, "an integer"),
    ("max_tokens", "512", "an integer"),
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
    ("compute", "float32", "'fast', 'strict'"),
    ("warm_up", 1, "True or False"),
    ("keep_warm", -1, "from 0 to 86400"),
    ("keep_warm", float("inf"), "from 0 to 86400"),
    ("keep_warm", float("nan"), "from 0 to 86400"),
    ("keep_warm", True, "from 0 to 86400"),
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
        assert message.startswith(f"{key} is {value!r}; it must be ")
        assert allowed in message


@pytest.mark.parametrize(("key", "value", "allowed"), BAD_VALUES)
def test_bad_value_in_a_file_also_names_the_file(tmp_path: Path, key: str, value: Any, allowed: str) -> None:
    file = write(tmp_path / "bad.yaml", **{key: value})
    message = refusal(EmbeddingConfig.from_yaml, file)
    assert message.startswith(f"{file}: {key} is {value!r}; it must be ")
    assert allowed in message


def test_bad_override_does_not_blame_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "good.yaml", batch_size=8)
    assert refusal(EmbeddingConfig.resolve, config_path=file, batch_size=0).startswith("batch_size is 0; ")


def test_replace_with_a_bad_value_does_not_blame_the_file(tmp_path: Path) -> None:
    config = EmbeddingConfig.from_yaml(write(tmp_path / "good.yaml", batch_size=8))
    assert refusal(dataclasses.replace, config, batch_size=0).startswith("batch_size is 0; ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("batch_size", 1),
        ("batch_size", 128),
        ("dimensions", 1),
        ("max_tokens", 1),
        ("max_tokens", None),
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
        ("compute", "strict"),
        ("warm_up", False),
        ("keep_warm", 0.5),
        ("keep_warm", 86_400),
        ("revision", "v1.0"),
        ("normalize", False),
        ("normalize", True),
        ("normalize", None),
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
    words += " exclude each other; keep one, and set the others to None."
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
    for call in (EmbeddingConfig, EmbeddingConfig().with_values, EmbeddingConfig.resolve):
        assert "'_sources'" in refusal(call, _sources={})
    assert "'_sources'" in refusal(EmbeddingConfig.from_yaml, write(tmp_path / "private.yaml", _sources={}))


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
