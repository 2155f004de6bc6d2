"""The adapter: the service's vectors to the last bit, and what it costs."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_fixtures import MINILM, PROMPTED, TEXTS, embeddings, service

from akidb_embeddings import close_shared_services
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import ConfigurationError, InputError, ModelNotFoundError
from akidb_embeddings.service import shared
from tests.conftest import at_once, run_python
from tests.fixtures import DATA, cosines

teardown_module = close_shared_services

MODELS = (
    pytest.param(MINILM, {}, id="no-prompts"),
    pytest.param(PROMPTED, {}, id="prompts"),
    pytest.param(DATA / "models" / "tiny-qwen3", {}, id="query-prompt"),
    pytest.param(MINILM, {"query_prompt": "query: ", "document_prompt": "passage: "}, id="prompts-of-ones-own"),
    pytest.param(
        PROMPTED, {"dimensions": 16, "untrained_dimensions": True, "normalize": False, "batch_size": 2}, id="cut"
    ),
    pytest.param(PROMPTED, {"max_tokens": 9, "query_prompt_name": "STS", "document_prompt_name": "query"}, id="names"),
    pytest.param(DATA / "models" / "tiny-qwen3", {"task": "Find the same."}, id="task"),
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


def test_a_task_is_for_queries_alone() -> None:
    model = DATA / "models" / "tiny-qwen3"
    ours, plain = embeddings(model, task="Find the same."), embeddings(model)
    bare = embeddings(model, query_prompt="")
    assert ours.embed_query("fox") == bare.embed_query("Instruct: Find the same.\nQuery:fox")
    assert ours.embed_query("fox") != plain.embed_query("fox")
    assert ours.embed_documents(["fox"]) == plain.embed_documents(["fox"])


def test_a_name_or_task_that_the_model_has_not_is_refused_at_the_first_call() -> None:
    with pytest.raises(ConfigurationError, match=r"query_prompt_name is 'sts'; .* Did you mean 'STS'"):
        embeddings(PROMPTED, query_prompt_name="sts").embed_query("fox")
    with pytest.raises(ConfigurationError, match=r"task is 'Find it', but .* Give query_prompt_name=NAME"):
        embeddings(task="Find it").embed_documents(["fox"])


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


@pytest.mark.long
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


@pytest.mark.long
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
    embeddings(model, query_prompt="q: ", dimensions=8, untrained_dimensions=True, show_progress=True).embed_query(
        "fox"
    )
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


def test_a_shared_service_that_was_closed_is_replaced() -> None:
    ours = embeddings(DATA / "models" / "tiny-bert")
    before = ours.embed_query("fox")
    shared.shared_service(ours.config).close()  # what nobody should do
    assert ours.embed_query("fox") == before
    assert asyncio.run(ours.aembed_query("fox")) == before
