"""Sparse weights and token vectors on the command line: those of the library, to the last bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, sparse_similarity
from akidb_embeddings.cli import main
from tests.fixtures import model_path
from tests.outputs import bge_m3

TEXTS = ["a cat", "", "Grüße an alle"]
SPLADE, COLBERT = str(model_path("tiny-splade")), str(model_path("tiny-colbert"))


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_sparse_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", *TEXTS, "--model", SPLADE]) == 0  # what the model has
    found = lines(capsys)
    with EmbeddingService(SPLADE) as service:
        expected = service.encode(TEXTS, output="sparse")
    for line, vector in zip(found, expected.vectors, strict=True):
        assert line["embedding"]["indices"] == vector.indices.tolist()
        np.testing.assert_array_equal(np.array(line["embedding"]["values"], np.float32), vector.values)
    assert [line["tokens"] for line in found] == expected.token_counts
    assert {line["fingerprint"] for line in found} == {expected.fingerprint}


@pytest.mark.parametrize("role", ["query", "document"])
def test_token_vectors(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", *TEXTS, "--model", COLBERT, "--vectors", "tokens", "--prompt", role]) == 0
    found = lines(capsys)
    with EmbeddingService(COLBERT) as service:
        expected = service.encode(TEXTS, output="tokens", prompt_name=role)
    for line, vectors in zip(found, expected.vectors, strict=True):
        np.testing.assert_array_equal(np.array(line["embedding"], np.float32), vectors)
    assert {line["fingerprint"] for line in found} == {expected.fingerprint}


@pytest.mark.parametrize(("role", "limit"), [("query", 24), ("document", 48)])
def test_the_limit_of_queries_is_told_where_they_are_cut(
    role: str, limit: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", "cat " * 99, "--model", COLBERT, "--prompt", role]) == 0
    assert f"1 of 1 texts were cut at {limit} tokens; that is the model's limit" in capsys.readouterr().err


def test_a_model_with_both_has_dense_ones_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(bge_m3(tmp_path / "model"))
    assert main(["embed", "a cat", "--model", model]) == 0
    assert main(["embed", "a cat", "--model", model, "--vectors", "sparse"]) == 0
    dense, sparse = (line["embedding"] for line in lines(capsys))
    assert len(dense) == 32
    assert set(sparse) == {"indices", "values"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", SPLADE, "--output", "x.npy"], "npy is for dense vectors, and these are 'sparse'"),
        (["--model", SPLADE, "--base64"], "--base64 is for dense vectors, and these are 'sparse'"),
        (["--model", SPLADE, "--precision", "int8"], "--precision is 'int8'; the output 'sparse' is float32"),
        (["--model", SPLADE, "--vectors", "dense"], "This model has no output 'dense'; it has 'sparse'"),
        (["--model", COLBERT], "Set --prompt to 'query' or 'document'"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "a cat", *arguments]) != 0
    shown = capsys.readouterr()
    assert words in shown.err
    assert not shown.out
    assert not Path("x.npy").exists()


def test_similarities_of_sparse_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similarity", *TEXTS, "--model", SPLADE, "--json"]) == 0
    [found] = lines(capsys)
    with EmbeddingService(SPLADE) as service:
        expected = service.encode(TEXTS, output="sparse")
    assert found["similarity"] == sparse_similarity(expected.vectors, expected.vectors).tolist()
    assert found["fingerprint"] == expected.fingerprint
    assert main(["similarity", *TEXTS, "--model", COLBERT]) != 0
    assert "compare queries with documents" in capsys.readouterr().err


@pytest.mark.parametrize(("model", "vectors"), [(SPLADE, "sparse"), (COLBERT, "tokens")])
def test_info_names_the_fingerprint_of_what_the_model_makes(
    model: str, vectors: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", model]) == 0
    shown = capsys.readouterr().out
    with EmbeddingService(model) as service:
        assert f"\nfingerprint      {service.fingerprint()} " in shown
    assert f"\nvectors          {vectors}\n" in shown
    assert "\npooling" not in shown
