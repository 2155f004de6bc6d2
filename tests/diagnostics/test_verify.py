"""Verification: published similarities are reproduced, and a model that is another one is found out."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import registry
from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.diagnostics import verify
from akidb_embeddings.diagnostics.comparison import Comparison, tolerance
from akidb_embeddings.diagnostics.verify import Verification
from akidb_embeddings.errors import ConfigurationError, ModelNotFoundError
from akidb_embeddings.registry import BUNDLED, MODELS, CardExample
from tests.diagnostics.test_checks import with_nan
from tests.fixtures import BUNDLED as BUNDLED_FOLDER
from tests.fixtures import copy_model, edit_json, model_path, original_minilm
from tests.hub_server import isolate
from tests.random_models import BERT, random_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AKIDB_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return isolate(monkeypatch, tmp_path / "home")


def card() -> CardExample:
    found = MODELS[BUNDLED].card
    assert found is not None
    return found


def compared(found: Verification) -> Comparison:
    assert found.comparison is not None
    return found.comparison


@functools.cache
def bundled() -> Verification:
    return verify.verify(BUNDLED)


@pytest.mark.long
def test_the_bundled_model_reproduces_its_card_whatever_is_configured(home: Path) -> None:
    (home / "embedding_config.yaml").write_text(
        "embedding: {pooling: cls, dimensions: 4, max_tokens: 3, query_prompt: 'other '}", encoding="utf-8"
    )
    bundled.cache_clear()
    found = bundled()
    assert found.passed
    assert found.bits == 8
    comparison = compared(found)
    assert comparison.reproduced
    assert comparison.tolerance == 0.01
    assert 1e-4 < comparison.largest < 0.003  # quantized: near, and not the same
    np.testing.assert_array_equal(comparison.published, np.array(card().scores, dtype=np.float32))
    np.testing.assert_array_equal(comparison.differences, comparison.computed - comparison.published)
    assert comparison.largest == float(np.abs(comparison.differences).max())


@pytest.mark.long
def test_the_original_weights_reproduce_the_card_to_its_last_digit() -> None:
    found = verify.verify(str(original_minilm()), card=BUNDLED)
    assert found.bits is None
    assert compared(found).tolerance == 0.005
    assert compared(found).largest <= 0.0001


@pytest.mark.long
@pytest.mark.parametrize(("bits", "reproduced"), [(4, True), (3, False)])
def test_each_quantization_has_a_tolerance_that_it_needs(bits: int, reproduced: bool, tmp_path: Path) -> None:
    convert(original_minilm(), tmp_path / "model", bits=bits)
    found = verify.verify(str(tmp_path / "model"), card=BUNDLED)
    assert found.bits == bits
    assert compared(found).largest > tolerance(8)
    assert compared(found).reproduced == found.passed == reproduced


def test_tolerance_grows_with_coarseness_to_an_end() -> None:
    limits = [tolerance(bits) for bits in (None, 8, 6, 5, 4, 3, 2)]
    assert limits == sorted(limits)
    assert limits[0] < limits[1] < limits[4] == limits[-1] <= 0.1


@pytest.mark.long
def test_other_similarities_are_found_out() -> None:
    scores = tuple(tuple(score - 0.02 for score in row) for row in card().scores)
    other = dataclasses.replace(compared(bundled()), card=dataclasses.replace(card(), scores=scores))
    assert other.largest == pytest.approx(0.02, abs=1e-3)
    assert not dataclasses.replace(bundled(), comparison=other).passed


@pytest.mark.long
def test_another_pooling_than_the_trained_one_is_found_out_by_the_card_alone(tmp_path: Path) -> None:
    broken = copy_model(BUNDLED_FOLDER, tmp_path / "model")
    edit_json(broken / "1_Pooling" / "config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    found = verify.verify(str(broken), card=BUNDLED)
    assert not found.passed
    assert compared(found).largest > 0.1
    assert all(check.passed for check in found.checks)


def test_a_model_without_published_similarities_is_checked() -> None:
    found = verify.verify(str(model_path("tiny-qwen3")))
    assert found.comparison is None
    assert found.passed
    assert len(found.checks) == 10


def test_a_card_of_a_model_that_has_none() -> None:
    with pytest.raises(
        ConfigurationError, match="card is 'nothing'; similarities and scores are only published for "
    ) as error:
        verify.verify(BUNDLED, card="nothing")
    assert all(spec.name in str(error.value) for spec in registry.MODELS.values() if spec.card)


@pytest.mark.long
def test_cards_name_their_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ("a small example",)
    example = CardExample(text, text, ((1.0,),), "https://example.org")
    monkeypatch.setattr(verify, "_card", lambda *_: example)
    path = str(model_path("tiny-gemma3"))
    assert compared(verify.verify(path)).largest > 1e-3  # a query and a document have different prompts
    example = dataclasses.replace(example, query_prompt_name=None, document_prompt_name=None)
    assert compared(verify.verify(path)).largest < 1e-6
    example = dataclasses.replace(example, query_prompt_name="STS")
    assert compared(verify.verify(path)).largest > 1e-3


def test_nothing_is_compared_where_vectors_are_no_numbers(tmp_path: Path) -> None:
    found = verify.verify(str(with_nan(tmp_path)), card=BUNDLED)
    assert not found.passed
    assert found.comparison is None
    assert [check.name for check in found.checks] == ["finite", "weights as stored"]


def test_a_model_of_which_nothing_says_how_it_is_pooled_fails(tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", BERT)
    (model / "1_Pooling" / "config.json").unlink()
    found = verify.verify(str(model))
    assert [check.name for check in found.checks if not check.passed] == ["pooling"]
    assert "the folder does not say" in found.checks[0].text


def test_a_model_that_is_not_here_and_may_not_be_downloaded() -> None:
    with pytest.raises(ModelNotFoundError, match="not on this machine"):
        verify.verify("gemma-300m-4bit", auto_download=False)
