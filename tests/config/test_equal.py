"""Equal configurations mean the same: values alone decide, whoever set them and however they were copied."""

import copy
import dataclasses
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.checkpoint.settings import Settings, apply_config, warn_about_normalization
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry import MODELS
from tests.config_files import DEFAULTS, write
from tests.config_files import empty_home as empty_home
from tests.fixtures import BUNDLED

CONFIGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the defaults": DEFAULTS,
    "a limit below the model's": {"max_tokens": 100},
    "a limit beyond the model's": {"max_tokens": 512},
    "normalized": {"normalize": True},
    "not normalized": {"normalize": False},
    "prompts and a folder": {"query_prompt": "Q: \n'\"", "document_prompt": "", "cache_dir": "/some/folder"},
}
DUPLICATES: dict[str, Callable[[EmbeddingConfig, Path], EmbeddingConfig]] = {
    "to_dict": lambda config, _: EmbeddingConfig(**config.to_dict()),
    "pickle": lambda config, _: pickle.loads(pickle.dumps(config)),
    "copy": lambda config, _: copy.copy(config),
    "deepcopy": lambda config, _: copy.deepcopy(config),
    "replace": lambda config, _: dataclasses.replace(config),
    "asdict": lambda config, _: EmbeddingConfig(**dataclasses.asdict(config)),
    "with_values": lambda config, _: config.with_values(**config.to_dict()),
    "resolve": lambda config, _: EmbeddingConfig.resolve(**config.to_dict()),
    "yaml": lambda config, folder: EmbeddingConfig.from_yaml(write(folder / "all.yaml", **config.to_dict())),
}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(BUNDLED)


def meaning(
    config: EmbeddingConfig, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> tuple[Settings | str, list[str]]:
    """The settings in force, or why there are none, and the warnings."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        warn_about_normalization(config, checkpoint)
    try:
        settings: Settings | str = apply_config(config, checkpoint)
    except ConfigurationError as error:
        settings = str(error.changed(source=""))
    return settings, caplog.messages


@pytest.mark.parametrize("name", MODELS)
def test_a_dictionary_of_any_models_configuration_means_the_same(
    name: str, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    model = dataclasses.replace(checkpoint, max_tokens=MODELS[name].max_tokens or 512)
    config = EmbeddingConfig(model_name=name)
    again = EmbeddingConfig(**config.to_dict())
    assert again == config
    assert apply_config(again, model).max_tokens == min(512, model.max_tokens)
    assert meaning(again, model, caplog) == meaning(config, model, caplog)


@pytest.mark.parametrize("trained", [True, False], ids=["normalized", "unnormalized"])
@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
@pytest.mark.parametrize("values", CONFIGS.values(), ids=CONFIGS)
def test_every_duplicate_is_equal_and_means_the_same(
    values: dict[str, Any],
    duplicate: Callable[[EmbeddingConfig, Path], EmbeddingConfig],
    trained: bool,
    checkpoint: Checkpoint,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config, model = EmbeddingConfig(**values), dataclasses.replace(checkpoint, normalize=trained)
    other = duplicate(config, tmp_path)
    assert other == config
    assert hash(other) == hash(config)
    assert other.to_dict() == config.to_dict()
    assert meaning(other, model, caplog) == meaning(config, model, caplog)


def test_what_was_written_out_is_the_same_as_what_was_left_out(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    model = dataclasses.replace(checkpoint, normalize=False)
    written, left_out = EmbeddingConfig(max_tokens=None, normalize=None), EmbeddingConfig()
    assert written == left_out
    assert meaning(written, model, caplog) == meaning(left_out, model, caplog)
    settings, warnings = meaning(left_out, model, caplog)
    assert isinstance(settings, Settings)
    assert (settings.max_tokens, settings.normalize) == (256, True)
    assert len(warnings) == 1


@pytest.mark.parametrize("values", CONFIGS.values(), ids=CONFIGS)
def test_where_a_value_came_from_is_neither_compared_nor_copied_out(values: dict[str, Any], tmp_path: Path) -> None:
    config = EmbeddingConfig(**values)
    from_file = EmbeddingConfig.from_yaml(write(tmp_path / "file.yaml", **values))
    assert from_file == config
    assert len({from_file, config}) == 1
    assert from_file.to_dict() == config.to_dict() == dataclasses.asdict(config)
    assert repr(from_file) == repr(config)
    assert yaml.safe_load(yaml.safe_dump(config.to_dict())) == config.to_dict()
