"""Copies are equal whatever lies around, and other processes give the same bits or say what to do."""

import copy
import json
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import langchain_akidb
import pytest
from langchain_akidb import MLXEmbeddings
from langchain_core.embeddings import Embeddings
from langchain_fixtures import LONG, MINILM, PROMPTED, TEXTS, embeddings
from langchain_fixtures import config_files as config_files

from akidb_embeddings import close_shared_services
from akidb_embeddings.errors import ConfigurationError
from tests.conftest import run_python

teardown_module = close_shared_services


SETTINGS: dict[str, Any] = {
    "pooling": "cls",
    "normalize": False,
    "dimensions": 16,
    "untrained_dimensions": True,
    "max_tokens": 11,
    "truncate": "error",
    "query_prompt": "query: ",
    "document_prompt": "",
    "batch_size": 5,
    "memory": "compact",
    "compute": "strict",
    "warm_up": False,
    "keep_warm": 1.5,
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
@pytest.mark.parametrize(
    "settings",
    [
        {},
        SETTINGS,
        {"query_prompt": None, "normalize": True},
        {"max_tokens": None, "normalize": None},
        {"query_prompt_name": "STS", "document_prompt_name": "Clustering"},
        {"task": "fact checking"},
    ],
    ids=["nothing", "most", "normalized", "as the model", "names", "task"],
)
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
    assert len(by_default.embed_query("fox")) == 384  # without a limit, it is the model's 256
    with pytest.raises(ConfigurationError, match="256"):
        chosen.embed_query("fox")


@pytest.mark.parametrize("settings", [{}, {"max_tokens": 512}, {"normalize": True}, {"normalize": None}], ids=str)
def test_a_dictionary_has_every_key(settings: dict[str, Any]) -> None:
    ours = embeddings(**settings)
    assert ours.to_dict() == ours.config.to_dict() | {"show_progress": False}
    assert MLXEmbeddings.from_dict(ours.to_dict()).to_dict() == ours.to_dict()


def test_a_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(embeddings()) == f"MLXEmbeddings(model_name={MINILM!r}, show_progress=False)"
    assert (
        repr(embeddings(max_tokens=512)) == f"MLXEmbeddings(model_name={MINILM!r}, max_tokens=512, show_progress=False)"
    )


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


@pytest.mark.long
def test_spawned_processes_give_the_same_bits() -> None:
    ours = embeddings(query_prompt="query: ", dimensions=100, untrained_dimensions=True)
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


@pytest.mark.long
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


@pytest.mark.long
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
