"""The adapter: the service's vectors to the last bit, arguments by the names people type, and equal copies."""

import asyncio
import copy
import json
import multiprocessing
import pickle
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import langchain_akidb
import numpy as np
import pytest
from langchain_akidb import MLXEmbeddings
from langchain_core.embeddings import Embeddings
from langchain_fixtures import LONG, MINILM, PROMPTED, embeddings, service

from akidb_embeddings import EmbeddingConfig, close_shared_services, engine_table, shared
from akidb_embeddings.errors import ConfigurationError, InputError, ModelNotFoundError
from tests.conftest import at_once, run_python
from tests.fixtures import BUNDLED, DATA, cosines

teardown_module = close_shared_services

TEXTS = ["the river", "", "a stone " * 40, "über 東京 🦊", "two\nlines", "the river", "word " * 3000, " "]
MODELS = (
    pytest.param(MINILM, {}, id="no-prompts"),
    pytest.param(PROMPTED, {}, id="prompts"),
    pytest.param(DATA / "models" / "tiny-qwen3", {}, id="query-prompt"),
    pytest.param(MINILM, {"query_prompt": "query: ", "document_prompt": "passage: "}, id="prompts-of-ones-own"),
    pytest.param(PROMPTED, {"dimensions": 16, "normalize": False, "max_tokens": 9, "batch_size": 2}, id="settings"),
)


@pytest.mark.parametrize(("model", "settings"), MODELS)
def test_vectors_are_the_services_to_the_last_bit(model: str | Path, settings: dict[str, Any]) -> None:
    ours = embeddings(model, **settings)
    with service(model, **settings) as theirs:
        documents = theirs.embed_documents(TEXTS).tolist()
        queries = [theirs.embed_query(text).tolist() for text in TEXTS]
    assert ours.embed_documents(TEXTS) == documents
    assert [ours.embed_query(text) for text in TEXTS] == queries

    async def on_a_loop() -> tuple[list[list[float]], list[list[float]]]:
        return await ours.aembed_documents(TEXTS), [await ours.aembed_query(text) for text in TEXTS]

    assert asyncio.run(on_a_loop()) == (documents, queries)


def test_queries_and_documents_get_their_own_prompts() -> None:
    ours, bare = embeddings(PROMPTED), embeddings(PROMPTED, query_prompt="", document_prompt="")
    assert bare.embed_query("fox") == bare.embed_documents(["fox"])[0]
    assert bare.embed_query("task: search result | query: fox") == ours.embed_query("fox")
    assert bare.embed_query("title: none | text: fox") == ours.embed_documents(["fox"])[0]
    assert ours.embed_query("fox") != ours.embed_documents(["fox"])[0]


async def test_elements_are_python_floats() -> None:
    ours = embeddings()
    vectors = [ours.embed_query("a"), await ours.aembed_query("a"), *ours.embed_documents(["a"])]
    vectors += [*await ours.aembed_documents(["a"]), *ours.validate(np.ones((1, 384), dtype=np.float32))]
    for vector in vectors:
        assert type(vector) is list
        assert len(vector) == 384
        assert {type(number) for number in vector} == {float}
    json.dumps(vectors)


async def test_no_texts_give_no_vectors() -> None:
    ours = embeddings()
    assert ours.embed_documents([]) == await ours.aembed_documents([]) == []


def test_vectors_keep_the_order_of_the_texts() -> None:
    ours = embeddings(DATA / "models" / "tiny-bert", batch_size=3)
    texts = [" ".join(["stone"] * (1 + 7 * i % 23)) + f" {i}" for i in range(60)]
    alone = np.array([ours.embed_query(text) for text in texts])
    together = np.array(ours.embed_documents(texts))
    assert cosines(together, alone).min() > 0.99999
    similarities = together @ alone.T
    assert (similarities.argmax(axis=1) == np.arange(60)).all()


def test_long_texts_are_cut() -> None:
    ours = embeddings()
    cut, longer = ours.embed_documents(["word " * 300])[0], ours.embed_documents(["word " * 5000])[0]
    assert cut == longer
    assert ours.embed_query("word " * 5000) == ours.embed_query("word " * 300)


def test_long_texts_are_refused_where_asked() -> None:
    ours = embeddings(truncate="error")
    with pytest.raises(InputError, match=re.escape("texts[1] has 302 tokens")):
        ours.embed_documents(["short", "word " * 300])
    with pytest.raises(InputError, match="302 tokens"):
        asyncio.run(ours.aembed_query("word " * 300))


def test_newlines_reach_the_tokenizer() -> None:
    ours = embeddings(PROMPTED)
    with service(PROMPTED) as theirs:
        assert ours.embed_query("one\ntwo") == theirs.embed_query("one\ntwo").tolist()
    assert ours.embed_query("one\ntwo") != ours.embed_query("one two")
    assert ours.embed_documents(["one\ntwo"]) != ours.embed_documents(["one two"])


@pytest.mark.parametrize("show_progress", [False, True])
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts is None"),
        (5, "texts is of type int"),
        (2.5, "texts is of type float"),
        ("one text", "texts is one str"),
        (b"bytes", "texts is one bytes"),
        (["fine", None], "texts[1] is None"),
        (["fine", "fine", 5], "texts[2] is of type int"),
        ([["nested"]], "texts[0] is of type list"),
    ],
)
def test_what_is_no_list_of_strings_is_refused(texts: Any, message: str, show_progress: bool) -> None:
    ours = embeddings(show_progress=show_progress)
    with pytest.raises(InputError, match=re.escape(message)):
        ours.embed_documents(texts)
    with pytest.raises(InputError, match=re.escape(message)):
        asyncio.run(ours.aembed_documents(texts))


@pytest.mark.parametrize("text", [None, 5, ["a list"], b"bytes"])
def test_what_is_no_string_is_no_query(text: Any) -> None:
    kind = "None" if text is None else type(text).__name__
    with pytest.raises(InputError, match=kind):
        embeddings().embed_query(text)
    with pytest.raises(InputError, match=kind):
        asyncio.run(embeddings().aembed_query(text))


@pytest.mark.parametrize("show_progress", [False, True])
@pytest.mark.parametrize("form", [tuple, iter, dict.fromkeys], ids=["tuple", "iterator", "keys"])
def test_texts_may_come_in_any_iterable(form: Callable[[list[str]], Any], show_progress: bool) -> None:
    ours, texts = embeddings(show_progress=show_progress), ["one", "two"]
    expected = embeddings().embed_documents(texts)
    assert ours.embed_documents(form(texts)) == expected
    assert asyncio.run(ours.aembed_documents(form(texts))) == expected


# Arguments


def test_a_model_has_several_names() -> None:
    objects = [MLXEmbeddings(MINILM), MLXEmbeddings(model=MINILM), MLXEmbeddings(model_name=MINILM)]
    assert objects[0] == objects[1] == objects[2]
    for ours in objects:
        assert ours.model == ours.model_name == ours.config.model_name == MINILM


def test_a_folder_may_be_a_path_under_each_name() -> None:
    expected = MLXEmbeddings(str(BUNDLED))
    assert MLXEmbeddings(BUNDLED) == MLXEmbeddings(model=BUNDLED) == expected
    assert MLXEmbeddings(model_name=BUNDLED) == expected


def test_names_of_other_libraries_mean_the_same() -> None:
    theirs = MLXEmbeddings(
        model_name="minilm-l6-v2",
        cache_folder="models",
        encode_kwargs={"normalize_embeddings": False, "batch_size": 4, "truncate_dim": 100},
        query_encode_kwargs={"prompt": "query: "},
        show_progress=True,
    )
    ours = MLXEmbeddings(
        MINILM,
        cache_dir="models",
        normalize=False,
        batch_size=4,
        dimensions=100,
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
        ({"multi_process": True}, ["multi_process=True", "one engine uses all cores"]),
        ({"multi_process": False}, ["multi_process=False", "Leave it out"]),
        ({"model_kwargs": {"device": "cpu"}}, ["model_kwargs", "'device': 'cpu'", "AKIDB_BACKEND=cpu", "Leave it out"]),
        ({"encode_kwargs": {"device": "mps"}}, ["encode_kwargs['device']", "'mps'", "AKIDB_BACKEND=cpu"]),
        ({"encode_kwargs": {"prompt": "p: "}}, ["encode_kwargs['prompt']", "'p: '", "document_prompt"]),
        ({"query_encode_kwargs": {"prompt_name": "q"}}, ["query_encode_kwargs['prompt_name']", "query_prompt"]),
        ({"encode_kwargs": "fast"}, ["encode_kwargs", "'fast'", "dictionary"]),
        ({"encode_kwargs": None}, ["encode_kwargs", "None", "dictionary"]),
        ({"normalise": True}, ["'normalise'", "True", "Did you mean 'normalize'?"]),
        ({"query_promt": "q: "}, ["'query_promt'", "'q: '", "Did you mean 'query_prompt'?"]),
        ({"show_progres": True}, ["'show_progres'", "True", "show_progress"]),
        ({"device": "cpu"}, ["device='cpu'", "AKIDB_BACKEND=cpu", "Leave it out"]),
        ({"devise": "cpu"}, ["'devise'", "'cpu'", "Allowed:", "batch_size"]),
        ({"batch_size": 0}, ["batch_size", "0", "1 to 128"]),
        ({"normalize": "yes"}, ["normalize", "'yes'", "True or False"]),
        ({"encode_kwargs": {"batch_size": "many"}}, ["batch_size", "'many'", "1 to 128"]),
        ({"show_progress": "no"}, ["show_progress", "'no'", "True or False"]),
    ],
    ids=str,
)
def test_arguments_without_a_meaning_are_refused_with_a_way_out(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        MLXEmbeddings(MINILM, **arguments)
    for word in words:
        assert word in str(error.value)


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


@pytest.mark.parametrize("model", [5, True, ["minilm-l6-v2"], b"minilm-l6-v2", "", "  "], ids=repr)
def test_what_is_no_name_of_a_model_is_refused(model: Any) -> None:
    with pytest.raises(ConfigurationError, match="model"):
        MLXEmbeddings(model)
    with pytest.raises(ConfigurationError, match="model"):
        MLXEmbeddings(model_name=model)


# Configurations


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with configurations of 10 tokens (here), 20 (AKIDB_CONFIG) and 30 (by path)."""
    for name, tokens in (("embedding_config.yaml", 10), ("environment.yaml", 20), ("path.yaml", 30)):
        content = {"model_name": MINILM, "max_tokens": tokens, "batch_size": 3}
        (tmp_path / name).write_text(json.dumps({"embedding": content}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing-here"))
    monkeypatch.delenv("AKIDB_CONFIG", raising=False)
    return tmp_path


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
    with pytest.raises(ConfigurationError, match="is not an EmbeddingConfig"):
        MLXEmbeddings(config=configuration)


# Costs


def test_constructing_costs_nothing() -> None:
    program = """
import sys
from langchain_akidb import MLXEmbeddings
one = MLXEmbeddings("minilm-l6-v2")
assert one == MLXEmbeddings.from_dict(one.to_dict()) and hash(one) and repr(one) and one.model
print(*sorted({name.partition(".")[0] for name in sys.modules}))
import threading
print(threading.active_count())
one.embed_query("fox")
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    constructed, threads, used = run_python(program).splitlines()
    heavy = {"mlx", "tokenizers", "numpy", "huggingface_hub", "tqdm", "transformers", "torch"}
    assert not heavy & set(constructed.split())
    assert threads == "1"
    assert {"mlx", "tokenizers", "numpy"} <= set(used.split())
    assert not {"transformers", "torch"} & set(used.split())


def test_a_model_may_be_named_before_it_is_there(tmp_path: Path) -> None:
    ours = embeddings(tmp_path / "model")
    for _ in range(2):
        with pytest.raises(ModelNotFoundError, match="model"):
            ours.embed_query("fox")
        with pytest.raises(ModelNotFoundError, match="model"):
            asyncio.run(ours.aembed_documents(["fox"]))
    shutil.copytree(PROMPTED, tmp_path / "model")
    assert ours.embed_query("fox") == embeddings(PROMPTED).embed_query("fox")


def test_objects_of_one_model_share_an_engine(tmp_path: Path) -> None:
    model = shutil.copytree(PROMPTED, tmp_path / "model")
    before = set(engine_table._users)
    one, two = embeddings(model), embeddings(model)
    at_once(lambda caller: (one, two)[caller % 2].embed_documents(["fox", str(caller)]), 8)
    [engine] = set(engine_table._users) - before
    assert engine_table._users[engine] == 1  # equal objects share the service, too
    embeddings(model, query_prompt="q: ", dimensions=8, show_progress=True).embed_query("fox")
    embeddings(model, document_prompt="d: ").embed_documents(["fox"])
    asyncio.run(embeddings(model, pooling="cls", normalize=False).aembed_query("fox"))
    assert set(engine_table._users) - before == {engine}
    close_shared_services()
    assert engine not in engine_table._users
    assert not engine.alive
    assert len(one.embed_query("fox")) == 48  # it loads again


def test_a_relative_folder_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, model in (("here", "tiny-bert"), ("there", "tiny-bert-cls")):
        shutil.copytree(DATA / "models" / model, tmp_path / place / "model")
        monkeypatch.chdir(tmp_path / place)
        with service("./model") as theirs:
            assert embeddings("./model").embed_query("fox") == theirs.embed_query("fox").tolist()


# Copies

SETTINGS: dict[str, Any] = {
    "pooling": "cls",
    "normalize": False,
    "dimensions": 16,
    "max_tokens": 11,
    "truncate": "error",
    "query_prompt": "query: ",
    "document_prompt": "",
    "batch_size": 5,
    "memory": "compact",
    "max_queued_tokens": 1000,
    "auto_download": False,
    "cache_dir": "models",
    "show_progress": True,
}
COPIES: dict[str, Callable[[MLXEmbeddings], MLXEmbeddings]] = {
    "pickle": lambda ours: pickle.loads(pickle.dumps(ours)),
    "oldest pickle": lambda ours: pickle.loads(pickle.dumps(ours, protocol=0)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "to_dict": lambda ours: MLXEmbeddings.from_dict(ours.to_dict()),
    "json": lambda ours: MLXEmbeddings.from_dict(json.loads(json.dumps(ours.to_dict()))),
}
copies = pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)


@copies
@pytest.mark.parametrize("settings", [{}, SETTINGS, {"query_prompt": None, "normalize": True}], ids=[0, 1, 2])
def test_copies_are_equal_whatever_files_lie_around(
    duplicate: Callable[[MLXEmbeddings], MLXEmbeddings], settings: dict[str, Any], files: Path
) -> None:
    ours = embeddings(PROMPTED, **settings)
    theirs = duplicate(ours)
    assert files.is_dir()
    assert theirs == ours
    assert hash(theirs) == hash(ours)
    assert repr(theirs) == repr(ours)
    assert theirs.config == ours.config
    assert theirs.show_progress is ours.show_progress
    assert theirs.to_dict() == ours.to_dict()
    assert theirs.cache_namespace == ours.cache_namespace
    assert theirs.embed_query("fox") == ours.embed_query("fox")


@copies
def test_copies_keep_what_a_file_set(duplicate: Callable[[MLXEmbeddings], MLXEmbeddings], files: Path) -> None:
    ours = MLXEmbeddings()
    for file in files.glob("*.yaml"):
        file.unlink()
    theirs = duplicate(ours)
    assert theirs == ours
    assert (theirs.config.max_tokens, theirs.config.batch_size) == (10, 3)


@copies
def test_copies_know_a_limit_that_was_set(duplicate: Callable[[MLXEmbeddings], MLXEmbeddings]) -> None:
    by_default, chosen = duplicate(embeddings()), duplicate(embeddings(max_tokens=512))
    assert len(by_default.embed_query("fox")) == 384  # the default of 512 bows to the model's 256
    with pytest.raises(ConfigurationError, match="256"):
        chosen.embed_query("fox")


def test_copies_of_a_used_object_carry_no_weights() -> None:
    ours = embeddings()
    ours.embed_query("fox")
    assert len(pickle.dumps(ours)) < 4000
    assert copy.deepcopy(ours) == ours


@pytest.mark.parametrize("name", SETTINGS)
def test_objects_with_other_settings_differ(name: str) -> None:
    ours, other = embeddings(), embeddings(**{name: SETTINGS[name]})
    assert ours != other
    assert len({ours, other, embeddings()}) == 2
    assert f"{name}={SETTINGS[name]!r}" in repr(other)
    assert other.to_dict()[name] == SETTINGS[name]


def test_it_equals_nothing_else() -> None:
    other: object = MINILM
    assert embeddings() != other
    assert embeddings() != embeddings().config
    assert isinstance(embeddings(), Embeddings)


def test_a_repr_can_be_evaluated(files: Path) -> None:
    for file in files.glob("*.yaml"):
        file.unlink()
    for settings in ({}, SETTINGS):
        ours = embeddings(PROMPTED, **settings)
        assert eval(repr(ours), vars(langchain_akidb)) == ours


def test_unknown_entries_of_a_dictionary_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'normalise'"):
        MLXEmbeddings.from_dict({"model_name": MINILM, "normalise": True})


# Processes


def test_spawned_processes_give_the_same_bits() -> None:
    ours = embeddings(query_prompt="query: ", dimensions=100)
    ours.embed_query("fox")  # the pickle is one of an object in use
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        documents = pool.submit(ours.embed_documents, TEXTS)
        queries = pool.map(ours.embed_query, TEXTS)
        namespace = pool.submit(getattr, ours, "cache_namespace")
        equal = pool.submit(ours.__eq__, ours)
        assert documents.result(LONG) == ours.embed_documents(TEXTS)
        assert list(queries) == [ours.embed_query(text) for text in TEXTS]
        assert namespace.result(LONG) == ours.cache_namespace
        assert equal.result(LONG) is True


def test_processes_forked_after_use_say_what_to_do() -> None:
    output = run_python("""
import asyncio, multiprocessing
from akidb_embeddings import WorkerError
from langchain_akidb import MLXEmbeddings

one = MLXEmbeddings("minilm-l6-v2")
one.embed_query("fox")

def attempt(call):
    try:
        call()
        return "embedded"
    except WorkerError as error:
        return str(error)

def child(_):
    new = MLXEmbeddings("minilm-l6-v2", query_prompt="q: ")
    calls = [lambda: one.embed_query("fox"), lambda: one.embed_documents(["fox"]), lambda: new.embed_query("fox"),
             lambda: asyncio.run(one.aembed_documents(["fox"])), lambda: one.cache_namespace]
    return [attempt(call) for call in calls]

with multiprocessing.get_context("fork").Pool(2) as pool:
    for answers in pool.map(child, range(2)):
        print(*answers, sep="\\n")
assert len(one.embed_query("fox")) == 384  # the parent computes as before
""")
    answers = output.splitlines()
    assert len(answers) == 10
    for answer in answers:
        assert "fork" in answer
        assert "spawn" in answer


def test_processes_forked_before_use_compute() -> None:
    output = run_python("""
import multiprocessing
from langchain_akidb import MLXEmbeddings

one = MLXEmbeddings("minilm-l6-v2")
with multiprocessing.get_context("fork").Pool(1) as pool:
    theirs = pool.apply(one.embed_query, ("fox",))
assert theirs == one.embed_query("fox")
print("same")
""")
    assert output == "same\n"


def test_a_shared_service_that_was_closed_is_replaced() -> None:
    ours = embeddings(DATA / "models" / "tiny-bert")
    before = ours.embed_query("fox")
    shared.shared_service(ours.config).close()  # what nobody should do
    assert ours.embed_query("fox") == before
    assert asyncio.run(ours.aembed_query("fox")) == before
