"""The settings of rerankers: the same rules, sources and copies as those of embedding models."""

import copy
import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import FIELDS, RerankConfig
from akidb_embeddings.errors import ArgumentError, ConfigurationError
from akidb_embeddings.registry import RERANKERS
from tests.config.test_embedding import EXAMPLE
from tests.config_files import empty_home as empty_home
from tests.config_files import write_text

DEFAULTS = {
    "model_name": "qwen3-reranker-0.6b-4bit",
    "revision": None,
    "max_tokens": None,
    "truncate": "end",
    "instruction": None,
    "prompt_name": None,
    "batch_size": 32,
    "memory": "fast",
    "compute": "fast",
    "warm_up": True,
    "keep_warm": 0,
    "max_queued_tokens": 4_000_000,
    "auto_download": True,
    "cache_dir": None,
}


def test_defaults() -> None:
    assert RerankConfig().to_dict() == DEFAULTS
    assert tuple(DEFAULTS) == FIELDS == tuple(field.name for field in dataclasses.fields(RerankConfig))
    assert RerankConfig.model_name in RERANKERS


def test_example_file_holds_every_key_at_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    everything = yaml.safe_load(re.sub(r"^  #(?=\w+:)", "  ", text, flags=re.MULTILINE))["rerank"]
    assert everything == DEFAULTS
    assert list(everything) == list(DEFAULTS)
    assert RerankConfig.from_yaml(EXAMPLE) == RerankConfig()


def test_a_file_has_a_section_for_each_kind(tmp_path: Path) -> None:
    file = write_text(tmp_path / "c.yaml", "embedding:\n  max_tokens: 100\nrerank:\n  max_tokens: 200\n")
    assert EmbeddingConfig.from_yaml(file).max_tokens == 100
    config = RerankConfig.from_yaml(file)
    assert config.max_tokens == 200
    assert config.source_of("max_tokens") == str(file)
    assert config.with_values(batch_size=3).source_of("max_tokens") == str(file)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be an integer from 1 to 128"),
        ({"instruction": " "}, "instruction is ' '"),
        ({"truncate": "start"}, "truncate is 'start'"),
        ({"instruction": "find", "prompt_name": "query"}, "exclude each other"),
    ],
)
def test_values_that_are_not_allowed(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        RerankConfig(**values)


def test_fields_of_the_other_kind_are_unknown(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="unknown argument 'pooling'"):
        RerankConfig(pooling="mean")  # type: ignore[call-arg]  # the error is tested
    file = write_text(tmp_path / "c.yaml", "rerank:\n  dimensions: 3\n")
    with pytest.raises(ConfigurationError, match="unknown key 'dimensions'"):
        RerankConfig.from_yaml(file)


def test_a_configuration_of_the_other_kind_is_refused() -> None:
    other: Any = EmbeddingConfig()
    with pytest.raises(ConfigurationError, match=r"is not of the class RerankConfig; use RerankConfig\(\*\*values\)"):
        RerankConfig.resolve(other)


def test_copies_are_equal_and_cannot_be_changed() -> None:
    config = RerankConfig(model_name="bge-reranker-base", max_tokens=100)
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), RerankConfig(**config.to_dict())):
        assert (other, hash(other)) == (config, hash(config))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_tokens = 3  # type: ignore[misc]  # the error is tested
    other_kind: object = EmbeddingConfig(model_name="bge-reranker-base", max_tokens=100)
    assert config != other_kind


def test_another_model_resets_the_revision() -> None:
    config = RerankConfig(model_name="bge-reranker-base", revision="abc")
    assert RerankConfig.resolve(config, model_name="bge-reranker-large").revision is None
    assert RerankConfig.resolve(config, instruction="find").revision == "abc"
    changed = RerankConfig(instruction="find").with_values(prompt_name="query")
    assert (changed.instruction, changed.prompt_name) == (None, "query")
