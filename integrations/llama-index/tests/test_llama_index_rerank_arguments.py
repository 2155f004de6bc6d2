"""The reranker's arguments are refused or honoured, whatever name they go by and wherever they come from."""

from pathlib import Path
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.postprocessor.akidb import MLXRerank
from llama_index.postprocessor.akidb.arguments import MOVING
from llama_index_helpers import no_settings as no_settings
from llama_index_rerank_helpers import FIELDS, NAMED, QUERY, RERANKER, nodes, ranking, reranker

from akidb_embeddings import ArgumentError, ConfigurationError, EmbeddingError, RerankConfig, close_shared_rerankers

teardown_module = close_shared_rerankers

NAME = "bge-reranker-v2-m3"


def as_any(value: Any) -> Any:
    """A value that a type checker lets pass for any other."""
    return value


def test_a_model_has_several_names() -> None:
    objects = [MLXRerank(NAME), MLXRerank(model=NAME), MLXRerank(model_name=NAME)]
    assert objects[0] == objects[1] == objects[2]
    for ours in objects:
        assert ours.model == ours.model_name == ours.config.model_name == NAME
    expected = MLXRerank(str(RERANKER))
    assert MLXRerank(RERANKER) == MLXRerank(model=RERANKER) == MLXRerank(model_name=RERANKER) == expected


def test_every_field_is_an_argument() -> None:
    config = RerankConfig()
    assert (FIELDS | NAMED | {"model_name": NAME}).keys() == MLXRerank.model_fields.keys() - {"callback_manager"}
    assert config.to_dict().keys() < MLXRerank.model_fields.keys()
    for name, value in (FIELDS | NAMED).items():
        ours = MLXRerank(NAME, **{name: value})
        assert getattr(ours, name) == value != getattr(MLXRerank(NAME), name)
        if name in config.to_dict():
            assert ours.config == RerankConfig(**{"model_name": NAME, name: value})
    assert MLXRerank().config == config


@pytest.mark.parametrize(
    ("habit", "name", "value"),
    [("model", "model_name", NAME), ("max_length", "max_tokens", 64), ("cache_folder", "cache_dir", "models")],
)
def test_names_of_habit(habit: str, name: str, value: Any) -> None:
    by_habit = MLXRerank(**{habit: value})
    assert by_habit == MLXRerank(**{name: value})
    assert getattr(by_habit, name) == value
    for other in (value, "other"):
        with pytest.raises(ConfigurationError, match=rf"'{habit}' and '{name}'|'{name}' and '{habit}'"):
            MLXRerank(**{habit: value, name: other})


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("top_k", "top_n"),
        ("topn", "top_n"),
        ("instructions", "instruction"),
        ("keep_retrieval_scores", "keep_retrieval_score"),
        ("callback_manger", "callback_manager"),
        ("max_over_passage", "max_over_passages"),
        ("model_nam", "model_name"),
    ],
)
def test_a_slip_of_the_pen_is_met_with_the_name_that_may_be_meant(typo: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Did you mean '{meant}'") as caught:
        MLXRerank(NAME, **{typo: as_any(1)})
    assert isinstance(caught.value, ArgumentError)
    assert isinstance(caught.value, TypeError)
    assert caught.value.field == typo


def test_no_unknown_argument_is_dropped() -> None:
    for name in ("normalize", "pooling", "class_name", "score_threshold"):
        with pytest.raises(ConfigurationError, match=name):
            MLXRerank(NAME, **{name: as_any("x")})
    with pytest.raises(TypeError):
        MLXRerank(NAME, *as_any([2]))
    with pytest.raises(ConfigurationError, match="model_name is 2"):  # LlamaIndex's own took top_n first
        MLXRerank(as_any(2))


# A value of each argument that is the same here, or has another name.
SAMPLES: dict[str, Any] = {"model": NAME, "top_n": 5, "keep_retrieval_score": True, "cache_folder": "models"}


@pytest.mark.parametrize("name", [(kind, name) for kind, names in MOVING.items() for name in names], ids=".".join)
def test_every_argument_of_the_classes_people_come_from_is_taken_or_explained(name: tuple[str, str]) -> None:
    kind, argument = name
    outcome = MOVING[kind][argument]
    if outcome == "the same" or outcome.startswith("`"):
        field = argument if outcome == "the same" else outcome.strip("`")
        assert getattr(MLXRerank(**{argument: SAMPLES[argument]}), field) == SAMPLES[argument]
        return
    for value in ("any", None, True):
        with pytest.raises(ConfigurationError) as caught:
            MLXRerank(NAME, **{argument: as_any(value)})
        assert str(caught.value) == f"{argument} (value {value!r}) is not supported: {outcome}. Leave it out."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_name", ""),
        ("model_name", 3),
        ("max_tokens", 0),
        ("max_tokens", "64"),
        ("truncate", "start"),
        ("instruction", 3),
        ("instruction", " "),
        ("prompt_name", ""),
        ("batch_size", 0),
        ("memory", "small"),
        ("cache_dir", 3),
        ("config", {"model_name": NAME}),
        ("top_n", 0),
        ("top_n", -1),
        ("top_n", True),
        ("top_n", "two"),
        ("top_n", 2.0),
        ("activation", "softmax"),
        ("activation", None),
        ("max_over_passages", "yes"),
        ("keep_retrieval_score", None),
        ("keep_retrieval_score", 1),
    ],
)
def test_wrong_values_are_configuration_errors(name: str, value: Any) -> None:
    with pytest.raises(EmbeddingError, match=name) as caught:
        MLXRerank(**{"model_name": NAME, name: value})
    assert caught.type is ConfigurationError


def test_an_instruction_and_a_name_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match=r"instruction \('x'\) and prompt_name \('query'\)"):
        MLXRerank(NAME, instruction="x", prompt_name="query")


def test_a_whole_configuration() -> None:
    config = RerankConfig(model_name=NAME, max_tokens=32, batch_size=4)
    assert MLXRerank(config=config).config == config
    changed = MLXRerank(config=config, max_length=None, top_n=7)
    assert changed.config == config.with_values(max_tokens=None)
    assert changed.top_n == 7
    assert MLXRerank("other/model", config=config).config == config.with_values(model_name="other/model")


def test_configuration_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.write_text(text)
        return file

    other = write("other.yaml", f"rerank:\n  model_name: {NAME}\n  batch_size: 7\n")
    assert MLXRerank().model_name == RerankConfig().model_name
    assert MLXRerank(config_path=other).config == RerankConfig(model_name=NAME, batch_size=7)
    write("embedding_config.yaml", f"rerank:\n  model_name: {NAME}\n  max_tokens: 64\nembedding:\n  max_tokens: 8\n")
    assert (MLXRerank().model_name, MLXRerank().max_tokens) == (NAME, 64)
    assert MLXRerank(max_length=16).config == RerankConfig(model_name=NAME, max_tokens=16)
    assert MLXRerank(config=RerankConfig(model_name=NAME)).max_tokens is None
    monkeypatch.setenv("AKIDB_CONFIG", str(other))
    assert MLXRerank().config == RerankConfig(model_name=NAME, batch_size=7)
    monkeypatch.setenv("AKIDB_CONFIG", str(write("wrong.yaml", "rerank:\n  batch_sise: 3\n")))
    with pytest.raises(ConfigurationError, match=r"wrong\.yaml.*batch_sise.*batch_size"):
        MLXRerank(NAME)


def test_a_configuration_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "embedding_config.yaml").write_text(f"rerank:\n  model_name: {RERANKER}\n  max_tokens: 10\n")
    given = nodes(["stone " * 5, "stone " * 50])
    cut, whole = (dict(ranking(one.postprocess_nodes(given, query_str="fox"))) for one in (MLXRerank(), reranker()))
    assert cut[0] == pytest.approx(cut[1], abs=1e-5)
    assert whole[0] != pytest.approx(whole[1], abs=0.01)


def test_values_the_model_cannot_honour_are_refused_at_the_first_call() -> None:
    with pytest.raises(ConfigurationError, match=r"1000.*512"):
        reranker(max_tokens=1000).postprocess_nodes(nodes(), query_str=QUERY)
    with pytest.raises(ConfigurationError, match="prompt_name is 'query'"):
        reranker(prompt_name="query").postprocess_nodes(nodes(), query_str=QUERY)


def test_a_callback_manager_may_be_given() -> None:
    manager = CallbackManager([])
    assert MLXRerank(NAME, callback_manager=manager).callback_manager is manager
