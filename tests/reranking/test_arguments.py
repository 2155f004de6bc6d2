"""Arguments of ``RerankService`` and its methods: what is refused, by name, and with a way out."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from akidb_embeddings import RerankService
from akidb_embeddings.config.model import AS_CONFIGURED
from akidb_embeddings.config.rerank import FIELDS
from akidb_embeddings.errors import ArgumentError, ConfigurationError, InputError
from akidb_embeddings.reranking.async_calls import AsyncRerankCalls
from akidb_embeddings.reranking.calls import RerankCalls
from tests.golden.pairs import PAIRS
from tests.reranking.models import LABELS, XLM_ROBERTA, folder


@pytest.fixture
def reranker() -> Iterator[RerankService]:
    with RerankService(folder(XLM_ROBERTA)) as service:
        yield service


@pytest.mark.parametrize(
    ("call", "match", "field"),
    [
        (lambda r: r.score("ab"), "pairs is one str; a list of pairs", "pairs"),
        (lambda r: r.score(3), "pairs is of type int", "pairs"),
        (lambda r: r.score(["ab"]), r"pairs\[0\] is of type str; a pair", "pairs"),
        (lambda r: r.score([("a", "b"), ("a",)]), r"pairs\[1\] is of type tuple with 1 items", "pairs"),
        (lambda r: r.score([("a", 1)]), r"pairs\[0\] is of types str and int; two strings", "pairs"),
        (lambda r: r.score([("a", None)]), r"pairs\[0\] is of types str and NoneType", "pairs"),
        (lambda r: r.rerank(None, ["a"]), "A string is expected", "query"),
        (lambda r: r.rerank("a", "b"), "documents is one str", "documents"),
        (lambda r: r.rerank("a", ["b", 3]), r"documents\[1\] is of type int", "documents"),
        (lambda r: r.rerank("a \ud800", ["b"]), "query has a lone surrogate", "query"),
        (lambda r: r.rerank("a", ["b"], top_k=0), "top_k is 0; it must be an integer of at least 1", "top_k"),
        (lambda r: r.rerank("a", ["b"], top_k=True), "top_k is True", "top_k"),
        (
            lambda r: r.score([("a", "b")], activation="softmax"),
            "allowed: 'model', 'sigmoid', 'identity'",
            "activation",
        ),
        (lambda r: r.score([("a", "b")], instruction="find"), "this xlm-roberta model takes none", "instruction"),
        (lambda r: r.score([("a", "b")], instruction=" "), "an instruction in words", "instruction"),
        (lambda r: r.score([("a", "b")], prompt_name="query"), "prompt_name is 'query'", "prompt_name"),
    ],
)
def test_bad_arguments_are_told_by_name(reranker: RerankService, call: Any, match: str, field: str | None) -> None:
    with pytest.raises((InputError, ConfigurationError), match=match) as caught:
        call(reranker)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"topk": 3}, "unknown argument 'topk' of rerank .* Did you mean 'top_k'"),
        ({"max_tokens": 3}, r"a setting of the whole service, no argument of rerank: RerankService\(max_tokens=…\)"),
        ({"return_documents": True}, "rerank has no argument 'return_documents': a hit has the document's index"),
    ],
)
def test_unknown_arguments_are_refused(reranker: RerankService, given: dict[str, Any], match: str) -> None:
    with pytest.raises(ArgumentError, match=match):
        reranker.rerank("a", ["b"], **given)


def test_several_labels_are_only_given_where_asked() -> None:
    with RerankService(folder(LABELS)) as service:
        for call in (lambda: service.score(PAIRS[:2]), lambda: service.rerank("a", ["b"])):
            with pytest.raises(InputError, match=r"3 scores .* \(contradiction, entailment, neutral\)") as caught:
                call()
            assert caught.value.field == "all_labels"
        assert service.score(PAIRS[:2], all_labels=True).shape == (2, 3)


def test_one_label_may_be_asked_for_as_all(reranker: RerankService) -> None:
    assert reranker.score(PAIRS[:2], all_labels=True).shape == (2, 1)


def test_a_limit_beyond_the_models_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"max_tokens is 2000; the limit of .* is 1024") as caught:
        RerankService(folder(XLM_ROBERTA), max_tokens=2000)
    assert caught.value.limit == 1024


def test_signatures_are_spelled_out_and_twins_agree() -> None:
    fields = [name for name in inspect.signature(RerankService.__init__).parameters if name in FIELDS]
    assert sorted(fields) == sorted(FIELDS)
    assert inspect.signature(RerankService).parameters["max_tokens"].default is AS_CONFIGURED
    for name in ("score", "score_details", "rerank"):
        one, twin = getattr(RerankCalls, name), getattr(AsyncRerankCalls, f"a{name}")
        assert inspect.signature(one).parameters == inspect.signature(twin).parameters
