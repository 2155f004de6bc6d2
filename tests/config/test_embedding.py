"""Settings are values with defaults: they compare, cannot be changed, and copies keep where each came from."""

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

from akidb_embeddings.config.embedding import EmbeddingConfig
from tests.config_files import DEFAULTS, refusal, write
from tests.config_files import empty_home as empty_home

REPOSITORY = Path(__file__).resolve().parent.parent.parent
EXAMPLE = REPOSITORY / "embedding_config.example.yaml"


# Defaults and the example file


def test_defaults() -> None:
    assert EmbeddingConfig().to_dict() == DEFAULTS


def test_example_file_holds_every_key_at_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    everything = yaml.safe_load(re.sub(r"^  #(?=\w+:)", "  ", text, flags=re.MULTILINE))["embedding"]
    assert everything == DEFAULTS
    assert list(everything) == list(DEFAULTS)
    assert EmbeddingConfig.from_yaml(EXAMPLE) == EmbeddingConfig()


def test_every_field_has_a_rule() -> None:
    for field in dataclasses.fields(EmbeddingConfig):
        assert "must be" in refusal(EmbeddingConfig, **{field.name: object()})


def test_signature_lists_the_fields_by_keyword() -> None:
    parameters = inspect.signature(EmbeddingConfig).parameters
    assert list(parameters)[: len(DEFAULTS)] == list(DEFAULTS)
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_import_loads_nothing_heavy() -> None:
    heavy = {"mlx", "mlx_lm", "transformers", "huggingface_hub", "tokenizers", "torch", "numpy"}
    code = f"import sys, akidb_embeddings.config.embedding; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Copies


def mixed(tmp_path: Path) -> EmbeddingConfig:
    """A config with a value from a file, one from code, one set to its default, and a folder."""
    file = write(tmp_path / "mixed.yaml", memory="compact", cache_dir="~/models")
    return EmbeddingConfig.resolve(config_path=file, batch_size=4, max_tokens=None)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_values_and_sources(tmp_path: Path, protocol: int) -> None:
    config = mixed(tmp_path)
    loaded = pickle.loads(pickle.dumps(config, protocol))
    assert loaded == config
    assert loaded.sources == config.sources


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, EmbeddingConfig.with_values])
def test_copies_keep_values_and_sources(tmp_path: Path, duplicate: Any) -> None:
    config = mixed(tmp_path)
    assert duplicate(config) == config
    assert duplicate(config).sources == config.sources
    assert vars(duplicate(config)) == vars(config)


def test_pickled_config_can_be_changed(tmp_path: Path) -> None:
    config = mixed(tmp_path)
    changed = pickle.loads(pickle.dumps(config)).with_values(pooling="cls")
    assert changed.sources == {**config.sources, "pooling": "constructor"}


def test_changed_copy_keeps_the_sources_of_the_rest(tmp_path: Path) -> None:
    config = mixed(tmp_path)
    changed = config.with_values(memory="fast", dimensions=256)
    assert changed.sources == {**config.sources, "memory": "constructor", "dimensions": "constructor"}
    assert config.memory == "compact"


def test_replace_keeps_the_values_alone(tmp_path: Path) -> None:
    """It gives all of them to the constructor, which is their source from then on."""
    config = mixed(tmp_path)
    replaced = dataclasses.replace(config, dimensions=256)
    assert replaced == config.with_values(dimensions=256)
    ours = {"memory", "cache_dir", "batch_size", "dimensions"}
    assert replaced.sources == {name: "constructor" if name in ours else "default" for name in DEFAULTS}


# A value among values


def test_values_compare_and_hash_whatever_their_sources(tmp_path: Path) -> None:
    given, implied = EmbeddingConfig(batch_size=32, max_tokens=None), EmbeddingConfig()
    from_file = EmbeddingConfig.from_yaml(write(tmp_path / "same.yaml", batch_size=32, max_tokens=None))
    assert given == implied == from_file
    assert len({given, implied, from_file}) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_name", "minilm-l6-v2"),
        ("revision", "main"),
        ("pooling", "mean"),
        ("normalize", False),
        ("normalize", True),
        ("dimensions", 256),
        ("max_tokens", 256),
        ("max_tokens", 512),
        ("truncate", "error"),
        ("query_prompt", ""),
        ("document_prompt", ""),
        ("query_prompt_name", "query"),
        ("document_prompt_name", "document"),
        ("task", "t"),
        ("untrained_dimensions", True),
        ("batch_size", 1),
        ("memory", "compact"),
        ("compute", "strict"),
        ("warm_up", False),
        ("keep_warm", 1.5),
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


@pytest.mark.parametrize("spelling", ["{folder}/", "./{name}", "{folder}/../{name}", "~/{name}"])
def test_another_spelling_of_the_model_keeps_what_belongs_to_it(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "other").mkdir()
    base = EmbeddingConfig(model_name=str(folder), adapter="org/lora", adapter_revision="abc")
    spelled = spelling.format(folder=folder, name="model")
    kept = EmbeddingConfig.resolve(base, model_name=spelled)
    assert (kept.model_name, kept.adapter, kept.adapter_revision) == (spelled, "org/lora", "abc")
    assert EmbeddingConfig.resolve(base, model_name=Path(spelled)).adapter == "org/lora"
    other = EmbeddingConfig.resolve(base, model_name=spelled.replace("model", "other"))
    assert (other.adapter, other.adapter_revision) == (None, None)


def test_a_short_name_and_a_folder_of_that_name_are_two_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minilm-l6-v2").mkdir()
    base = EmbeddingConfig(model_name="minilm-l6-v2", adapter="org/lora")
    assert EmbeddingConfig.resolve(base, model_name="./minilm-l6-v2").adapter is None


def test_a_short_name_and_its_repository_are_one_model() -> None:
    base = EmbeddingConfig(model_name="Qwen/Qwen3-Embedding-0.6B", adapter="org/lora", revision="abc")
    assert EmbeddingConfig.resolve(base, model_name="qwen3-0.6b").revision == "abc"
    assert EmbeddingConfig.resolve(base, model_name="qwen3-0.6b-4bit").adapter is None
    bundled = EmbeddingConfig(model_name="sentence-transformers/all-MiniLM-L6-v2", adapter="org/lora")
    assert EmbeddingConfig.resolve(bundled, model_name="minilm-l6-v2").adapter is None  # other weights
