"""Checks of rerankers that need nothing to compare with: every tiny one passes, and each check finds its fault."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import RerankService
from akidb_embeddings.compute import masks
from akidb_embeddings.diagnostics.checks import Check
from akidb_embeddings.diagnostics.score_checks import check_scores
from akidb_embeddings.reranking.job import ScoresJob
from akidb_embeddings.tokenization.pair_tokenizer import PairTokenizer
from akidb_embeddings.tokenization.tokenizer import Tokenized
from tests.diagnostics.test_verify_rerankers import with_tensor
from tests.fixtures import copy_model
from tests.reranking.models import ALL, BERT, QWEN3, XLM_ROBERTA, folder

NAMES = [
    *("finite", "alone and in a batch", "in another order", "the same pair twice", "on several threads"),
    *("different pairs differ", "long pairs are flagged"),
]


def checks(path: Path) -> dict[str, Check]:
    with RerankService(path, max_tokens=512) as service:
        return {check.name: check for check in check_scores(service)}


def failed(path: Path) -> set[str]:
    return {name for name, check in checks(path).items() if not check.passed}


@pytest.mark.parametrize("name", ALL)
def test_every_tiny_reranker_passes(name: str) -> None:
    found = checks(folder(name))
    assert all(check.passed for check in found.values())
    assert list(found) == [*NAMES, *(["final tokens"] if name in (QWEN3, f"{QWEN3}-untied") else [])]
    agreement = found["alone and in a batch"]
    assert agreement.figure is not None
    assert agreement.limit is not None
    assert agreement.figure < agreement.limit / 10
    assert found["long pairs are flagged"].figure == found["long pairs are flagged"].limit == 512


@pytest.mark.parametrize("name", [BERT, XLM_ROBERTA, "tiny-modernbert-reranker-mean"])
def test_padding_that_is_seen_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "padding_mask", lambda lengths, width: None)
    assert {"alone and in a batch", "in another order"} & failed(folder(name))


def test_rows_that_are_mixed_up_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = ScoresJob._keep

    def shift(job: ScoresJob, begin: int, tokens: Tokenized, rows: Any) -> None:
        keep(job, begin, tokens, np.roll(rows, 1, axis=0))

    monkeypatch.setattr(ScoresJob, "_keep", shift)
    assert failed(folder(BERT)) >= {"alone and in a batch", "in another order", "the same pair twice"}


def test_rows_that_callers_exchange_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one thread alone are right."""
    import threading

    score = RerankService.score_details

    def exchange(service: RerankService, pairs: Any, **options: Any) -> Any:
        in_main = threading.current_thread() is threading.main_thread()
        return score(service, pairs if in_main else pairs[::-1], **options)

    monkeypatch.setattr(RerankService, "score_details", exchange)
    assert failed(folder(BERT)) == {"on several threads"}


def test_dead_positions_are_found(tmp_path: Path) -> None:
    path = with_tensor(copy_model(BERT, tmp_path / "model"), "position_embeddings.weight", lambda weight: weight * 0)
    found = checks(path)["different pairs differ"]
    assert not found.passed
    assert "A dog bites a man" in found.text


def test_a_query_that_does_not_count_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    score = RerankService.score_details

    def blind(service: RerankService, pairs: Any, **options: Any) -> Any:
        return score(service, [("query", document) for _, document in pairs], **options)

    monkeypatch.setattr(RerankService, "score_details", blind)
    assert failed(folder(BERT)) == {"different pairs differ"}


def test_pairs_that_are_cut_in_silence_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenized, "truncated", property(lambda tokens: [False] * len(tokens.ids)))
    found = checks(folder(BERT))
    assert [check.name for check in found.values() if not check.passed] == ["long pairs are flagged"]
    assert "NOT flagged" in found["long pairs are flagged"].text


def test_a_frame_that_is_cut_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    join = PairTokenizer._join

    def cut(tokenizer: PairTokenizer, sides: Any) -> Any:
        pair = join(tokenizer, sides)
        return pair._replace(ids=pair.ids[:-1]) if pair.total > tokenizer.max_tokens else pair

    monkeypatch.setattr(PairTokenizer, "_join", cut)
    found = failed(folder(QWEN3))
    assert "final tokens" in found
