"""The reranker: the service's scores to the last bit, in copies of the documents."""

import asyncio
import copy
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_akidb import MLXRerank
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_fixtures import fake_model as fake_model
from langchain_rerank_fixtures import (
    PASSAGES,
    QUERY,
    RERANKER,
    Call,
    documents,
    ranking,
    rerank_service,
    reranker,
    ways,
)

from akidb_embeddings import close_shared_rerankers
from akidb_embeddings.errors import ConfigurationError
from tests.conftest import FakeModel
from tests.fixtures import DATA, golden
from tests.golden.pairs import PAIRS

teardown_module = close_shared_rerankers

QWEN3 = DATA / "models" / "tiny-qwen3-reranker"
MODELS = (
    pytest.param(RERANKER, {}, {}, id="logits"),
    pytest.param(RERANKER, {}, {"activation": "sigmoid"}, id="sigmoid-of-logits"),
    pytest.param(DATA / "models" / "tiny-xlm-roberta-reranker", {}, {}, id="sigmoid"),
    pytest.param(DATA / "models" / "tiny-modernbert-reranker-mean", {"batch_size": 2}, {}, id="batches-of-two"),
    pytest.param(QWEN3, {}, {"activation": "identity"}, id="qwen3"),
    pytest.param(QWEN3, {"instruction": "Find what is about plants"}, {}, id="instruction"),
    pytest.param(RERANKER, {"max_tokens": 40}, {"max_over_passages": True}, id="passages"),
)

# Scores


@ways
@pytest.mark.parametrize(("model", "settings", "options"), MODELS)
def test_scores_and_order_are_the_services_to_the_last_bit(
    compress: Call, model: Path, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    ours = reranker(model, top_n=None, **settings, **options)
    with rerank_service(model, **settings) as theirs:
        expected = [(hit.index, hit.score) for hit in theirs.rerank(QUERY, PASSAGES, **options)]
    assert len(expected) == len(PASSAGES)
    assert ranking(compress(ours, documents(), QUERY)) == expected


@ways
def test_scores_are_those_of_the_models_authors(compress: Call) -> None:
    for name in ("tiny-bert-reranker", "tiny-xlm-roberta-reranker"):
        ours = reranker(DATA / "models" / name)
        expected = golden(name)["scores"]
        for at in range(0, 60, 7):
            query, text = PAIRS[at]
            [(_, score)] = ranking(compress(ours, documents([text]), query))
            assert score == pytest.approx(expected[at], abs=2e-4)


def test_an_instruction_changes_the_scores() -> None:
    scores = {
        instruction: ranking(reranker(QWEN3, instruction=instruction).compress_documents(documents(), QUERY))
        for instruction in (None, "Find what is about stones")
    }
    assert len({str(one) for one in scores.values()}) == 2


@ways
def test_the_first_three_are_given_unless_others_are_wanted(compress: Call) -> None:
    everything = ranking(compress(reranker(top_n=None), documents(), QUERY))
    assert [score for _, score in everything] == sorted((score for _, score in everything), reverse=True)
    assert reranker().top_n == 3  # as CohereRerank and CrossEncoderReranker
    for top_n in (1, 3, len(PASSAGES), 100):
        assert ranking(compress(reranker(top_n=top_n), documents(), QUERY)) == everything[:top_n]
    assert ranking(compress(reranker(), documents(), QUERY)) == everything[:3]


@ways
def test_equal_scores_keep_the_order_of_the_documents(compress: Call, fake: FakeModel) -> None:
    fake.dimension = 1  # a pair's score is the number of its tokens
    found = compress(reranker(top_n=None), documents(["a", "a a", "b", "a", "b b"]), "a")
    assert ranking(found) == [(1, 6.0), (4, 6.0), (0, 5.0), (2, 5.0), (3, 5.0)]
    assert ranking(compress(reranker(top_n=3), documents(["a", "a", "a", "a a", "a"]), "a")) == [
        (3, 6.0), (0, 5.0), (1, 5.0),
    ]  # fmt: skip


@ways
def test_the_same_object_may_be_there_twice(compress: Call) -> None:
    one = Document("stone", metadata={"at": 0})
    first, second = compress(reranker(), [one, one], QUERY)
    scores = [document.metadata["relevance_score"] for document in (first, second)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    first.metadata["at"] = 7
    assert (one.metadata, second.metadata["at"]) == ({"at": 0}, 0)


@ways
def test_documents_without_text_are_scored(compress: Call) -> None:
    found = compress(reranker(), documents(["", " "]), "")
    assert sorted(document.page_content for document in found) == ["", " "]
    with rerank_service() as theirs:
        assert [score for _, score in ranking(found)] == [hit.score for hit in theirs.rerank("", ["", " "])]


@ways
def test_no_documents_load_no_model(compress: Call, tmp_path: Path) -> None:
    assert list(compress(reranker(tmp_path / "nothing"), [], QUERY)) == []
    assert reranker(tmp_path / "nothing").rerank([], QUERY) == []


# Documents


@ways
def test_documents_are_copied_with_all_they_have(compress: Call) -> None:
    class Page(Document):
        number: int

    given = [Page(page_content=text, id=text, metadata={"tags": ["a"]}, number=at) for at, text in enumerate("xyz")]
    before = copy.deepcopy(given)
    found = compress(reranker(), given, QUERY)
    assert given == before
    for document in found:
        assert isinstance(document, Page)
        original = given[document.number]
        assert (document.id, document.page_content) == (original.id, original.page_content)
        assert document.metadata == {"tags": ["a"], "relevance_score": document.metadata["relevance_score"]}
        document.metadata["tags"].append("b")
    assert given == before


@ways
def test_a_score_from_elsewhere_is_replaced(compress: Call) -> None:
    given = [Document(text, metadata={"relevance_score": "high", "at": at}) for at, text in enumerate(PASSAGES)]
    assert ranking(compress(reranker(), given, QUERY)) == ranking(compress(reranker(), documents(), QUERY))
    assert {document.metadata["relevance_score"] for document in given} == {"high"}
    again = compress(reranker(), compress(reranker(), documents(), QUERY), "another question")
    with rerank_service() as theirs:
        [expected] = [hit.score for hit in theirs.rerank("another question", [again[0].page_content])]
    assert again[0].metadata["relevance_score"] == pytest.approx(expected, abs=1e-5)


@ways
def test_scores_are_plain_numbers(compress: Call) -> None:
    found = compress(reranker(), documents(), QUERY)
    assert {type(score) for _, score in ranking(found)} == {float}
    assert json.loads(json.dumps([document.metadata for document in found]))


def test_it_has_the_interface_of_every_compressor() -> None:
    """langchain-tests has no suite for compressors: the signatures, and the callbacks as people pass them."""
    assert isinstance(reranker(), BaseDocumentCompressor)
    for name in ("compress_documents", "acompress_documents"):
        ours, theirs = (
            list(inspect.signature(getattr(kind, name)).parameters.values())
            for kind in (MLXRerank, BaseDocumentCompressor)
        )
        assert [(one.name, one.default, one.kind) for one in ours] == [
            (one.name, one.default, one.kind) for one in theirs
        ]
    expected = reranker().compress_documents(documents(), QUERY)
    handlers = [BaseCallbackHandler()]
    assert reranker().compress_documents(documents(), QUERY, handlers) == expected
    assert reranker().compress_documents(documents=tuple(documents()), query=QUERY, callbacks=handlers) == expected
    assert asyncio.run(reranker().acompress_documents(documents(), QUERY, callbacks=handlers)) == expected


# The ranking alone


def test_a_ranking_is_given_as_cohere_gives_it() -> None:
    ours = reranker()
    with rerank_service() as theirs:
        expected = [{"index": hit.index, "relevance_score": hit.score} for hit in theirs.rerank(QUERY, PASSAGES)]
    assert ours.rerank(PASSAGES, QUERY, top_n=None) == ours.rerank(documents(), QUERY, top_n=None) == expected
    assert ours.rerank([*documents()[:4], *PASSAGES[4:]], QUERY) == expected[:3]
    assert ours.rerank(iter(PASSAGES), QUERY, top_n=5) == expected[:5]  # type: ignore[arg-type]  # more is taken than promised
    assert asyncio.run(ours.arerank(PASSAGES, QUERY, top_n=1)) == expected[:1]
    assert asyncio.run(ours.arerank(documents(), QUERY)) == expected[:3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_n": 0}, "top_n is 0; it must be an integer of at least 1, or None."),
        ({"top_n": -1}, "top_n is -1"),
        ({"top_n": True}, "top_n is True"),
        ({"model": "rerank-v3.5"}, "'model': make another object of it"),
        ({"rank_fields": ["title"]}, "'rank_fields': the text of a document counts"),
        ({"max_tokens_per_doc": 4000}, "'max_tokens_per_doc': make the object with max_tokens=N"),
        ({"max_tokens": 4000}, r"MLXRerank\(max_tokens=…\)"),
        ({"topn": 4}, "'topn'.*Did you mean 'top_n'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_options_of_a_ranking_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        reranker().rerank(PASSAGES, QUERY, **options)
    with pytest.raises(ConfigurationError, match=words):
        asyncio.run(reranker().arerank(PASSAGES, QUERY, **options))
