"""The reranker in use: errors, what is told of truncation, one engine for all, and what it costs."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_rerank_fixtures import PASSAGES, QUERY, RERANKER, Call, documents, ranking, reranker, ways

from akidb_embeddings import close_shared_rerankers, shared_reranker
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import ConfigurationError, EmbeddingError, InputError, ModelNotFoundError
from tests.conftest import at_once, run_python
from tests.fixtures import DATA

teardown_module = close_shared_rerankers

# Errors


@ways
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "documents is of type NoneType; a list is expected, each item of type Document."),
        (5, "documents is of type int; a list is expected, each item of type Document."),
        ("a text", "documents is of type str; a list is expected, each item of type Document."),
        (Document("x"), "documents is of type Document; a list is expected, each item of type Document."),
        ([Document("x"), "a text"], "documents[1] is of type str; Document is expected."),
        ([None], "documents[0] is of type NoneType; Document is expected."),
        ([{"page_content": "x"}], "documents[0] is of type dict; Document is expected."),
    ],
    ids=str,
)
def test_what_is_no_list_of_documents_is_refused(compress: Call, given: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        compress(reranker(), given, QUERY)
    assert str(caught.value) == message


@ways
def test_a_query_is_one_string(compress: Call) -> None:
    for query in (None, 5, [QUERY]):
        with pytest.raises(InputError, match="string"):
            compress(reranker(), documents(), query)  # type: ignore[arg-type]  # the error is tested


@ways
def test_a_document_that_is_too_long_is_an_error_if_one_wants_that(compress: Call) -> None:
    ours = reranker(max_tokens=32, truncate="error")
    with pytest.raises(InputError, match="32") as caught:
        compress(ours, documents(), QUERY)
    assert (caught.value.field, caught.value.index) == ("documents", 2)
    assert len(compress(ours, documents(PASSAGES[:2]), QUERY)) == 2


@ways
def test_a_model_with_several_labels_ranks_nothing(compress: Call) -> None:
    with pytest.raises(InputError, match="contradiction, entailment, neutral"):
        compress(reranker(DATA / "models" / "tiny-bert-labels"), documents(), QUERY)


@ways
def test_a_model_that_takes_no_instruction_says_so(compress: Call) -> None:
    with pytest.raises(ConfigurationError, match="instruction is 'Find plants', but this bert model takes none"):
        compress(reranker(instruction="Find plants"), documents(), QUERY)


@ways
def test_a_model_may_be_named_before_it_is_there(compress: Call, tmp_path: Path) -> None:
    ours = reranker(tmp_path / "model")
    for _ in range(2):
        with pytest.raises(ModelNotFoundError, match="model"):
            compress(ours, documents(), QUERY)
    (tmp_path / "model").symlink_to(RERANKER)
    assert ranking(compress(ours, documents(), QUERY)) == ranking(compress(reranker(), documents(), QUERY))


def test_every_error_is_of_one_kind() -> None:
    changed = reranker().model_copy(update={"activation": "softmax"})
    with pytest.raises(EmbeddingError, match="'softmax'"):
        changed.compress_documents(documents(), QUERY)
    with pytest.raises(EmbeddingError, match="top_n is 0"):
        reranker().model_copy(update={"top_n": 0}).compress_documents([], QUERY)


# Truncation


@ways
def test_the_first_truncation_is_told(compress: Call, caplog: pytest.LogCaptureFixture) -> None:
    close_shared_rerankers()
    ours = reranker(max_tokens=32, top_n=1)
    with caplog.at_level(logging.WARNING):
        compress(ours, documents(PASSAGES[:2]), QUERY)
        assert not caplog.records
        for _ in range(2):  # also of a document that is not among the first
            compress(ours, documents(), QUERY)
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith("1 of 8 documents were truncated: with the query, they have more than 32 tokens.")


def test_long_documents_are_read_whole_if_one_wants_that(caplog: pytest.LogCaptureFixture) -> None:
    close_shared_rerankers()
    ours = reranker(max_tokens=40, top_n=None, max_over_passages=True)
    cut = ranking(reranker(max_tokens=40, top_n=None).compress_documents(documents(), QUERY))
    assert abs(dict(ranking(ours.compress_documents(documents(), QUERY)))[2] - dict(cut)[2]) > 0.01
    close_shared_rerankers()
    caplog.clear()
    ours.compress_documents(documents(), QUERY)
    assert not caplog.records


# One engine


def test_equal_objects_share_one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    close_shared_rerankers()
    loads: list[object] = []
    load = engine_table._load

    def counted(*arguments: Any) -> Any:
        loads.append(arguments)
        return load(*arguments)

    monkeypatch.setattr(engine_table, "_load", counted)
    for ours in (reranker(), reranker(top_n=1), reranker(activation="sigmoid"), reranker(max_tokens=64, top_n=None)):
        assert ours.compress_documents(documents(), QUERY)
    assert len(loads) == 1
    assert shared_reranker(reranker().config) is shared_reranker(reranker(top_n=1, activation="sigmoid").config)


def test_threads_and_loops_at_once() -> None:
    expected = ranking(reranker(top_n=None).compress_documents(documents(), QUERY))

    def check(found: Sequence[Document]) -> None:
        scores = dict(ranking(found))
        np.testing.assert_allclose([scores[at] for at, _ in expected], [score for _, score in expected], atol=1e-5)

    async def on_a_loop() -> None:
        for found in await asyncio.gather(
            *[reranker(top_n=None).acompress_documents(documents(), QUERY) for _ in range(5)]
        ):
            check(found)

    def on_a_thread(caller: int) -> None:
        if caller % 2:
            asyncio.run(on_a_loop())
        else:
            check(reranker(top_n=None).compress_documents(documents(), QUERY))

    at_once(on_a_thread, 8)


@pytest.mark.long
def test_constructing_costs_nothing() -> None:
    program = f"""
import sys
from langchain_akidb import MLXRerank
one = MLXRerank({str(RERANKER)!r})
assert one == MLXRerank.from_dict(one.to_dict()) and hash(one) and repr(one) and one.model
assert one.compress_documents([], "fox") == []
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
import threading
print(threading.active_count())
one.rerank(["fox"], "fox")
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    constructed, threads, used = run_python(program).splitlines()
    heavy = {"mlx", "tokenizers", "numpy", "huggingface_hub", "tqdm", "transformers", "torch"}
    assert not heavy & set(constructed.split())
    assert threads == "1"
    assert {"mlx", "tokenizers", "numpy"} <= set(used.split())
    assert not {"transformers", "torch"} & set(used.split())
