"""Published similarities: reproduced by the bundled model, and a model that is another one is found out."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import registry, verify
from akidb_embeddings.convert import convert
from akidb_embeddings.errors import ConfigurationError, ModelNotFoundError
from akidb_embeddings.registry import BUNDLED, MODELS, CardExample
from akidb_embeddings.verify import Verification, tolerance
from tests.fixtures import original_minilm
from tests.hub_server import isolate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AKIDB_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    return isolate(monkeypatch, tmp_path / "home")


def card() -> CardExample:
    found = MODELS[BUNDLED].card
    assert found is not None
    return found


def on_card(path: Path, monkeypatch: pytest.MonkeyPatch) -> Verification:
    """Verify another folder with the bundled model's card."""
    monkeypatch.setattr(verify, "_card", lambda *_: card())
    return verify.verify(str(path))


def test_the_bundled_model_reproduces_its_card() -> None:
    found = verify.verify(BUNDLED)
    assert found.reproduced
    assert found.bits == 8
    assert found.tolerance == 0.01
    assert 1e-4 < found.largest < 0.003  # quantized: near, and not the same
    np.testing.assert_array_equal(found.published, np.array(card().scores, dtype=np.float32))
    np.testing.assert_array_equal(found.differences, found.computed - found.published)
    assert found.largest == float(np.abs(found.differences).max())


def test_the_original_weights_reproduce_the_card_to_its_last_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = on_card(original_minilm(), monkeypatch)
    assert found.bits is None
    assert found.tolerance == 0.005
    assert found.largest <= 0.0001


@pytest.mark.parametrize(("bits", "reproduced"), [(4, True), (3, False)])
def test_each_quantization_has_a_tolerance_that_it_needs(
    bits: int, reproduced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(original_minilm(), tmp_path / "model", bits=bits)
    found = on_card(tmp_path / "model", monkeypatch)
    assert found.bits == bits
    assert found.largest > tolerance(8)
    assert found.reproduced == reproduced


def test_tolerance_grows_with_coarseness_to_an_end() -> None:
    limits = [tolerance(bits) for bits in (None, 8, 6, 5, 4, 3, 2)]
    assert limits == sorted(limits)
    assert limits[0] < limits[1] < limits[4] == limits[-1] <= 0.1


def test_other_similarities_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = tuple(tuple(score - 0.02 for score in row) for row in card().scores)
    spec = dataclasses.replace(MODELS[BUNDLED], card=dataclasses.replace(card(), scores=scores))
    monkeypatch.setattr(verify, "_card", lambda *_: spec.card)
    found = verify.verify(BUNDLED)
    assert not found.reproduced
    assert found.largest == pytest.approx(0.02, abs=1e-3)


def test_what_is_configured_does_not_matter(home: Path) -> None:
    (home / "embedding_config.yaml").write_text(
        "embedding: {pooling: cls, dimensions: 4, max_tokens: 3, query_prompt: 'other '}", encoding="utf-8"
    )
    assert verify.verify(BUNDLED).reproduced


def test_a_model_without_published_similarities(tmp_path: Path) -> None:
    convert(original_minilm(), tmp_path / "model")
    with pytest.raises(ConfigurationError) as error:
        verify.verify(str(tmp_path / "model"))
    assert all(spec.name in str(error.value) for spec in registry.MODELS.values() if spec.card)


def test_a_model_that_is_not_here_and_may_not_be_downloaded() -> None:
    with pytest.raises(ModelNotFoundError, match="not on this machine"):
        verify.verify("gemma-300m-4bit", auto_download=False)
