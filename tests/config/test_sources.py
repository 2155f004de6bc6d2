"""Where settings come from, which ones win, and what is told of their origin."""

from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings.config.embedding import EmbeddingConfig
from tests.config_files import DEFAULTS, refusal, write
from tests.config_files import empty_home as empty_home

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
    assert "batch_size is 0; " in refusal(EmbeddingConfig.resolve, batch_size=0)


@pytest.mark.parametrize("config", [{"batch_size": 8}, {}, "qwen3-0.6b-4bit", 0])
def test_config_of_another_type_is_refused(config: Any) -> None:
    message = refusal(EmbeddingConfig.resolve, config)
    assert repr(config) in message
    assert "EmbeddingConfig(**values)" in message


def test_a_revision_does_not_move_to_another_model() -> None:
    base = EmbeddingConfig(model_name="a/b", revision="v1")
    assert EmbeddingConfig.resolve(base, model_name="c/d").revision is None
    assert EmbeddingConfig.resolve(base, model_name="c/d", revision="v2").revision == "v2"
    assert EmbeddingConfig.resolve(base, model_name="a/b").revision == "v1"
    assert EmbeddingConfig.resolve(base, pooling="cls").revision == "v1"


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
