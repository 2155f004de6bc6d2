"""Copies of MLXEmbedding, in this process and others, and its serialized form: equal exactly where vectors are."""

import copy
import json
import logging
import pickle
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.akidb import MLXEmbedding
from llama_index_helpers import MODEL, TEXTS, count_texts, run_script, without_settings

from akidb_embeddings import ConfigurationError, close_shared_services, shared_service
from tests.conftest import run_python
from tests.fixtures import copy_model, edit_json, model_path

# Every field of EmbeddingConfig, none with its default; NAMED has those that exclude some of them.
DECIDING: dict[str, Any] = {
    "pooling": "cls",
    "normalize": False,
    "dimensions": 64,
    "untrained_dimensions": True,
    "max_tokens": 48,
    "truncate": "error",
    "query_prompt": "query: ",
    "document_prompt": "passage: ",
}
NAMED: dict[str, Any] = {"query_prompt_name": "query", "document_prompt_name": "document"}
INCIDENTAL: dict[str, Any] = {
    "batch_size": 4,
    "memory": "compact",
    "max_queued_tokens": 1000,
    "auto_download": False,
    "cache_dir": "models",
    "embed_batch_size": 8,
    "num_workers": 3,
}
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "max_tokens": {"max_tokens": 48},
    "max_tokens, as the default": {"max_tokens": 256},
    "empty prompts": {"query_prompt": "", "document_prompt": ""},
    "names of prompts": NAMED,
    "everything": DECIDING | INCIDENTAL,
}
OTHERWISE = """
embedding:
  model_name: nobody/nothing
  revision: abc
  pooling: last
  normalize: false
  dimensions: 16
  max_tokens: 4
  truncate: error
  query_prompt: "other: "
  document_prompt: "other: "
"""

Copy = Callable[[MLXEmbedding], MLXEmbedding]
COPIES: dict[str, Copy] = {
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "model_copy": lambda one: one.model_copy(),
    "deep model_copy": lambda one: one.model_copy(deep=True),
}
FORMS: dict[str, Copy] = {
    "dict": lambda one: MLXEmbedding.from_dict(one.to_dict()),
    "json": lambda one: MLXEmbedding.from_json(one.to_json()),
    "json of a dict": lambda one: MLXEmbedding.from_dict(json.loads(json.dumps(one.to_dict()))),
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_settings(monkeypatch, tmp_path)


@pytest.fixture(autouse=True)
def no_noise(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """LlamaIndex logs what it leaves out of a pickle."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def embedding(request: pytest.FixtureRequest) -> MLXEmbedding:
    return MLXEmbedding(MODEL, **request.param)


def vectors(embedding: MLXEmbedding) -> list[Any]:
    return [embedding.get_query_embedding(TEXTS[0]), *embedding.get_text_embedding_batch(TEXTS)]


def assert_same(ours: Any, expected: Any) -> None:
    """Not to the last bit: serialized forms leave out what is the machine's, and that rounds otherwise."""
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


# Copies


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_is_equal_in_all(make: Copy, embedding: MLXEmbedding) -> None:
    other = make(embedding)
    assert type(other) is MLXEmbedding
    assert other is not embedding
    assert other == embedding
    assert other.config == embedding.config
    assert other.config.was_given("max_tokens") == embedding.config.was_given("max_tokens")
    for name in INCIDENTAL:
        assert getattr(other, name) == getattr(embedding, name)
    assert other.to_dict() == embedding.to_dict()
    assert shared_service(other.config) is shared_service(embedding.config)


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_used_object_gives_the_same_vectors(make: Copy) -> None:
    embedding = MLXEmbedding(MODEL, **DECIDING)
    expected = vectors(embedding)
    other = make(embedding)
    assert vectors(other) == expected
    other.model_name = str(model_path("tiny-bert"))  # a copy is a thing of its own
    assert vectors(embedding) == expected


def test_a_copy_keeps_the_cache_it_had() -> None:
    store = SimpleKVStore()
    embedding = MLXEmbedding(MODEL, embeddings_cache=store)
    expected = embedding.get_text_embedding("a")
    store.put("a", {"vector": [1.0]}, collection="embeddings")
    assert copy.copy(embedding).embeddings_cache is store
    for make in COPIES.values():
        assert make(embedding).get_text_embedding("a") == [1.0]
    assert MLXEmbedding.from_dict(embedding.to_dict()).get_text_embedding("a") == expected


def test_a_copy_may_differ_in_named_fields() -> None:
    other = MLXEmbedding(MODEL, **DECIDING).model_copy(update={"dimensions": 32})
    assert other == MLXEmbedding(MODEL, **DECIDING | {"dimensions": 32})
    assert len(other.get_text_embedding("a")) == 32


@pytest.mark.parametrize("make", [*FORMS.values()], ids=[*FORMS])
def test_the_serialized_form_comes_back(make: Copy, embedding: MLXEmbedding) -> None:
    other = make(embedding)
    assert type(other) is MLXEmbedding
    assert other.to_dict() == embedding.to_dict()
    assert other.to_json() == embedding.to_json()
    assert {name: getattr(other, name) for name in DECIDING} == {name: getattr(embedding, name) for name in DECIDING}
    assert_same(vectors(other), vectors(embedding))


@pytest.mark.parametrize("make", [*COPIES.values(), *FORMS.values()], ids=[*COPIES, *FORMS])
def test_a_task_is_kept(make: Copy, tmp_path: Path) -> None:
    embedding = MLXEmbedding(model_path("tiny-qwen3"), task="Find the same.")
    (tmp_path / "embedding_config.yaml").write_text(OTHERWISE)
    other = make(embedding)
    assert (other, other.task) == (embedding, "Find the same.")
    assert vectors(other) == vectors(embedding)


def test_the_serialized_form_is_plain_and_is_not_changed_by_reading_it() -> None:
    embedding = MLXEmbedding(MODEL, **DECIDING | INCIDENTAL)
    data = embedding.to_dict()
    before = copy.deepcopy(data)
    MLXEmbedding.from_dict(data)
    assert data == before == json.loads(embedding.to_json())
    assert data["class_name"] == MLXEmbedding.class_name() == "MLXEmbedding"
    assert data["model_name"] == MODEL
    assert not INCIDENTAL.keys() & data.keys()


def test_a_serialized_form_takes_further_fields() -> None:
    data = MLXEmbedding(MODEL, max_tokens=48).to_dict()
    other = MLXEmbedding.from_dict(data, embed_batch_size=7, batch_size=3, query_prompt="q: ")
    assert other == MLXEmbedding(MODEL, max_tokens=48, embed_batch_size=7, batch_size=3, query_prompt="q: ")
    with pytest.raises(ConfigurationError, match="dimension"):
        MLXEmbedding.from_dict(data | {"dimension": 3})


def test_every_way_is_free_of_warnings() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for case in CASES.values():
            embedding = MLXEmbedding(MODEL, callback_manager=CallbackManager([]), **case)
            for make in [*COPIES.values(), *FORMS.values()]:
                make(embedding)
    assert [str(warning.message) for warning in caught] == []


def test_a_configuration_file_has_no_say_in_a_copy(embedding: MLXEmbedding, tmp_path: Path) -> None:
    form, expected = embedding.to_dict(), vectors(embedding)
    (tmp_path / "embedding_config.yaml").write_text(OTHERWISE)
    for name, make in (COPIES | FORMS).items():
        other = make(embedding)
        assert other.to_dict() == form, name
        assert {field: getattr(other, field) for field in DECIDING} == {field: form[field] for field in DECIDING}, name
        assert_same(other.get_query_embedding(TEXTS[0]), expected[0])
    assert_same(vectors(MLXEmbedding.from_dict(form)), expected)


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_needs_no_configuration_file(make: Copy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    embedding = MLXEmbedding(MODEL)
    monkeypatch.setenv("AKIDB_CONFIG", str(tmp_path / "gone.yaml"))
    assert make(embedding) == embedding


def test_what_a_configuration_file_said_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "embedding_config.yaml"
    file.write_text(f"embedding:\n  model_name: {MODEL}\n  max_tokens: 8\n  query_prompt: 'q: '\n  batch_size: 3\n")
    embedding = MLXEmbedding()
    expected = vectors(embedding)
    file.write_text(OTHERWISE)
    for make in [*COPIES.values(), *FORMS.values()]:
        assert make(embedding).max_tokens == 8
        assert_same(vectors(make(embedding)), expected)


# Equality


def test_equal_are_objects_of_equal_settings() -> None:
    embedding = MLXEmbedding(MODEL, **DECIDING)
    assert embedding == MLXEmbedding(MODEL, **DECIDING)
    assert embedding == MLXEmbedding(MODEL, callback_manager=CallbackManager([]), **DECIDING)
    assert embedding != embedding.to_dict()
    assert embedding != None  # noqa: E711
    for name, value in (DECIDING | INCIDENTAL | NAMED | {"task": "Find it"}).items():
        assert MLXEmbedding(MODEL, **{name: value}) != MLXEmbedding(MODEL), name


# What the hash of a pipeline is made of


@pytest.mark.parametrize(
    "change",
    [{name: value} for name, value in (DECIDING | NAMED | {"task": "Find it"}).items()]
    + [{"model_name": "tiny"}, {"revision": "abc"}, {"max_tokens": 256}, {"query_prompt": ""}, {"document_prompt": ""}],
    ids=str,
)
def test_what_decides_the_vectors_is_in_the_serialized_form(change: dict[str, Any], tmp_path: Path) -> None:
    copy_model("tiny-bert", tmp_path / "tiny")
    assert MLXEmbedding(**{"model_name": MODEL} | change).to_dict() != MLXEmbedding(MODEL).to_dict()


@pytest.mark.parametrize(
    "change",
    [{name: value} for name, value in INCIDENTAL.items()]
    + [{"embeddings_cache": SimpleKVStore()}, {"callback_manager": CallbackManager([])}, {"rate_limiter": object()}],
    ids=lambda change: str(*change),
)
def test_what_does_not_is_not(change: dict[str, Any]) -> None:
    expected = MLXEmbedding(MODEL)
    changed = MLXEmbedding(MODEL, **change)
    assert changed.to_dict() == expected.to_dict()
    assert changed.to_json() == expected.to_json()


def test_loading_the_model_changes_nothing(tmp_path: Path) -> None:
    for model in (MODEL, str(copy_model("tiny-bert", tmp_path / "model"))):
        embedding = MLXEmbedding(model)
        before = embedding.to_dict()
        embedding.get_text_embedding("a")
        assert embedding.to_dict() == before
        assert before["model_version"]
        close_shared_services()
        assert embedding.to_dict() == before


def _edit(name: str, **entries: Any) -> Callable[[Path], None]:
    return lambda model: edit_json(model / name, **entries)


def _other_weights(model: Path) -> None:
    file = model / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-8:] = bytes(8)
    file.write_bytes(content)


def _without_normalization(model: Path) -> None:
    modules = json.loads((model / "modules.json").read_text())
    (model / "modules.json").write_text(json.dumps([one for one in modules if not one["type"].endswith("Normalize")]))


def _other_tokenizer(model: Path) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


CHANGES: dict[str, Callable[[Path], None]] = {
    "weights": _other_weights,
    "config": _edit("config.json", layer_norm_eps=0.1),
    "tokenizer": _other_tokenizer,
    "case": _edit("tokenizer_config.json", do_lower_case=False),
    "limit": _edit("sentence_bert_config.json", max_seq_length=7),
    "steps": _without_normalization,
    "pooling": _edit("1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True),
    "query prompt": _edit("config_sentence_transformers.json", prompts={"query": "find: "}),
    "document prompt": _edit("config_sentence_transformers.json", prompts={"passage": "text: "}),
    "dimensions": _edit("config_sentence_transformers.json", truncate_dim=8),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_model_folder_that_gives_other_vectors_has_another_form(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    embedding = MLXEmbedding(model)
    before = embedding.to_dict()
    change(model)
    assert embedding.to_dict() != before


def test_settings_of_an_older_release_count_too(tmp_path: Path) -> None:
    # sentence-transformers once named the file after the encoder.
    model = copy_model("tiny-bert", tmp_path / "model")
    (model / "sentence_bert_config.json").unlink(missing_ok=True)
    forms, results = [], []
    for limit in (30, 10):
        edit_json(model / "sentence_roberta_config.json", max_seq_length=limit)
        embedding = MLXEmbedding(model)
        forms.append(embedding.to_dict())
        results.append(shared_service(embedding.config).encode(TEXTS[-1:]).vectors.tolist())  # no warning of cut texts
        close_shared_services()
    assert results[0] != results[1]
    assert forms[0] != forms[1]


def test_modules_need_not_be_numbered(tmp_path: Path) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    (model / "1_Pooling").rename(model / "Pooling")
    modules = json.loads((model / "modules.json").read_text())
    modules[1]["path"] = "Pooling"
    (model / "modules.json").write_text(json.dumps(modules))
    forms, results = [], []
    for is_mean in (True, False):
        edit_json(model / "Pooling/config.json", pooling_mode_mean_tokens=is_mean, pooling_mode_cls_token=not is_mean)
        embedding = MLXEmbedding(model)
        forms.append(embedding.to_dict())
        results.append(embedding.get_text_embedding("a few words"))
        close_shared_services()
    assert results[0] != results[1]
    assert forms[0] != forms[1]


def test_notes_in_a_model_folder_do_not_count(tmp_path: Path) -> None:
    model = copy_model("tiny-bert", tmp_path / "model")
    embedding = MLXEmbedding(model)
    before = embedding.to_dict()
    (model / "README.md").write_text("A note.")
    (model / "model.safetensors").touch()
    assert embedding.to_dict() == before


def test_the_form_tells_the_files_that_the_vectors_come_from(tmp_path: Path) -> None:
    """Weights in use stay in use when their folder is written anew; who loads them from then on gets the new ones."""
    model = copy_model("tiny-bert", tmp_path / "model")
    loaded, later = MLXEmbedding(model), MLXEmbedding(model, batch_size=4)
    old_form, old = loaded.to_dict(), loaded.get_text_embedding("a")
    CHANGES["config"](model)
    assert (loaded.to_dict(), loaded.get_text_embedding("a")) == (old_form, old)
    new_form, new = later.to_dict(), later.get_text_embedding("a")
    assert new_form != old_form
    assert new != old
    close_shared_services()
    assert (loaded.to_dict(), loaded.get_text_embedding("a")) == (new_form, new)


@pytest.mark.parametrize("name", ["qwen3-0.6b-4bit", "someone/some-model", "no-such-folder/model", "./no-such-folder"])
def test_a_model_that_is_not_here_needs_no_network(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("the network is used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for variable in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "AKIDB_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    embedding = MLXEmbedding(name)
    assert embedding.to_dict()["model_version"] is None
    for make in [*COPIES.values(), *FORMS.values()]:
        assert make(embedding) == embedding
    assert MLXEmbedding(name, revision="abc").to_dict() != embedding.to_dict()


# Assignment


async def test_assigning_to_a_field_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = MLXEmbedding(MODEL)
    first = embedding.get_query_embedding("a")
    embedding.query_prompt = "query: "
    assert embedding.get_query_embedding("a") == MLXEmbedding(MODEL, query_prompt="query: ").get_query_embedding("a")
    assert embedding.get_query_embedding("a") != first
    embedding.model_name = str(model_path("tiny-bert"))
    assert len(embedding.get_query_embedding("a")) == len(await embedding.aget_text_embedding("a")) == 32
    assert embedding == MLXEmbedding(model_path("tiny-bert"), query_prompt="query: ")
    assert embedding.to_dict() == MLXEmbedding(model_path("tiny-bert"), query_prompt="query: ").to_dict()
    assert copy.deepcopy(embedding) == pickle.loads(pickle.dumps(embedding)) == embedding
    calls = count_texts(monkeypatch)
    embedding.embed_batch_size = 4
    embedding.get_text_embedding_batch(TEXTS)
    await embedding.aget_text_embedding_batch(TEXTS)
    assert calls == [4, 2, 4, 2]


def test_assigning_what_is_not_allowed_is_an_error() -> None:
    embedding = MLXEmbedding(MODEL)
    with pytest.raises(ValueError, match="query_promt"):
        setattr(embedding, "query_promt", "query: ")  # noqa: B010
    embedding.pooling = "max"
    with pytest.raises(ConfigurationError, match="pooling"):
        embedding.get_text_embedding("a")


# Processes


def test_spawned_processes_give_the_same_vectors(tmp_path: Path) -> None:
    output = run_script(
        tmp_path,
        "import json, multiprocessing, sys\n"
        "from llama_index.embeddings.akidb import MLXEmbedding\n"
        "def embed(e, texts):\n"  # not the bound method: LlamaIndex wraps it in what cannot be pickled
        "    return [e.get_text_embedding(text) for text in texts]\n"
        "if __name__ == '__main__':\n"
        "    settings, texts = map(json.loads, sys.argv[1:])\n"
        "    e = MLXEmbedding(**settings)\n"
        "    here = embed(e, texts)\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        there, form = pool.apply(embed, (e, texts)), pool.apply(e.to_dict)\n"
        "    print(there == here, form == e.to_dict())\n",
        json.dumps({"model_name": MODEL} | DECIDING),
        json.dumps(TEXTS),
    )
    assert output.split() == ["True", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, system libraries do not survive a fork")
def test_a_fork_after_use_is_told_to_use_spawn() -> None:
    output = run_python(
        "import asyncio, multiprocessing, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # from 3.12 on, Python itself warns of such forks\n"
        "from llama_index.embeddings.akidb import MLXEmbedding\n"
        f"e = MLXEmbedding({MODEL!r})\n"
        "form, before = e.to_dict(), e.get_text_embedding('a')\n"
        "def child(queue):\n"
        "    assert e.to_dict() == form\n"
        "    ways = [\n"
        "        lambda: e.get_text_embedding('a'),\n"
        "        lambda: e.get_text_embedding_batch(['a', 'b']),\n"
        "        lambda: asyncio.run(e.aget_query_embedding('a')),\n"
        f"        lambda: MLXEmbedding({MODEL!r}, dimensions=8, untrained_dimensions=True).get_query_embedding('a'),\n"
        "    ]\n"
        "    for way in ways:\n"
        "        try:\n"
        "            queue.put(('no error', way()))\n"
        "        except Exception as error:\n"
        "            queue.put((type(error).__name__, str(error)))\n"
        "context = multiprocessing.get_context('fork')\n"
        "queue = context.Queue()\n"
        "process = context.Process(target=child, args=(queue,))\n"
        "process.start()\n"
        "answers = [queue.get(timeout=20) for _ in range(4)]\n"
        "process.join(20)\n"
        "for name, message in answers:\n"
        "    assert name == 'WorkerError' and 'spawn' in message, (name, message)\n"
        "assert process.exitcode == 0 and e.get_text_embedding('a') == before\n"
    )
    assert output == ""
