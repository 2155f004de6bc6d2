"""The reranker's arguments by the names people type, refused with a way out where they mean nothing; configurations."""

from pathlib import Path
from typing import Any

import pytest
from langchain_akidb import MLXRerank
from langchain_akidb.rerank_arguments import MOVING
from langchain_fixtures import config_files as config_files
from langchain_rerank_fixtures import RERANKER, documents, ranking, reranker

from akidb_embeddings import RerankConfig, close_shared_rerankers
from akidb_embeddings.errors import ArgumentError, ConfigurationError

teardown_module = close_shared_rerankers

NAME = "bge-reranker-v2-m3"


def test_a_model_has_several_names() -> None:
    objects = [MLXRerank(NAME), MLXRerank(model=NAME), MLXRerank(model_name=NAME)]
    assert objects[0] == objects[1] == objects[2]
    for ours in objects:
        assert ours.model == ours.model_name == ours.config.model_name == NAME


def test_a_folder_may_be_a_path_under_each_name() -> None:
    expected = MLXRerank(str(RERANKER))
    assert MLXRerank(RERANKER) == MLXRerank(model=RERANKER) == MLXRerank(model_name=RERANKER) == expected
    assert MLXRerank(RERANKER).rerank(["stone"], "stone") == expected.rerank(["stone"], "stone")


def test_names_of_other_libraries_mean_the_same() -> None:
    theirs = MLXRerank(
        model_name=NAME,
        model_kwargs={"max_length": 64, "revision": "main", "cache_folder": "models", "default_prompt_name": "query"},
        top_n=5,
    )
    ours = MLXRerank(NAME, max_tokens=64, revision="main", cache_dir="models", prompt_name="query", top_n=5)
    assert theirs == ours
    assert MLXRerank(NAME, max_length=64, cache_folder="models").config == RerankConfig(
        model_name=NAME, max_tokens=64, cache_dir="models"
    )
    assert MLXRerank(NAME, model_kwargs={}) == MLXRerank(NAME)


def test_every_field_is_an_argument() -> None:
    fields: dict[str, Any] = {
        "model_name": NAME, "revision": "main", "max_tokens": 64, "truncate": "error", "instruction": "Find plants",
        "prompt_name": None, "batch_size": 4, "memory": "compact", "compute": "strict", "warm_up": False,
        "keep_warm": 1.5, "max_queued_tokens": 1000, "auto_download": False, "cache_dir": "models",
    }  # fmt: skip
    assert fields.keys() == RerankConfig().to_dict().keys()
    assert MLXRerank(**fields).config == RerankConfig(**fields)
    ours = MLXRerank(**fields, top_n=None, activation="sigmoid", max_over_passages=True)
    assert (ours.top_n, ours.activation, ours.max_over_passages) == (None, "sigmoid", True)
    ours = MLXRerank(NAME)
    assert (ours.top_n, ours.activation, ours.max_over_passages) == (3, "model", False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model_kwargs": {"device": "cpu"}}, ["model_kwargs['device']", "'cpu'", "AKIDB_BACKEND=cpu", "Leave it out"]),
        ({"model_kwargs": {"torch_dtype": "auto"}}, ["model_kwargs['torch_dtype']", "those of RerankConfig"]),
        ({"model_kwargs": "fast"}, ["model_kwargs", "'fast'", "dictionary"]),
        ({"model_kwargs": None}, ["model_kwargs", "None", "dictionary"]),
        ({"client": "cohere"}, ["client", "on this machine", "Leave it out"]),
        ({"cohere_api_key": "k"}, ["cohere_api_key", "nothing is sent anywhere"]),
        ({"score_threshold": 0.5}, ["score_threshold (value 0.5)", "metadata['relevance_score']"]),
        ({"device": "cpu"}, ["device (value 'cpu')", "AKIDB_BACKEND=cpu", "Leave it out"]),
        ({"trust_remote_code": True}, ["trust_remote_code", "never run"]),
        ({"activation_fn": None}, ["activation_fn", "activation='sigmoid'"]),
        ({"top_k": 5}, ["'top_k'", "5", "Did you mean 'top_n'?"]),
        ({"instructions": "x"}, ["'instructions'", "Did you mean 'instruction'?"]),
        ({"truncation": "end"}, ["'truncation'", "Did you mean 'truncate'?"]),
        ({"devise": "cpu"}, ["'devise'", "'cpu'", "Allowed:", "batch_size"]),
        ({"instruction": "x", "prompt_name": "query"}, ["instruction ('x') and prompt_name ('query')", "keep one"]),
        ({"top_n": 0}, ["top_n is 0", "at least 1, or None"]),
        ({"top_n": 2.0}, ["top_n is 2.0"]),
        ({"top_n": True}, ["top_n is True"]),
        ({"activation": "softmax"}, ["activation is 'softmax'", "'model', 'sigmoid', 'identity'"]),
        ({"max_over_passages": "no"}, ["max_over_passages is 'no'", "True or False"]),
        ({"max_tokens": 0}, ["max_tokens", "0"]),
        ({"normalize": True}, ["'normalize'", "Allowed:"]),
    ],
    ids=str,
)
def test_unsupported_arguments_are_refused_with_a_way_out(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        MLXRerank(NAME, **arguments)
    for word in words:
        assert word in str(error.value)


def test_an_unknown_argument_is_also_a_type_error() -> None:
    with pytest.raises(TypeError) as caught:
        MLXRerank(NAME, top_k=5)
    assert isinstance(caught.value, ArgumentError)
    assert caught.value.field == "top_k"


# A value of each argument that is the same here, or has another name.
SAMPLES: dict[str, Any] = {
    "cache_folder": "models", "default_prompt_name": "query", "max_length": 64, "model": NAME, "model_name": NAME,
    "revision": "main", "top_n": 5,
}  # fmt: skip


@pytest.mark.parametrize("name", [(kind, name) for kind, names in MOVING.items() for name in names], ids=".".join)
def test_every_argument_of_the_classes_people_come_from_is_taken_or_explained(name: tuple[str, str]) -> None:
    kind, argument = name
    outcome, (dictionary, _, entry) = MOVING[kind][argument], argument.partition("[")
    key = entry.strip("]'") or argument

    def made(value: Any) -> MLXRerank:
        arguments: dict[str, Any] = {} if key in ("model", "model_name") else {"model": NAME}
        return MLXRerank(**arguments | {dictionary: {key: value} if entry else value})

    if outcome == "the same" or outcome.startswith("`"):
        field = argument if outcome == "the same" else outcome.strip("`")
        assert made(SAMPLES[key]).to_dict()[field] == SAMPLES[key]
        return
    for value in ("any", None, True):
        with pytest.raises(ConfigurationError) as caught:
            made(value)
        assert str(caught.value) == f"{argument} (value {value!r}) is not supported: {outcome}. Leave it out."
        assert caught.value.field == argument


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"model": NAME, "model_name": NAME}, ["model", "model_name"]),
        ({"cache_dir": "a", "cache_folder": "a"}, ["cache_dir", "cache_folder"]),
        ({"max_tokens": 8, "max_length": 8}, ["max_tokens", "max_length"]),
        ({"max_tokens": 8, "model_kwargs": {"max_length": 8}}, ["'max_tokens'", "model_kwargs['max_length']"]),
        ({"prompt_name": "q", "model_kwargs": {"default_prompt_name": "q"}}, ["prompt_name", "default_prompt_name"]),
    ],
    ids=str,
)
def test_two_names_of_one_thing_are_refused(arguments: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="give one") as error:
        MLXRerank(**arguments)
    for name in names:
        assert name in str(error.value)


@pytest.mark.parametrize("model", [5, True, [NAME], b"name", "", "  ", {}], ids=repr)
def test_what_is_no_name_of_a_model_is_refused(model: Any) -> None:
    for arguments in ({"model": model}, {"model_name": model}):
        with pytest.raises(ConfigurationError, match="model"):
            MLXRerank(**arguments)


def test_priorities_of_configurations(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = RerankConfig(model_name=NAME, max_tokens=40)
    assert MLXRerank().config.max_tokens == 10
    monkeypatch.setenv("AKIDB_CONFIG", str(files / "environment.yaml"))
    assert MLXRerank().config.max_tokens == 20
    assert MLXRerank(config_path=files / "path.yaml").config.max_tokens == 30
    assert MLXRerank(config_path=str(files / "path.yaml")).config.max_tokens == 30
    assert MLXRerank(config=whole).config == whole
    changed = MLXRerank(config=whole, max_length=50, model_kwargs={"revision": "main"}).config
    assert (changed.max_tokens, changed.revision) == (50, "main")
    changed = MLXRerank("other/model", config_path="path.yaml", max_tokens=60).config
    assert (changed.model_name, changed.max_tokens, changed.batch_size) == ("other/model", 60, 3)


def test_a_configuration_is_in_force(files: Path) -> None:
    assert files.is_dir()
    given = documents(["stone " * 5, "stone " * 50])
    cut = dict(ranking(MLXRerank().compress_documents(given, "fox")))
    assert cut[0] == pytest.approx(cut[1], abs=1e-5)
    whole = dict(ranking(reranker().compress_documents(given, "fox")))
    assert abs(whole[0] - whole[1]) > 0.01


def test_wrong_configurations_are_refused(files: Path) -> None:
    (files / "embedding_config.yaml").write_text("rerank:\n  batch_sise: 3\n")
    with pytest.raises(ConfigurationError, match=r"embedding_config\.yaml.*batch_sise.*batch_size"):
        MLXRerank(NAME)
    configuration: Any = {"model_name": NAME}
    with pytest.raises(ConfigurationError, match="not of the class RerankConfig"):
        MLXRerank(config=configuration)


def test_unknown_entries_of_a_dictionary_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'top_k'"):
        MLXRerank.from_dict({"model_name": NAME, "top_k": 3})
