"""Arguments by the names people type, refused with a way out where they mean nothing; configurations and files."""

from pathlib import Path
from typing import Any

import pytest
from langchain_akidb import MLXEmbeddings
from langchain_akidb.arguments import MOVING
from langchain_fixtures import MINILM, PROMPTED, embeddings
from langchain_fixtures import config_files as config_files

from akidb_embeddings import EmbeddingConfig, close_shared_services
from akidb_embeddings.errors import ConfigurationError
from tests.fixtures import BUNDLED

teardown_module = close_shared_services


def test_a_model_has_several_names() -> None:
    objects = [MLXEmbeddings(MINILM), MLXEmbeddings(model=MINILM), MLXEmbeddings(model_name=MINILM)]
    assert objects[0] == objects[1] == objects[2]
    for ours in objects:
        assert ours.model == ours.model_name == ours.config.model_name == MINILM


def test_a_folder_may_be_a_path_under_each_name() -> None:
    expected = MLXEmbeddings(str(BUNDLED))
    assert MLXEmbeddings(BUNDLED) == MLXEmbeddings(model=BUNDLED) == expected
    assert MLXEmbeddings(model_name=BUNDLED) == expected


@pytest.mark.long
def test_names_of_other_libraries_mean_the_same() -> None:
    theirs = MLXEmbeddings(
        model_name="minilm-l6-v2",
        cache_folder="models",
        encode_kwargs={"normalize_embeddings": False, "batch_size": 4, "truncate_dim": 100},
        untrained_dimensions=True,
        query_encode_kwargs={"prompt": "query: "},
        show_progress=True,
    )
    ours = MLXEmbeddings(
        MINILM,
        cache_dir="models",
        normalize=False,
        batch_size=4,
        dimensions=100,
        untrained_dimensions=True,
        query_prompt="query: ",
        show_progress=True,
    )
    assert theirs == ours
    assert theirs.show_progress is True
    assert theirs.embed_query("fox") == ours.embed_query("fox")
    assert MLXEmbeddings(MINILM, encode_kwargs={}, query_encode_kwargs={}) == MLXEmbeddings(MINILM)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"multi_process": True}, ["multi_process (value True)", "one engine uses all cores"]),
        ({"multi_process": False}, ["multi_process (value False)", "Leave it out"]),
        ({"model_kwargs": {"device": "cpu"}}, ["model_kwargs['device']", "'cpu'", "AKIDB_BACKEND=cpu", "Leave it out"]),
        ({"model_kwargs": {"torch_dtype": "auto"}}, ["model_kwargs['torch_dtype']", "model_kwargs['revision']"]),
        ({"encode_kwargs": {"device": "mps"}}, ["encode_kwargs['device']", "'mps'", "AKIDB_BACKEND=cpu"]),
        ({"encode_kwargs": {"prompt": "p: "}}, ["encode_kwargs['prompt']", "'p: '", "document_prompt"]),
        ({"encode_kwargs": {"prompt_name": "q"}}, ["encode_kwargs['prompt_name']", "'q'", "document_prompt"]),
        ({"query_prompt": "q: ", "task": "Find it"}, ["query_prompt ('q: ') and task ('Find it')", "keep one"]),
        ({"query_prompt": "", "query_encode_kwargs": {"prompt_name": "q"}}, ["query_prompt_name ('q')", "keep one"]),
        ({"document_prompt": "", "document_prompt_name": "d"}, ["document_prompt ('')", "document_prompt_name ('d')"]),
        ({"encode_kwargs": "fast"}, ["encode_kwargs", "'fast'", "dictionary"]),
        ({"encode_kwargs": None}, ["encode_kwargs", "None", "dictionary"]),
        ({"normalise": True}, ["'normalise'", "True", "Did you mean 'normalize'?"]),
        ({"query_promt": "q: "}, ["'query_promt'", "'q: '", "Did you mean 'query_prompt'?"]),
        ({"show_progres": True}, ["'show_progres'", "True", "show_progress"]),
        ({"device": "cpu"}, ["device (value 'cpu')", "AKIDB_BACKEND=cpu", "Leave it out"]),
        ({"devise": "cpu"}, ["'devise'", "'cpu'", "Allowed:", "batch_size"]),
        ({"batch_size": 0}, ["batch_size", "0", "1 to 128"]),
        ({"normalize": "yes"}, ["normalize", "'yes'", "True or False"]),
        ({"encode_kwargs": {"batch_size": "many"}}, ["batch_size", "'many'", "1 to 128"]),
        ({"show_progress": "no"}, ["show_progress", "'no'", "True or False"]),
    ],
    ids=str,
)
def test_unsupported_arguments_are_refused_with_a_way_out(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        MLXEmbeddings(MINILM, **arguments)
    for word in words:
        assert word in str(error.value)


# A value of each argument that is the same here, or has another name.
SAMPLES: dict[str, Any] = {
    "batch_size": 4, "cache_dir": "models", "cache_folder": "models", "max_length": 64, "model": MINILM,
    "model_name": MINILM, "normalize_embeddings": False, "prompt": "q: ", "prompt_name": "query", "revision": "main",
    "show_progress": True, "truncate_dim": 64, "query_instruction": "q: ", "embed_instruction": "d: ",
}  # fmt: skip


@pytest.mark.parametrize("name", [(kind, name) for kind, names in MOVING.items() for name in names], ids=".".join)
def test_every_argument_of_the_classes_people_come_from_is_taken_or_explained(name: tuple[str, str]) -> None:
    kind, argument = name
    outcome, (dictionary, _, entry) = MOVING[kind][argument], argument.partition("[")
    key = entry.strip("]'") or argument

    def made(value: Any) -> MLXEmbeddings:
        arguments: dict[str, Any] = {} if key in ("model", "model_name") else {"model": MINILM}
        return MLXEmbeddings(**arguments | {dictionary: {key: value} if entry else value})

    if outcome == "the same" or outcome.startswith("`"):
        value = SAMPLES[key]
        field = argument if outcome == "the same" else outcome.strip("`")
        assert getattr(made(value), "show_progress" if field == "show_progress" else "config")
        assert field == "show_progress" or getattr(made(value).config, field) == value
        return
    for value in ("any", None, True):
        with pytest.raises(ConfigurationError) as caught:
            made(value)
        assert str(caught.value) == f"{argument} (value {value!r}) is not supported: {outcome}. Leave it out."
        assert caught.value.field == argument


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"model": MINILM, "model_name": MINILM}, ["model", "model_name"]),
        ({"cache_dir": "a", "cache_folder": "a"}, ["cache_dir", "cache_folder"]),
        ({"normalize": True, "encode_kwargs": {"normalize_embeddings": False}}, ["normalize", "normalize_embeddings"]),
        ({"batch_size": 8, "encode_kwargs": {"batch_size": 8}}, ["'batch_size'", "encode_kwargs['batch_size']"]),
        ({"dimensions": 8, "encode_kwargs": {"truncate_dim": 8}}, ["dimensions", "truncate_dim"]),
        ({"query_prompt": "", "query_encode_kwargs": {"prompt": "q"}}, ["query_prompt", "query_encode_kwargs"]),
    ],
    ids=str,
)
def test_two_names_of_one_thing_are_refused(arguments: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="give one") as error:
        MLXEmbeddings(**arguments)
    for name in names:
        assert name in str(error.value)


def test_a_prompt_of_the_model_may_be_named_in_either_way() -> None:
    ours = embeddings(PROMPTED, query_prompt_name="STS")
    assert embeddings(PROMPTED, query_encode_kwargs={"prompt_name": "STS"}) == ours
    assert ours.embed_query("fox") == embeddings(PROMPTED, task="sentence similarity").embed_query("fox")


def test_a_length_that_the_model_was_not_trained_for_is_refused_by_either_name() -> None:
    for ours in (embeddings(dimensions=100), embeddings(encode_kwargs={"truncate_dim": 100})):
        with pytest.raises(ConfigurationError, match="dimensions is 100; this model was trained for 384 alone"):
            ours.embed_query("fox")


@pytest.mark.parametrize("model", [5, True, ["minilm-l6-v2"], b"minilm-l6-v2", "", "  "], ids=repr)
def test_what_is_no_name_of_a_model_is_refused(model: Any) -> None:
    with pytest.raises(ConfigurationError, match="model"):
        MLXEmbeddings(model)
    with pytest.raises(ConfigurationError, match="model"):
        MLXEmbeddings(model_name=model)


def test_priorities_of_configurations(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = EmbeddingConfig(model_name=MINILM, max_tokens=40)
    assert MLXEmbeddings().config.max_tokens == 10
    monkeypatch.setenv("AKIDB_CONFIG", str(files / "environment.yaml"))
    assert MLXEmbeddings().config.max_tokens == 20
    assert MLXEmbeddings(config_path=files / "path.yaml").config.max_tokens == 30
    assert MLXEmbeddings(config_path=str(files / "path.yaml")).config.max_tokens == 30
    assert MLXEmbeddings(config=whole).config == whole
    assert MLXEmbeddings(config=whole).config.batch_size == 32
    changed = MLXEmbeddings(config=whole, max_tokens=50, encode_kwargs={"batch_size": 7}).config
    assert (changed.max_tokens, changed.batch_size) == (50, 7)
    changed = MLXEmbeddings("other/model", config_path="path.yaml", max_tokens=60).config
    assert (changed.model_name, changed.max_tokens, changed.batch_size) == ("other/model", 60, 3)


def test_a_configuration_is_in_force(files: Path) -> None:
    assert files.is_dir()
    assert MLXEmbeddings().embed_query("word " * 50) == MLXEmbeddings().embed_query("word " * 8)
    assert MLXEmbeddings(max_tokens=60).embed_query("word " * 50) != MLXEmbeddings().embed_query("word " * 8)


def test_wrong_configurations_are_refused(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "embedding_config.yaml").write_text("embedding:\n  batch_sise: 3\n")
    with pytest.raises(ConfigurationError, match=r"embedding_config\.yaml.*batch_sise.*batch_size"):
        MLXEmbeddings(MINILM)
    monkeypatch.setenv("AKIDB_CONFIG", "nothing.yaml")
    with pytest.raises(ConfigurationError, match=r"nothing\.yaml"):
        MLXEmbeddings(MINILM)
    configuration: Any = {"model_name": MINILM}
    with pytest.raises(ConfigurationError, match="not of the class EmbeddingConfig"):
        MLXEmbeddings(config=configuration)


def test_unknown_entries_of_a_dictionary_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'normalise'"):
        MLXEmbeddings.from_dict({"model_name": MINILM, "normalise": True})
