"""Verification of rerankers: a card of golden scores is reproduced, and a model that is another one is found out."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings.checkpoint import frame
from akidb_embeddings.diagnostics.comparison import Comparison, ScoreComparison, score_tolerance
from akidb_embeddings.diagnostics.verify import Verification, verify
from akidb_embeddings.errors import CheckpointError, ConfigurationError
from akidb_embeddings.registry import RERANKERS, RerankerSpec, RerankExample
from tests.diagnostics.rerankers import golden_card, known
from tests.fixtures import BUNDLED, copy_model, edit_json
from tests.hub_fixtures import use_registry
from tests.reranking.models import BERT, LABELS, ONE_SCORE, QWEN3, XLM_ROBERTA, add_crossencoder_files, folder


def checked(path: Path, monkeypatch: pytest.MonkeyPatch, name: str, **facts: Any) -> Verification:
    """The folder, verified with the card of the tiny model called ``name``."""
    use_registry(monkeypatch, known(name, **facts))
    return verify(str(path), card="tiny")


def compared(found: Verification) -> Comparison:
    assert found.comparison is not None
    return found.comparison


def failed(found: Verification) -> list[str]:
    return [check.name for check in found.checks if not check.passed]


def with_tensor(path: Path, ending: str, change: Any) -> Path:
    tensors = load_file(path / "model.safetensors")
    [name] = [name for name in tensors if name.endswith(ending)]
    save_file(tensors | {name: np.ascontiguousarray(change(tensors[name]))}, path / "model.safetensors")
    return path


@pytest.mark.parametrize("name", ONE_SCORE)
def test_golden_scores_are_reproduced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(folder(name), monkeypatch, name)
    assert (found.kind, found.bits, found.is_kind_assumed) == ("reranker", None, False)
    assert found.passed
    comparison = compared(found)
    assert comparison.same_order
    assert comparison.largest < 2e-4
    assert comparison.tolerance == pytest.approx(0.02 * np.ptp(comparison.published))
    np.testing.assert_array_equal(comparison.differences, comparison.computed - comparison.published)
    assert [row[2] for row in comparison.rows] == list(golden_card(name).scores)


def test_a_card_of_scores_from_0_to_1(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(folder(XLM_ROBERTA), monkeypatch, XLM_ROBERTA, card=golden_card(XLM_ROBERTA, "sigmoid"))
    assert found.passed
    assert compared(found).largest < 1e-4
    assert compared(found).published.max() <= 1


@pytest.mark.long
def test_a_folder_says_what_it_is(tmp_path: Path) -> None:
    assert verify(str(folder(BERT))).kind == "reranker"
    path = copy_model(QWEN3, tmp_path / "model")
    silent = verify(str(path))
    assert (silent.kind, silent.is_kind_assumed) == ("embedding", True)
    told = verify(str(path), kind=RerankerSpec)
    assert (told.kind, told.is_kind_assumed) == ("reranker", False)
    add_crossencoder_files(path)
    found = verify(str(path))
    assert (found.kind, found.is_kind_assumed, found.comparison, found.passed) == ("reranker", False, None, True)
    (path / "modules.json").unlink()
    assert verify(str(path)).kind == "reranker"


def test_models_of_several_labels_are_checked_and_have_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verify(str(folder(LABELS)))
    assert found.passed
    assert "all 42 values of 14 pairs" in found.checks[0].text
    with pytest.raises(ConfigurationError, match=r"one score for each pair, but .* gives 3: contradiction") as caught:
        checked(folder(LABELS), monkeypatch, BERT)
    assert caught.value.field == "card"


@pytest.mark.parametrize(
    ("ending", "change"),
    [
        ("classifier.weight", lambda weight: -weight),
        ("classifier.weight", lambda weight: weight * 0.9),
        ("classifier.bias", lambda bias: bias + 1),
        ("pooler.dense.weight", lambda weight: weight.T),
        ("token_type_embeddings.weight", lambda weight: weight[::-1]),
    ],
)
def test_a_head_or_types_of_another_model_are_found_out(
    ending: str, change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_tensor(copy_model(BERT, tmp_path / "model"), ending, change)
    found = checked(path, monkeypatch, BERT)
    assert failed(found) == []
    assert not compared(found).reproduced
    assert not found.passed


@pytest.mark.long
def test_swapped_answers_are_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copy_model(QWEN3, tmp_path / "model")
    add_crossencoder_files(path)
    assert checked(path, monkeypatch, QWEN3).passed
    file = path / "1_LogitScore" / "config.json"
    ids = [int(word) for word in file.read_text().replace("}", "").replace(",", " ").split() if word.isdigit()]
    edit_json(file, true_token_id=ids[1], false_token_id=ids[0])
    found = checked(path, monkeypatch, QWEN3)
    assert failed(found) == []
    assert not compared(found).same_order
    assert not found.passed


@pytest.mark.long
def test_another_instruction_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copy_model(QWEN3, tmp_path / "model")
    add_crossencoder_files(path)
    edit_json(path / "config_sentence_transformers.json", prompts={"query": "Find what contradicts it"})
    assert not compared(checked(path, monkeypatch, QWEN3)).reproduced


def test_a_missing_frame_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("akidb_embeddings.tokenization.pair_template.FRAME", frame.Frame(frame.FRAME.before, ""))
    assert not compared(checked(folder(QWEN3), monkeypatch, QWEN3)).reproduced


@pytest.mark.parametrize("trained", ["sigmoid", "identity"])
def test_another_activation_is_found_out_though_the_card_is_reproduced(
    trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = checked(folder(BERT), monkeypatch, BERT, activation=trained)
    assert compared(found).reproduced
    assert failed(found) == ([] if trained == "identity" else ["activation"])
    [text] = [check.text for check in found.checks if check.name == "activation"]
    if trained == "sigmoid":
        assert text == "the folder gives identity; sentence-transformers applies sigmoid to org/tiny"
    assert found.passed == (trained == "identity")


def test_nothing_is_compared_where_scores_are_no_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_tensor(copy_model(BERT, tmp_path / "model"), "classifier.bias", lambda bias: bias * float("nan"))
    found = checked(path, monkeypatch, BERT)
    assert not found.passed
    assert found.comparison is None
    assert [check.name for check in found.checks] == ["finite", "weights as stored"]
    assert "NaN or infinity" in found.checks[0].text


def test_a_card_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"card is 'minilm-l6-v2', an embedding model, but .* is a reranker"):
        verify(str(folder(BERT)), card="minilm-l6-v2")
    with pytest.raises(ConfigurationError, match=r"card is 'bge-reranker-v2-m3', a reranker, but .* is an embedding"):
        verify(str(BUNDLED), card="bge-reranker-v2-m3")
    with pytest.raises(ConfigurationError, match=r"card is 'bge-reranker-base'; .* ms-marco-minilm-l6-v2") as error:
        verify(str(folder(BERT)), card="bge-reranker-base")
    assert all(spec.name in str(error.value) for spec in RERANKERS.values() if spec.card)
    with pytest.raises(CheckpointError, match="is no reranker"):
        verify(str(BUNDLED), kind=RerankerSpec)


# Tolerances


def example(*scores: float) -> RerankExample:
    return RerankExample("query", tuple(map(str, range(len(scores)))), scores, "https://example.org", "identity")


def test_the_tolerance_is_a_share_of_the_spread_and_grows_with_coarseness_to_an_end() -> None:
    card = example(-6, 4)
    limits = [score_tolerance(card, bits) for bits in (None, 8, 6, 5, 4, 3, 2)]
    assert limits == sorted(limits)
    assert limits[0] == pytest.approx(0.2)
    assert limits[1] < limits[2] < limits[3] < limits[4] == limits[-1] == pytest.approx(2)
    assert score_tolerance(example(-0.6, 0.4), None) == pytest.approx(0.02)


def test_no_tolerance_hides_an_exchange_of_the_best_and_the_worst() -> None:
    """Otherwise a card of two documents would prove nothing."""
    for spec in RERANKERS.values():
        if spec.card:
            scores = spec.card.scores
            assert 2 * score_tolerance(spec.card, 2) < max(scores) - min(scores)


@pytest.mark.parametrize(
    ("computed", "same_order", "reproduced"),
    [
        ((10.5, 3.9, 4.0, 0.2), True, True),  # the middle ones are near each other
        ((10.0, 4.1, 4.0, 1.2), True, False),
        ((4.05, 4.1, 4.0, 0.0), False, False),
        ((10.0, 0.1, 4.0, 0.2), False, False),
    ],
)
def test_order_and_differences_both_count(computed: Any, same_order: bool, reproduced: bool) -> None:
    found = ScoreComparison(example(10, 4.1, 4, 0), np.array(computed, dtype=np.float32), 1.0)
    assert (found.same_order, found.reproduced) == (same_order, reproduced)


def test_other_scores_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checked(folder(XLM_ROBERTA), monkeypatch, XLM_ROBERTA)
    card = golden_card(XLM_ROBERTA)
    moved = (card.scores[0] + 1.1 * compared(found).tolerance, *card.scores[1:])
    other = dataclasses.replace(compared(found), card=dataclasses.replace(card, scores=moved))
    assert not dataclasses.replace(found, comparison=other).passed
