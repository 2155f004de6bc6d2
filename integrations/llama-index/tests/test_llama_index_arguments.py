"""MLXEmbedding's arguments are refused or honoured, whatever name they go by and wherever they come from."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index.embeddings.akidb.arguments import MOVING
from llama_index_helpers import MODEL
from llama_index_helpers import no_settings as no_settings

from akidb_embeddings import ConfigurationError, EmbeddingConfig, EmbeddingError, close_shared_services, shared_service
from tests.fixtures import BUNDLED, copy_model, model_path


def as_any(value: Any) -> Any:
    """A value that a type checker lets pass for any other."""
    return value


def test_no_unknown_argument_is_dropped() -> None:
    unknown = (
        "normalise",
        "max_lenght",
        "model",
        "backend",
        "target_devices",
        "show_progress_bar",
        "api_key",
        "class_name",
    )
    for name in unknown:
        with pytest.raises(ConfigurationError, match=name):
            MLXEmbedding(MODEL, **{name: as_any("x")})
    with pytest.raises(TypeError):
        MLXEmbedding(MODEL, *as_any(["mean"]))


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("normalise", "normalize"),
        ("query_promt", "query_prompt"),
        ("pool", "pooling"),
        ("embed_batchsize", "embed_batch_size"),
        ("num_worker", "num_workers"),
        ("callback_manger", "callback_manager"),
        ("embedding_cache", "embeddings_cache"),
    ],
)
def test_a_slip_of_the_pen_is_met_with_the_name_that_may_be_meant(typo: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Did you mean '{meant}'"):
        MLXEmbedding(MODEL, **{typo: as_any(1)})


@pytest.mark.parametrize(
    ("habit", "name", "value"),
    [
        ("max_length", "max_tokens", 64),
        ("query_instruction", "query_prompt", "query: "),
        ("text_instruction", "document_prompt", "passage: "),
        ("cache_folder", "cache_dir", "models"),
    ],
)
def test_names_of_habit(habit: str, name: str, value: Any) -> None:
    by_habit = MLXEmbedding(**{"model_name": MODEL, habit: value})
    assert by_habit == MLXEmbedding(**{"model_name": MODEL, name: value})
    assert getattr(by_habit, name) == value
    assert getattr(by_habit.config, name) == value
    for other in (value, None):
        with pytest.raises(ConfigurationError, match=rf"'{habit}' and '{name}'|'{name}' and '{habit}'"):
            MLXEmbedding(**{"model_name": MODEL, habit: value, name: other})


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("device", "cpu", "AKIDB_BACKEND=cpu"),
        ("device", None, "AKIDB_BACKEND=cpu"),
        ("trust_remote_code", True, "never run"),
        ("parallel_process", True, "uses all cores"),
    ],
)
def test_unsupported_arguments(name: str, value: Any, way_out: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} \(value .*\) is not supported: .*{way_out}.*Leave it out"):
        MLXEmbedding(**{"model_name": MODEL, name: value})


# A value of each argument that is the same here, or has another name.
SAMPLES: dict[str, Any] = {
    "cache_dir": "models", "cache_folder": "models", "callback_manager": None, "embed_batch_size": 9, "max_length": 64,
    "model_name": MODEL, "normalize": False, "num_workers": 2, "pooling": "cls", "query_instruction": "q: ",
    "revision": "main", "text_instruction": "d: ", "truncate_dim": 64,
}  # fmt: skip


@pytest.mark.parametrize("name", [(kind, name) for kind, names in MOVING.items() for name in names], ids=".".join)
def test_every_argument_of_the_classes_people_come_from_is_taken_or_explained(name: tuple[str, str]) -> None:
    kind, argument = name
    outcome = MOVING[kind][argument]
    if outcome == "the same" or outcome.startswith("`"):
        value = SAMPLES[argument]
        made = MLXEmbedding(**{"model_name": MODEL, argument: value})
        if value is not None:
            assert getattr(made, argument if outcome == "the same" else outcome.strip("`")) == value
        return
    for value in ("any", None, True):
        with pytest.raises(ConfigurationError) as caught:
            MLXEmbedding(MODEL, **{argument: as_any(value)})
        assert str(caught.value) == f"{argument} (value {value!r}) is not supported: {outcome}. Leave it out."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", ""),
        ("model_name", 3),
        ("pooling", "max"),
        ("normalize", "yes"),
        ("dimensions", 0),
        ("max_tokens", 0),
        ("max_tokens", "64"),
        ("truncate", "start"),
        ("query_prompt", 3),
        ("query_prompt_name", ""),
        ("task", 3),
        ("untrained_dimensions", 1),
        ("batch_size", 0),
        ("memory", "small"),
        ("cache_dir", 3),
        ("config", {"model_name": MODEL}),
        ("embed_batch_size", 0),
        ("embed_batch_size", 2049),
        ("embed_batch_size", "many"),
        ("num_workers", "two"),
        ("embeddings_cache", {}),
    ],
)
def test_wrong_values_are_configuration_errors(name: str, value: Any) -> None:
    with pytest.raises(EmbeddingError, match=name) as caught:
        MLXEmbedding(**{"model_name": MODEL, name: value})
    assert caught.type is ConfigurationError


def test_values_the_model_cannot_honour_are_refused_at_the_first_call() -> None:
    with pytest.raises(ConfigurationError, match=r"1000.*384"):
        MLXEmbedding(MODEL, dimensions=1000).get_text_embedding("a")
    with pytest.raises(ConfigurationError, match=r"64; .*384 alone"):
        MLXEmbedding(MODEL, dimensions=64).get_text_embedding("a")
    with pytest.raises(ConfigurationError, match=r"document_prompt_name is 'passage'; .*'document', 'query'"):
        MLXEmbedding(MODEL, document_prompt_name="passage").get_text_embedding("a")
    with pytest.raises(ConfigurationError, match=r"task is 'Find it', but .*query_prompt_name"):
        MLXEmbedding(MODEL, task="Find it").get_query_embedding("a")
    with pytest.raises(ConfigurationError, match=r"1000.*256"):
        MLXEmbedding(MODEL, max_tokens=1000).get_text_embedding("a")
    # Without a limit, it is the model's.
    assert shared_service(MLXEmbedding(MODEL).config).settings.max_tokens == 256
    assert shared_service(MLXEmbedding(MODEL, max_tokens=None).config).settings.max_tokens == 256


@pytest.fixture
def unnormalized(tmp_path: Path) -> Path:
    """A model that was trained without normalization, which the core warns of while ``normalize`` is None."""
    model = copy_model("tiny-bert", tmp_path / "model")
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps([one for one in modules if not one["type"].endswith("Normalize")]))
    return model


def test_a_departure_from_the_models_training_is_told(unnormalized: Path, caplog: pytest.LogCaptureFixture) -> None:
    embedding = MLXEmbedding(unnormalized)
    for one in (embedding, pickle.loads(pickle.dumps(embedding)), MLXEmbedding.from_dict(embedding.to_dict())):
        caplog.clear()
        one.get_text_embedding("a")
        assert "trained without normalization" in caplog.text
        close_shared_services()


@pytest.mark.parametrize("normalize", [True, False])
def test_one_that_is_asked_for_is_not(unnormalized: Path, normalize: bool, caplog: pytest.LogCaptureFixture) -> None:
    embedding = MLXEmbedding(unnormalized, normalize=normalize)
    for one in (embedding, pickle.loads(pickle.dumps(embedding)), MLXEmbedding.from_dict(embedding.to_dict())):
        one.get_text_embedding("a")
        close_shared_services()
    assert caplog.text == ""


def test_a_model_is_a_name_or_a_folder() -> None:
    expected = MLXEmbedding(MODEL).get_text_embedding("a")
    for name in (str(BUNDLED), BUNDLED):
        assert MLXEmbedding(name).get_text_embedding("a") == expected
        assert MLXEmbedding(model_name=name).model_name == str(BUNDLED)


def test_a_relative_folder_is_looked_for_where_the_process_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {name: MLXEmbedding(model_path(name)).get_text_embedding("a") for name in ("tiny-bert", "tiny-bert-cls")}
    got, versions = {}, set()
    for name in expected:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model").symlink_to(model_path(name))
        monkeypatch.chdir(folder)
        embedding = MLXEmbedding("./model")
        versions.add(embedding.to_dict()["model_version"])
        got[name] = embedding.get_text_embedding("a")
    assert got == expected
    assert len(versions) == 2


def test_a_whole_configuration() -> None:
    config = EmbeddingConfig(model_name=MODEL, dimensions=64, max_tokens=32, batch_size=4)
    assert MLXEmbedding(config=config).config == config
    changed = MLXEmbedding(config=config, dimensions=None, query_instruction="q: ", embed_batch_size=7)
    assert changed.config == config.with_values(dimensions=None, query_prompt="q: ")
    assert changed.embed_batch_size == 7
    assert MLXEmbedding("other/model", config=config).config == config.with_values(model_name="other/model")


def test_configuration_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.write_text("embedding:\n" + text)
        return file

    other = write("other.yaml", f"  model_name: {MODEL}\n  dimensions: 64\n")
    assert MLXEmbedding().model_name == EmbeddingConfig().model_name
    assert MLXEmbedding(config_path=other).config == EmbeddingConfig(model_name=MODEL, dimensions=64)
    write("embedding_config.yaml", f"  model_name: {MODEL}\n  max_tokens: 64\n  query_prompt: 'q: '\n")
    found = MLXEmbedding()
    assert (found.model_name, found.max_tokens, found.query_prompt) == (MODEL, 64, "q: ")
    assert MLXEmbedding(max_length=16, query_instruction=None).config == EmbeddingConfig(
        model_name=MODEL, max_tokens=16
    )
    assert MLXEmbedding(config=EmbeddingConfig(model_name=MODEL)).query_prompt is None
    monkeypatch.setenv("AKIDB_CONFIG", str(other))
    assert MLXEmbedding().config == EmbeddingConfig(model_name=MODEL, dimensions=64)
    monkeypatch.setenv("AKIDB_CONFIG", str(tmp_path / "missing.yaml"))
    with pytest.raises(ConfigurationError, match="AKIDB_CONFIG"):
        MLXEmbedding(MODEL)
    with pytest.raises(ConfigurationError, match=r"missing\.yaml"):
        MLXEmbedding(MODEL, config_path=tmp_path / "missing.yaml")


def test_none_is_as_the_model_whatever_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "embedding_config.yaml").write_text("embedding:\n  max_tokens: 8\n  normalize: false\n")
    from_file = MLXEmbedding(MODEL)
    assert (from_file.config.max_tokens, from_file.config.normalize) == (8, False)
    as_the_model = MLXEmbedding(MODEL, max_tokens=None, normalize=None)
    assert (as_the_model.max_tokens, as_the_model.normalize) == (None, None)
    assert as_the_model.config == EmbeddingConfig(model_name=MODEL)
    settings = shared_service(as_the_model.config).settings
    assert (settings.max_tokens, settings.normalize) == (256, True)
