"""Checks that need nothing to compare with: every architecture passes, and each finds what it is there for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService
from akidb_embeddings.compute import masks
from akidb_embeddings.diagnostics.checks import Check
from akidb_embeddings.diagnostics.vector_checks import check_vectors
from akidb_embeddings.service.vectors_job import VectorsJob
from akidb_embeddings.tokenization.tokenizer import Tokenized
from tests.fixtures import STATIC, copy_model, long_but, model_path
from tests.random_models import BERT, CONFIGS, random_model


def checks(folder: Path, **options: Any) -> dict[str, Check]:
    options = {"pooling": "auto", **options}
    with EmbeddingService(str(folder), normalize=True, **options) as service:
        return {check.name: check for check in check_vectors(service)}


def failed(folder: Path, **options: Any) -> set[str]:
    return {name for name, check in checks(folder, **options).items() if not check.passed}


def with_weights(folder: Path, **changes: Any) -> Path:
    """A random BERT in which the named tensors (dots as two underscores) are multiplied by a number."""
    random_model(folder, BERT)
    tensors = load_file(folder / "model.safetensors")
    for name, factor in changes.items():
        tensors[name.replace("__", ".")] *= np.float32(factor)
    save_file(tensors, folder / "model.safetensors")
    return folder


def with_nan(tmp_path: Path) -> Path:
    return with_weights(tmp_path / "model", encoder__layer__1__output__LayerNorm__bias=float("nan"))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("pooling", long_but(["mean", "last"], "mean"))
def test_every_architecture_passes(name: str, pooling: str, tmp_path: Path) -> None:
    # A random NomicBERT hardly attends: its weights would have to be as large as the tiny model's.
    is_nomic = name == "nomic-bert"
    folder = model_path("tiny-nomic-bert") if is_nomic else random_model(tmp_path / "model", CONFIGS[name])
    found = checks(folder, pooling=pooling)
    assert {check.name for check in found.values() if not check.passed} <= {"final token"}
    assert set(found) >= {"finite", "alone and in a batch", "in another order", "length 1", "long texts are flagged"}
    assert "on several threads" in found
    assert ("final token" in found) == (pooling == "last")


@pytest.mark.parametrize("name", STATIC)
def test_static_models_pass(name: str) -> None:
    """Though they read no order, and drop texts of which they know no token."""
    assert failed(model_path(name)) == set()


def test_figures_and_limits_are_told(tmp_path: Path) -> None:
    found = checks(random_model(tmp_path / "model", BERT))
    agreement = found["alone and in a batch"]
    assert agreement.figure is not None
    assert agreement.limit is not None
    assert 1 >= agreement.figure >= agreement.limit > 0.999
    assert found["long texts are flagged"].figure == found["long texts are flagged"].limit == 256


def test_a_weight_that_is_no_number_is_found(tmp_path: Path) -> None:
    found = checks(with_nan(tmp_path))
    assert list(found) == ["finite"]
    assert not found["finite"].passed
    assert "NaN or infinity" in found["finite"].text


def test_padding_that_is_seen_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "padding_mask", lambda lengths, width: None)
    found = failed(random_model(tmp_path / "model", BERT))
    assert "alone and in a batch" in found


def test_rows_that_are_mixed_up_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shift(job: VectorsJob) -> None:
        take(job)
        job.vectors = np.roll(job.vectors, 1, axis=0)

    take = VectorsJob._store_oldest
    monkeypatch.setattr(VectorsJob, "_store_oldest", shift)
    found = failed(random_model(tmp_path / "model", BERT))
    assert found >= {"alone and in a batch", "in another order"}


def test_zero_vectors_are_found(tmp_path: Path) -> None:
    nothing = {f"encoder__layer__1__output__LayerNorm__{name}": 0.0 for name in ("weight", "bias")}
    assert failed(with_weights(tmp_path / "model", **nothing)) == {"finite"}


def test_dead_positions_are_found(tmp_path: Path) -> None:
    dead = with_weights(tmp_path / "model", embeddings__position_embeddings__weight=0.0)
    found = checks(dead)["different texts differ"]
    assert not found.passed
    assert "A dog bites a man" in found.text
    assert failed(dead) == {"different texts differ"}


def test_texts_that_are_cut_in_silence_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenized, "truncated", property(lambda tokens: [False] * len(tokens.ids)))
    found = checks(random_model(tmp_path / "model", BERT))
    assert [check.name for check in found.values() if not check.passed] == ["long texts are flagged"]
    assert "NOT flagged" in found["long texts are flagged"].text


@pytest.mark.long
def test_the_wrong_final_token_is_found(tmp_path: Path) -> None:
    model = copy_model("tiny-qwen3", tmp_path / "model")
    content = (model / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = json.loads(content)
    [right] = [token["id"] for token in tokenizer["added_tokens"] if token["content"] == "<|endoftext|>"]
    wrong = next(token for token in tokenizer["added_tokens"] if token["id"] != right)
    ending = {"id": wrong["content"], "ids": [wrong["id"]], "tokens": [wrong["content"]]}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": wrong["content"], "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {wrong["content"]: ending},
    }
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert checks(model)["final token"].passed  # its files are complete: they decide
    (model / "modules.json").unlink()
    found = checks(model)["final token"]
    assert not found.passed
    assert f"end with token {wrong['id']}; must be <|endoftext|>, {right}" in found.text
