"""Checks of sparse weights and token vectors: every model passes, and each check finds what it is there for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings.compute import masks
from akidb_embeddings.diagnostics.verify import verify
from akidb_embeddings.service.sparse_job import SparseJob
from akidb_embeddings.service.tokens_job import TokensJob
from akidb_embeddings.tokenization.tokenizer import Tokenized
from tests.fixtures import copy_model, long_but, model_path
from tests.outputs import bge_m3

AGREEMENT = {"alone and in a batch", "in another order", "the same text twice", "on several threads"}
SPARSE = AGREEMENT | {"finite", "different texts differ", "long texts are flagged"}
TOKENS = SPARSE | {"length 1"}


def failed(folder: Path) -> set[str]:
    return {check.name for check in verify(str(folder)).checks if not check.passed}


def marked(names: set[str], mark: str) -> set[str]:
    return {f"{mark}: {name}" for name in names}


@pytest.mark.parametrize("name", ["tiny-splade", "tiny-splade-distilbert"])
def test_sparse_models_pass(name: str) -> None:
    found = verify(str(model_path(name)))
    assert found.passed
    assert {check.name for check in found.checks} == SPARSE | {"weights as stored"}


@pytest.mark.parametrize("name", long_but(["tiny-colbert", "tiny-multivector"], "tiny-colbert"))
def test_models_of_token_vectors_pass(name: str) -> None:
    found = verify(str(model_path(name)))
    assert found.passed
    names = {check.name for check in found.checks}
    assert names >= SPARSE | marked(SPARSE, "queries")
    assert names <= TOKENS | marked(TOKENS, "queries") | {"weights as stored"}


def test_each_output_of_a_model_is_checked(tmp_path: Path) -> None:
    found = verify(str(bge_m3(tmp_path / "model")))
    assert found.passed
    assert {check.name for check in found.checks} == TOKENS | marked(SPARSE - {"different texts differ"}, "sparse") | {
        "weights as stored"
    }


@pytest.mark.parametrize("name", ["tiny-splade", "tiny-colbert"])
def test_a_weight_that_is_no_number_is_found(name: str, tmp_path: Path) -> None:
    folder = copy_model(name, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    [key] = [key for key in tensors if key.endswith("encoder.layer.1.output.LayerNorm.bias")]
    save_file(tensors | {key: tensors[key] * np.float32("nan")}, folder / "model.safetensors")
    assert failed(folder) == ({"finite"} if name == "tiny-splade" else {"finite", "queries: finite"})


@pytest.mark.parametrize("name", ["tiny-splade", "tiny-colbert"])
def test_padding_that_is_seen_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "padding_mask", lambda lengths, width: None)
    assert "alone and in a batch" in failed(model_path(name))


@pytest.mark.parametrize(("name", "job"), [("tiny-splade", SparseJob), ("tiny-colbert", TokensJob)])
def test_texts_that_are_mixed_up_are_found(name: str, job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def rotated(self: Any, fingerprint: str) -> Any:
        self.vectors = [*self.vectors[1:], *self.vectors[:1]]
        return result(self, fingerprint)

    result = job.result
    monkeypatch.setattr(job, "result", rotated)
    assert failed(model_path(name)) >= {"alone and in a batch", "in another order"}


@pytest.mark.parametrize("name", ["tiny-splade", "tiny-colbert"])
def test_texts_that_are_cut_in_silence_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenized, "truncated", property(lambda tokens: [False] * len(tokens.ids)))
    flagged = {"long texts are flagged"}
    assert failed(model_path(name)) == (flagged if name == "tiny-splade" else flagged | marked(flagged, "queries"))
