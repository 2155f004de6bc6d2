"""The reranker: the service's scores to the last bit, of the text that an embedding model reads; nodes stay."""

import asyncio
import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index_helpers import fake_model as fake_model
from llama_index_helpers import no_settings as no_settings
from llama_index_rerank_helpers import (
    PASSAGES,
    QUERY,
    QWEN3,
    RERANKER,
    XLM_ROBERTA,
    Call,
    nodes,
    ranking,
    rerank_service,
    reranker,
    ways,
)

from akidb_embeddings import ConfigurationError, EmbeddingError, InputError, ModelNotFoundError, close_shared_rerankers
from tests.conftest import FakeModel
from tests.fixtures import DATA, golden
from tests.golden.pairs import PAIRS

teardown_module = close_shared_rerankers

MODELS = (
    pytest.param(RERANKER, {}, {}, id="logits"),
    pytest.param(RERANKER, {}, {"activation": "sigmoid"}, id="sigmoid-of-logits"),
    pytest.param(XLM_ROBERTA, {}, {}, id="sigmoid"),
    pytest.param(DATA / "models" / "tiny-modernbert-reranker-mean", {"batch_size": 2}, {}, id="batches-of-two"),
    pytest.param(QWEN3, {}, {"activation": "identity"}, id="qwen3"),
    pytest.param(QWEN3, {"instruction": "Find what is about plants"}, {}, id="instruction"),
    pytest.param(RERANKER, {"max_tokens": 40}, {"max_over_passages": True}, id="passages"),
)


# Scores


@ways
@pytest.mark.parametrize(("model", "settings", "options"), MODELS)
def test_scores_and_order_are_the_services_to_the_last_bit(
    rerank: Call, model: Path, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    with rerank_service(model, **settings) as theirs:
        expected = [(hit.index, hit.score) for hit in theirs.rerank(QUERY, PASSAGES, **options)]
    assert len(expected) == len(PASSAGES)
    found = rerank(reranker(model, top_n=None, **settings, **options), nodes(), QUERY)
    assert ranking(found) == expected
    assert {type(one.score) for one in found} == {float}


@ways
def test_scores_are_those_of_the_models_authors(rerank: Call) -> None:
    for name in ("tiny-bert-reranker", "tiny-xlm-roberta-reranker"):
        expected = golden(name)["scores"]
        for at in range(0, 60, 7):
            query, text = PAIRS[at]
            [(_, score)] = ranking(rerank(reranker(DATA / "models" / name), nodes([text]), query))
            assert score == pytest.approx(expected[at], abs=2e-4)


@ways
def test_the_first_two_are_given_unless_others_are_wanted(rerank: Call) -> None:
    everything = ranking(rerank(reranker(top_n=None), nodes(), QUERY))
    assert reranker().top_n == 2  # as SentenceTransformerRerank, CohereRerank and FlagEmbeddingReranker
    for top_n in (1, 3, len(PASSAGES), 100):
        assert ranking(rerank(reranker(top_n=top_n), nodes(), QUERY)) == everything[:top_n]
    assert ranking(rerank(reranker(), nodes(), QUERY)) == everything[:2]
    changed = reranker()
    changed.top_n = 5
    assert ranking(rerank(changed, nodes(), QUERY)) == everything[:5]


@ways
def test_equal_scores_keep_the_order_of_the_nodes(rerank: Call, fake: FakeModel) -> None:
    fake.dimension = 1  # a pair's score is the number of its tokens
    found = rerank(reranker(top_n=None), nodes(["a", "a a", "b", "a", "b b"]), "a")
    assert ranking(found) == [(1, 6.0), (4, 6.0), (0, 5.0), (2, 5.0), (3, 5.0)]


@ways
def test_no_nodes_load_no_model(rerank: Call, tmp_path: Path) -> None:
    assert rerank(reranker(tmp_path / "nothing"), [], QUERY) == []


# What is read


@ways
def test_the_text_is_what_an_embedding_model_reads(rerank: Call) -> None:
    given = [
        NodeWithScore(
            node=TextNode(
                text="a stone",
                id_=str(at),
                metadata={"title": "Stones", "secret": "sugar"},
                excluded_embed_metadata_keys=excluded,
            )
        )
        for at, excluded in enumerate([[], ["secret"], ["secret", "title"]])
    ]
    texts = ["title: Stones\nsecret: sugar\n\na stone", "title: Stones\n\na stone", "a stone"]
    assert [one.get_content(MetadataMode.EMBED) for one in given] == texts
    with rerank_service() as theirs:
        expected = [(hit.index, hit.score) for hit in theirs.rerank(QUERY, texts)]
    assert ranking(rerank(reranker(top_n=3), given, QUERY)) == expected


# Nodes


@ways
@pytest.mark.parametrize("keep", [False, True])
def test_nodes_are_not_changed(rerank: Call, keep: bool) -> None:
    given = nodes()
    before = copy.deepcopy(given)
    found = rerank(reranker(keep_retrieval_score=keep), given, QUERY)
    assert given == before
    assert [one.score for one in given] == [one.score for one in before]
    for one in found:
        original = given[int(one.node_id)]
        assert one is not original
        assert (one.node is original.node) is not keep


@ways
def test_the_retrieval_score_is_kept_if_one_wants_that(rerank: Call) -> None:
    kept = rerank(reranker(keep_retrieval_score=True, top_n=None), nodes(), QUERY)
    plain = rerank(reranker(top_n=None), nodes(), QUERY)
    assert ranking(kept) == ranking(plain)
    for one in kept:
        assert one.metadata == {"retrieval_score": 1 - int(one.node_id) / 100}
        assert one.get_content(MetadataMode.EMBED) == PASSAGES[int(one.node_id)]
    assert {str(one.metadata) for one in plain} == {"{}"}
    # A second reranker reads the same texts, and the score before it is the first one's.
    again = rerank(reranker(keep_retrieval_score=True, top_n=None), kept, QUERY)
    assert [index for index, _ in ranking(again)] == [index for index, _ in ranking(kept)]
    assert [one.metadata["retrieval_score"] for one in again] == [one.score for one in kept]


@ways
def test_kinds_of_nodes_stay(rerank: Call) -> None:
    given = [
        NodeWithScore(node=IndexNode(text="a stone", index_id="i")),
        NodeWithScore(node=TextNode(text="sugar", embedding=[1.0], relationships={})),
    ]
    found = rerank(reranker(keep_retrieval_score=True), given, QUERY)
    assert {type(one.node) for one in found} == {IndexNode, TextNode}
    assert {one.node.node_id for one in found} == {one.node.node_id for one in given}
    assert {one.metadata["retrieval_score"] for one in found} == {None}


@ways
def test_the_same_node_may_be_there_twice(rerank: Call) -> None:
    one = nodes(["stone"])[0]
    first, second = rerank(reranker(), [one, one], QUERY)
    assert first.score == pytest.approx(second.score, abs=1e-5)
    assert one.score == 1


# The interface


async def test_a_query_comes_in_either_way() -> None:
    ours = reranker()
    assert isinstance(ours, BaseNodePostprocessor)
    expected = ranking(ours.postprocess_nodes(nodes(), query_str=QUERY))
    assert ranking(ours.postprocess_nodes(nodes(), QueryBundle(QUERY))) == expected
    assert ranking(await ours.apostprocess_nodes(nodes(), QueryBundle(QUERY))) == expected
    with pytest.raises(ValueError, match="both"):
        ours.postprocess_nodes(nodes(), QueryBundle(QUERY), QUERY)


@pytest.mark.parametrize("given", [nodes(), []], ids=["nodes", "none"])
@pytest.mark.parametrize("query", [None, QUERY, 5], ids=str)
def test_what_is_no_query_is_refused(given: list[NodeWithScore], query: Any) -> None:
    kind = "None" if query is None else f"of type {type(query).__name__}"
    message = f"query_bundle is {kind}; a QueryBundle is expected, or query_str=TEXT instead."
    for way in (reranker().postprocess_nodes, lambda *both: asyncio.run(reranker().apostprocess_nodes(*both))):
        with pytest.raises(InputError) as caught:
            way(given, query)
        assert str(caught.value) == message
        assert isinstance(caught.value, ValueError)  # as SentenceTransformerRerank's


# Errors


@ways
def test_a_node_that_is_too_long_is_an_error_if_one_wants_that(rerank: Call) -> None:
    ours = reranker(max_tokens=32, truncate="error")
    with pytest.raises(InputError, match="32") as caught:
        rerank(ours, nodes(), QUERY)
    assert (caught.value.field, caught.value.index) == ("documents", 2)
    assert len(rerank(ours, nodes(PASSAGES[:2]), QUERY)) == 2


@ways
def test_a_model_with_several_labels_ranks_nothing(rerank: Call) -> None:
    with pytest.raises(InputError, match="contradiction, entailment, neutral"):
        rerank(reranker(DATA / "models" / "tiny-bert-labels"), nodes(), QUERY)


@ways
def test_a_model_that_takes_no_instruction_says_so(rerank: Call) -> None:
    with pytest.raises(ConfigurationError, match="instruction is 'Find plants', but this bert model takes none"):
        rerank(reranker(instruction="Find plants"), nodes(), QUERY)


@ways
def test_a_model_may_be_named_before_it_is_there(rerank: Call, tmp_path: Path) -> None:
    ours = reranker(tmp_path / "model")
    for _ in range(2):
        with pytest.raises(ModelNotFoundError, match="model"):
            rerank(ours, nodes(), QUERY)
    (tmp_path / "model").symlink_to(RERANKER)
    assert ranking(rerank(ours, nodes(), QUERY)) == ranking(rerank(reranker(), nodes(), QUERY))


@ways
@pytest.mark.parametrize(
    ("field", "value"),
    [("top_n", 0), ("activation", "softmax"), ("max_over_passages", 1), ("keep_retrieval_score", 1), ("max_tokens", 0)],
)
def test_a_field_that_was_set_wrong_is_refused_when_it_counts(rerank: Call, field: str, value: Any) -> None:
    ours = reranker()
    setattr(ours, field, value)
    with pytest.raises(EmbeddingError, match=field):
        rerank(ours, nodes(), QUERY)


# Truncation


@ways
def test_the_first_truncation_is_told(rerank: Call, caplog: pytest.LogCaptureFixture) -> None:
    close_shared_rerankers()
    ours = reranker(max_tokens=32, top_n=1)
    with caplog.at_level(logging.WARNING):
        rerank(ours, nodes(PASSAGES[:2]), QUERY)
        assert not caplog.records
        for _ in range(2):  # also of a node that is not among the first
            rerank(ours, nodes(), QUERY)
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith("1 of 8 documents were truncated: with the query, they have more than 32 tokens.")
    assert "max_over_passages=True" in message


def test_the_serialized_form_says_everything() -> None:
    data = reranker(top_n=4, keep_retrieval_score=True).to_dict()
    assert data["class_name"] == reranker().class_name() == "MLXRerank"
    assert json.loads(reranker(top_n=4, keep_retrieval_score=True).to_json()) == data
    assert (data["top_n"], data["keep_retrieval_score"], data["model_name"]) == (4, True, str(RERANKER))
