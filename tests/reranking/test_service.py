"""``RerankService``: one call or many, on any thread and loop, with clear errors and nothing lost."""

import asyncio
import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, RerankConfig, RerankService
from akidb_embeddings.errors import (
    DeadlineError,
    InputError,
    NonFiniteVectorError,
    OverloadError,
    WorkerError,
)
from akidb_embeddings.reranking.activation import sigmoid
from akidb_embeddings.reranking.result import ScoreResult, ranked
from tests.conftest import at_once
from tests.fixtures import BUNDLED
from tests.golden.pairs import PAIRS
from tests.golden.texts import counted_text
from tests.reranking.models import BERT, DOCUMENTS, LABELS, ONE_SCORE, QUERY, QWEN3, XLM_ROBERTA, folder

LONG = counted_text(900)


@pytest.fixture
def reranker() -> Iterator[RerankService]:
    with RerankService(folder(XLM_ROBERTA)) as service:
        yield service


# What calls return


def test_hits_are_ordered_by_score_and_name_the_documents(reranker: RerankService) -> None:
    hits = reranker.rerank(QUERY, DOCUMENTS)
    scores = reranker.score([(QUERY, document) for document in DOCUMENTS])
    assert sorted(hit.index for hit in hits) == list(range(len(DOCUMENTS)))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    np.testing.assert_allclose([hit.score for hit in hits], scores[[hit.index for hit in hits]], atol=1e-6)
    assert reranker.rerank(QUERY, DOCUMENTS, top_k=3) == hits[:3]
    assert reranker.rerank(QUERY, DOCUMENTS, top_k=99) == hits


def test_equal_documents_keep_their_order(reranker: RerankService) -> None:
    assert [hit.index for hit in reranker.rerank(QUERY, ["same"] * 7, alone=True)] == list(range(7))


@pytest.mark.parametrize("name", ONE_SCORE)
def test_equal_documents_get_equal_scores_wherever_they_are(name: str) -> None:
    """Other rows of a micro-batch differ in the last bits."""
    documents = [document for number in range(20) for document in (DOCUMENTS[number % 10], f"{number} of {QUERY}")]
    with RerankService(folder(name)) as reranker:
        for alone in (False, True):
            hits = reranker.rerank(QUERY, documents, alone=alone)
            for document in DOCUMENTS[:10]:
                found = [hit for hit in hits if documents[hit.index] == document]
                assert len({hit.score for hit in found}) == 1
                assert [hit.index for hit in found] == sorted(hit.index for hit in found)


def test_logits_decide_where_sigmoids_are_equal() -> None:
    """From 17 on, the sigmoid is 1 in float32."""
    logits = np.array([20, 40, 30, -200, -100], np.float32)
    result = ScoreResult(sigmoid(logits), logits, [1] * 5, [False] * 5, "")
    assert [hit.index for hit in ranked(result, None)] == [1, 2, 0, 4, 3]
    assert [hit.score for hit in ranked(result, 3)] == [1, 1, 1]


def test_nothing_gives_nothing(reranker: RerankService) -> None:
    assert reranker.rerank(QUERY, []) == []
    scores = reranker.score([])
    assert scores.shape == (0,)
    assert scores.dtype == np.float32
    assert reranker.score([], max_over_passages=True).shape == (0,)
    with RerankService(folder(LABELS)) as labels:
        assert labels.score([], all_labels=True).shape == (0, 3)


def test_any_iterable_of_pairs_is_taken(reranker: RerankService) -> None:
    pairs = PAIRS[:4]
    expected = reranker.score(pairs)
    for given in (tuple(pairs), iter(pairs), [list(pair) for pair in pairs]):
        np.testing.assert_allclose(reranker.score(given), expected, atol=1e-6)


def test_activations(reranker: RerankService) -> None:
    raw = reranker.score(PAIRS[:9], activation="identity").astype(np.float64)
    assert reranker.activation == "sigmoid"
    for activation in ("model", "sigmoid"):
        np.testing.assert_allclose(reranker.score(PAIRS[:9], activation=activation), 1 / (1 + np.exp(-raw)), atol=1e-6)


def test_details(reranker: RerankService) -> None:
    result = reranker.score_details([*PAIRS[:3], (QUERY, LONG), (QUERY, LONG * 2)])
    assert result.truncated == [False, False, False, False, True]
    assert result.token_counts[-1] == reranker.max_tokens
    assert result.timings.total > 0
    assert result.fingerprint == reranker.fingerprint()


def test_fingerprints_tell_apart_what_gives_other_scores(reranker: RerankService) -> None:
    with RerankService(folder(QWEN3)) as asked, RerankService(folder(XLM_ROBERTA), max_tokens=64) as short:
        found = [
            reranker.fingerprint(),
            reranker.fingerprint(activation="identity"),
            short.fingerprint(),
            asked.fingerprint(),
            asked.fingerprint(instruction="another"),
        ]
        assert reranker.fingerprint(activation="sigmoid") == found[0]
        assert asked.score_details(PAIRS[:1], instruction="another").fingerprint == found[-1]
    assert len(set(found)) == len(found)


def test_long_documents_are_cut_and_flagged_or_refused() -> None:
    with RerankService(folder(XLM_ROBERTA), max_tokens=64) as service:
        hits = service.rerank(QUERY, ["short", LONG])
        assert {hit.index: hit.truncated for hit in hits} == {0: False, 1: True}
    with RerankService(folder(XLM_ROBERTA), max_tokens=64, truncate="error") as service:
        with pytest.raises(InputError, match=r"documents\[1\] has .* tokens with its query; the limit is 64") as caught:
            service.rerank(QUERY, ["short", LONG])
        assert (caught.value.field, caught.value.index, caught.value.limit) == ("documents", 1, 64)
        with pytest.raises(InputError, match=r"pairs\[11\]"):
            service.score([(QUERY, "short"), (QUERY, LONG)], first_index=10)


def test_the_first_cut_pair_of_score_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with RerankService(folder(XLM_ROBERTA), max_tokens=64) as service, caplog.at_level(logging.WARNING):
        service.score([(QUERY, LONG)])
        service.score([(QUERY, LONG)])
    assert [record.message for record in caplog.records if "truncated" in record.message] == [
        "1 of 1 pairs were truncated at 64 tokens. score_details() returns which; truncate='error' rejects them, and "
        "max_over_passages=True reads long documents whole. Later ones are truncated without a warning."
    ]


def test_the_best_passage_counts() -> None:
    document = f"{counted_text(150)} {QUERY} {QUERY} {counted_text(150, seed=2)}"
    with RerankService(folder(XLM_ROBERTA), max_tokens=64) as service:
        tokens = service._resources.tokenizer.passages([QUERY], [document])
        result = service.score_details(
            [(QUERY, document), (QUERY, "short")], max_over_passages=True, activation="identity"
        )
        [short] = service.score([(QUERY, "short")], activation="identity")
        parts = [service._resources.tokenizer.max_tokens >= len(ids) for ids in tokens.ids]
    assert len(tokens.ids) > 5
    assert all(parts)
    assert result.truncated == [False, False]
    assert result.token_counts[0] == sum(map(len, tokens.ids))
    assert abs(result.scores[1] - short) < 1e-5
    assert (
        result.scores[0]
        >= RerankService(folder(XLM_ROBERTA), max_tokens=64).score([(QUERY, document)], activation="identity")[0] - 1e-5
    )


def test_passages_keep_the_indices_of_errors() -> None:
    with RerankService(folder(XLM_ROBERTA), max_tokens=64, truncate="error") as service:
        pairs = [(QUERY, LONG), (counted_text(200), LONG)]  # a query that leaves no room
        with pytest.raises(InputError) as caught:
            service.score(pairs, max_over_passages=True, first_index=4)
        assert (caught.value.field, caught.value.index) == ("pairs", 5)
        with pytest.raises(InputError) as other:
            service.rerank(QUERY, ["a", "b \ud800"], max_over_passages=True)
        assert (other.value.field, other.value.index) == ("documents", 1)


# Threads, loops, deadlines, the end


def test_threads_get_their_own_scores(reranker: RerankService) -> None:
    expected = reranker.score(PAIRS[:60])

    def use(caller: int) -> None:
        generator = random.Random(caller)
        for _ in range(4):
            chosen = generator.sample(range(60), 9)
            np.testing.assert_allclose(reranker.score([PAIRS[at] for at in chosen]), expected[chosen], atol=1e-4)

    at_once(use, 8)


async def test_async_twins(reranker: RerankService) -> None:
    expected = reranker.score(PAIRS[:9])
    np.testing.assert_allclose(await reranker.ascore(PAIRS[:9]), expected, atol=1e-6)
    assert (await reranker.ascore_details(PAIRS[:9])).fingerprint == reranker.fingerprint()
    hits = await reranker.arerank(QUERY, DOCUMENTS, top_k=4)
    assert [hit.index for hit in hits] == [hit.index for hit in reranker.rerank(QUERY, DOCUMENTS, top_k=4)]
    long = await reranker.ascore([(QUERY, LONG * 3)], max_over_passages=True)
    np.testing.assert_allclose(long, reranker.score([(QUERY, LONG * 3)], max_over_passages=True), atol=1e-6)
    many = await asyncio.gather(*(reranker.ascore([pair]) for pair in PAIRS[:9]))
    np.testing.assert_allclose(np.concatenate(many), expected, atol=1e-4)
    with pytest.raises(InputError, match=r"documents\[0\]"):
        await reranker.arerank(QUERY, [3])  # type: ignore[list-item]  # the error is tested


async def test_a_service_is_made_and_closed_on_a_loop() -> None:
    async with await RerankService.acreate(folder(BERT), max_tokens=64) as service:
        assert service.max_tokens == 64
    assert not service.alive


def test_progress_counts_all_pairs(reranker: RerankService) -> None:
    counts: list[int] = []
    reranker.rerank(QUERY, DOCUMENTS, progress=counts.append)
    assert sum(counts) == len(DOCUMENTS)


def test_deadlines_and_a_full_queue() -> None:
    with RerankService(folder(XLM_ROBERTA), max_queued_tokens=50) as service:
        with pytest.raises(DeadlineError):
            service.score(PAIRS * 5, timeout=0)
        refused: list[Exception] = []

        def use(caller: int) -> None:
            for _ in range(5):
                try:
                    service.score(PAIRS[100:140])
                except OverloadError as error:
                    refused.append(error)

        at_once(use, 8)
        assert refused
        assert all(error.limit == 50 for error in refused if isinstance(error, OverloadError))
        assert len(service.score(PAIRS[:50], wait=True)) == 50


def test_a_closed_service_says_so() -> None:
    service = RerankService(folder(BERT))
    service.close()
    service.close()
    with pytest.raises(WorkerError, match="This RerankService is closed"):
        service.rerank("a", ["b"])
    assert repr(service).endswith("backend='cpu', closed)")


def test_a_score_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it fails the caller whose document it is alone."""
    from akidb_embeddings.engine.model import MLXModel

    start = MLXModel.start

    def damaged(model: MLXModel, batches: Any) -> Any:
        finish = start(model, batches)

        def spoil() -> Any:
            rows = finish()
            for batch, scores in zip(batches, rows, strict=True):
                scores[batch.lengths > 100] = np.nan
            return rows

        return spoil

    monkeypatch.setattr(MLXModel, "start", damaged)
    with RerankService(folder(BERT)) as service:
        with pytest.raises(NonFiniteVectorError, match=r"documents\[1\]") as caught:
            service.rerank(QUERY, ["a", counted_text(200), "b"])
        assert caught.value.index == 1
        assert len(service.rerank(QUERY, ["a", "b"])) == 2


def test_statistics_count_pairs(reranker: RerankService) -> None:
    before = reranker.statistics.texts
    reranker.score(PAIRS[:7])
    assert reranker.statistics.texts - before == 7
    assert reranker.statistics.tokens > 0


def test_equal_models_share_one_engine_and_other_kinds_have_their_own() -> None:
    with RerankService(folder(BERT)) as one, RerankService(folder(BERT), max_tokens=64) as other:
        assert one._engine is other._engine
        with EmbeddingService(BUNDLED) as embedder:
            assert embedder.dimension == 384
            assert one.score([("a", "b")]).shape == (1,)


def test_a_configuration_is_taken_as_it_is() -> None:
    config = RerankConfig(model_name=str(folder(BERT)), max_tokens=70)
    with RerankService(config=config) as service, RerankService(folder(QWEN3), config=config, max_tokens=300) as other:
        assert (service.config, service.max_tokens) == (config, 70)
        assert (other.max_tokens, other.instruction) == (300, other.checkpoint.default_prompt)
        assert service.instruction is None
