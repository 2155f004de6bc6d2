"""Output forms on the command line: numbers, base64 and files of each precision."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, from_base64, similarity
from akidb_embeddings.cli import main
from akidb_embeddings.cli.options import add_precision_option
from akidb_embeddings.vectors import PRECISIONS, WITHOUT_RANGES
from tests.cli.tools import TINY

TEXTS = ["a cat", "", "the stock market"]
ODD = ("--dimensions", "20", "--untrained-dimensions")  # no multiple of 8


def expected(precision: str, dimensions: int | None = None) -> tuple[np.ndarray, str]:
    with EmbeddingService(TINY[1], dimensions=dimensions, untrained_dimensions=True) as service:
        result = service.encode(TEXTS, precision=precision)
    return result.vectors, result.fingerprint


def test_the_command_line_has_every_precision_that_needs_no_ranges() -> None:
    assert set(PRECISIONS) - set(WITHOUT_RANGES) == {"uint8"}
    parser = argparse.ArgumentParser()
    add_precision_option(parser)
    assert parser.parse_args([]).precision == "float32"
    with pytest.raises(SystemExit):
        parser.parse_args(["--precision", "uint8"])


@pytest.mark.parametrize("precision", WITHOUT_RANGES)
@pytest.mark.parametrize("as_base64", [False, True])
def test_a_line_has_the_vector_in_the_precision(
    precision: str, as_base64: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--base64"] if as_base64 else []
    assert main(["embed", *TEXTS, "--precision", precision, *flags, *TINY]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    vectors, fingerprint = expected(precision)
    found = [line["embedding"] for line in lines]
    rows = from_base64(found, precision) if as_base64 else np.array(found).astype(vectors.dtype)
    np.testing.assert_array_equal(rows, vectors)
    assert {line["fingerprint"] for line in lines} == {fingerprint}
    if precision in ("int8", "binary", "ubinary") and not as_base64:
        assert all(isinstance(number, int) for row in found for number in row)


@pytest.mark.parametrize("precision", WITHOUT_RANGES)
def test_a_numpy_file_has_the_precisions_type(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--precision", precision, "--format", "npy", "--output", "vectors.npy", *ODD, *TINY]
    assert main(["embed", *TEXTS, *arguments]) == 0
    vectors, fingerprint = expected(precision, 20)
    found = np.load("vectors.npy")
    np.testing.assert_array_equal(found, vectors)
    assert found.dtype == vectors.dtype
    told = f"akidb-embed: {precision} [3, {3 if 'binary' in precision else 20}], fingerprint {fingerprint}\n"
    assert capsys.readouterr().err == told


def test_a_numpy_file_of_no_texts_has_the_type_and_the_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("akidb_embeddings.cli.texts._lines", lambda stream, advice: iter(()))
    assert main(["embed", "-", "--precision", "ubinary", "--format", "npy", "--output", "v.npy", *ODD, *TINY]) == 0
    found = np.load("v.npy")
    assert (found.shape, found.dtype) == ((0, 3), np.uint8)


def test_base64_is_for_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", "text", "--base64", "--format", "npy", "--output", "v.npy", *TINY]) == 2
    assert "error: --base64 is for JSON lines" in capsys.readouterr().err
    assert not Path("v.npy").exists()


@pytest.mark.parametrize("precision", WITHOUT_RANGES)
def test_similarities_are_those_of_the_precision(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similarity", *TEXTS, "--json", "--precision", precision, *ODD, *TINY]) == 0
    found = json.loads(capsys.readouterr().out)
    vectors, fingerprint = expected(precision, 20)
    matrix = similarity(vectors, vectors, precision=precision, dimension=20)
    np.testing.assert_allclose(found["similarity"], matrix, atol=1e-6)
    assert found["fingerprint"] == fingerprint
