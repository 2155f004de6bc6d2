"""Where settings come from, which ones win, and what is told of their origin."""

from collections.abc import Callable
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
        ({"max_tokens": 64}, {"max_tokens": None}),
        ({"normalize": False}, {"normalize": None}),
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


def test_an_adapter_does_not_move_to_another_model_nor_its_revision_to_another_adapter() -> None:
    base = EmbeddingConfig(model_name="a/b", adapter="c/d", adapter_revision="v1")
    other = EmbeddingConfig.resolve(base, model_name="e/f")
    assert (other.adapter, other.adapter_revision) == (None, None)
    moved = EmbeddingConfig.resolve(base, adapter=Path("e/f"))
    assert (moved.adapter, moved.adapter_revision) == ("e/f", None)
    assert EmbeddingConfig.resolve(base, model_name="a/b", pooling="cls").adapter_revision == "v1"


def test_a_revision_of_no_adapter_is_refused(tmp_path: Path) -> None:
    words = "adapter_revision is 'v1', but there is no adapter; leave it out."
    assert refusal(EmbeddingConfig, adapter_revision="v1") == words
    file = write(tmp_path / "config.yaml", adapter_revision="v1")
    assert refusal(EmbeddingConfig.from_yaml, file) == f"{file}: {words}"


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


WAYS: dict[str, Callable[[Path], EmbeddingConfig]] = {
    "from_yaml": EmbeddingConfig.from_yaml,
    "resolve": lambda _: EmbeddingConfig.resolve(max_tokens=None, batch_size=32),
    "resolve_path": lambda file: EmbeddingConfig.resolve(config_path=file, memory="compact"),
    "resolve_over_a_path": lambda file: EmbeddingConfig.resolve(config_path=file, max_tokens=None, batch_size=32),
    "with_values": lambda _: EmbeddingConfig().with_values(max_tokens=None, batch_size=32),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_source_of_a_value_that_equals_the_default_is_known(tmp_path: Path, way: str) -> None:
    file = write(tmp_path / "same.yaml", max_tokens=None, batch_size=32)
    config = WAYS[way](file)
    source = str(file) if way in ("from_yaml", "resolve_path") else "constructor"
    assert {config.sources[name] for name in ("max_tokens", "batch_size")} == {source}
    assert config.sources["dimensions"] == "default"


def test_the_constructor_is_the_source_of_what_differs_from_the_defaults() -> None:
    """It cannot tell a default from an equal value, and nothing depends on which it was."""
    config = EmbeddingConfig(batch_size=32, memory="compact", max_tokens=512)
    found = {name for name, source in config.sources.items() if source == "constructor"}
    assert found == {"memory", "max_tokens"}
    assert config.sources == EmbeddingConfig(**config.to_dict()).sources


@pytest.mark.parametrize("way", ["constructor", "yaml", "resolve", "resolve_config", "resolve_path", "with_values"])
def test_a_value_that_nobody_set_stays_default(tmp_path: Path, way: str) -> None:
    file = write(tmp_path / "other.yaml", batch_size=2)
    config = {
        "constructor": lambda: EmbeddingConfig(batch_size=2),
        "yaml": lambda: EmbeddingConfig.from_yaml(file),
        "resolve": lambda: EmbeddingConfig.resolve(batch_size=2),
        "resolve_config": lambda: EmbeddingConfig.resolve(EmbeddingConfig(), batch_size=2),
        "resolve_path": lambda: EmbeddingConfig.resolve(config_path=file, memory="compact"),
        "with_values": lambda: EmbeddingConfig().with_values(batch_size=2),
    }[way]()
    assert config.sources["batch_size"] != "default"
    assert config.sources["max_tokens"] == "default"


def test_a_field_was_given_if_a_file_or_another_value_than_its_default_set_it(tmp_path: Path) -> None:
    file = write(tmp_path / "config.yaml", batch_size=32)
    config = EmbeddingConfig.resolve(config_path=file, memory="compact")
    assert [name for name in DEFAULTS if config.was_given(name)] == ["batch_size", "memory"]
    assert (config.source_of("batch_size"), config.source_of("memory"), config.source_of("task")) == (str(file), "", "")
    with pytest.raises(KeyError):
        config.was_given("max_token")
