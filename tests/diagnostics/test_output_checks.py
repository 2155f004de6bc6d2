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
from akidb_embeddings.tokenization.tokenizer import Tokenized, Tokenizer
from akidb_embeddings.vectors.sparse import SparseVector
from tests.fixtures import copy_model, edit_json, long_but, model_path
from tests.outputs import bge_m3

AGREEMENT = {"alone and in a batch", "in another order", "the same text twice", "on several threads"}
DENSE = AGREEMENT | {"finite", "different texts differ", "long texts are flagged", "length 1"}
SPARSE = DENSE - {"length 1"} | {"positive weights"}
TOKENS = DENSE | {"one vector per token"}


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
    assert names == TOKENS | marked(TOKENS, "queries") | {"weights as stored"}


def test_each_output_of_a_model_is_checked(tmp_path: Path) -> None:
    found = verify(str(bge_m3(tmp_path / "model")))
    assert found.passed
    assert {check.name for check in found.checks} == DENSE | marked(SPARSE - {"different texts differ"}, "sparse") | {
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


def test_weights_that_are_larger_in_batches_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their cosines are equal, but they are compared by dot products."""

    def larger(self: Any, fingerprint: str) -> Any:
        factor = np.float32(1 + 0.01 * len(self.vectors))
        self.vectors = [SparseVector(vector.indices, vector.values * factor) for vector in self.vectors]
        return result(self, fingerprint)

    result = SparseJob.result
    monkeypatch.setattr(SparseJob, "result", larger)
    assert "alone and in a batch" in failed(model_path("tiny-splade"))


@pytest.mark.parametrize("change", [lambda values: values[:0], lambda values: -values])
def test_weights_that_are_missing_or_negative_are_found(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(self: Any, fingerprint: str) -> Any:
        self.vectors = [
            SparseVector(vector.indices[: len(change(vector.values))], change(vector.values)) for vector in self.vectors
        ]
        return result(self, fingerprint)

    result = SparseJob.result
    monkeypatch.setattr(SparseJob, "result", changed)
    assert "positive weights" in failed(model_path("tiny-splade"))


@pytest.mark.parametrize("change", [lambda vectors: vectors[:-1], lambda vectors: vectors[:0]])
def test_token_vectors_that_are_lost_are_found(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(self: Any, fingerprint: str) -> Any:
        self.vectors = [change(vectors) for vectors in self.vectors]
        return result(self, fingerprint)

    result = TokensJob.result
    monkeypatch.setattr(TokensJob, "result", changed)
    found = failed(model_path("tiny-colbert"))
    assert found >= {"one vector per token", "queries: one vector per token"}


def test_expansion_and_skiplists_that_are_ignored_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenizer, "expanded", lambda self, tokens, expansion: tokens)
    assert failed(model_path("tiny-colbert")) >= {"queries: one vector per token"}
    monkeypatch.setattr(np, "isin", lambda ids, others: np.zeros(len(ids), dtype=bool))
    assert failed(model_path("tiny-colbert")) >= {"one vector per token"}


@pytest.mark.parametrize("change", [{"query_length": 5}, {"document_length": 6}])
def test_low_limits_pass(change: dict[str, int], tmp_path: Path) -> None:
    folder = copy_model("tiny-colbert", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", **change)
    assert failed(folder) == set()


@pytest.mark.parametrize("most", [1, 40])
def test_few_weights_pass(most: int, tmp_path: Path) -> None:
    folder = copy_model("tiny-splade", tmp_path / "model")
    edit_json(folder / "config_sentence_transformers.json", max_active_dims=most)
    assert failed(folder) == set()
