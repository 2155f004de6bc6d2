"""A vector of zeros has no direction: an error that names the text, by every way out."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from akidb_embeddings import EmbeddingService, ZeroVectorError
from akidb_embeddings.diagnostics.vector_checks import check_vectors
from akidb_embeddings.errors import InputError
from akidb_embeddings.vectors import WITHOUT_RANGES
from akidb_embeddings.vectors.precision import quantize
from tests.conftest import in_any_way
from tests.fixtures import copy_model

TEXTS = ["one", "two words", "three more words"]


def dead_model(folder: Path, kept: int = 0) -> Path:
    """tiny-bert whose last norm gives zeros but for ``kept`` dimensions at the end."""
    copy_model("tiny-bert", folder)
    tensors = load_file(folder / "model.safetensors")
    for name in ("encoder.layer.2.output.LayerNorm.weight", "encoder.layer.2.output.LayerNorm.bias"):
        tensors[name][: len(tensors[name]) - kept] = 0
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("precision", WITHOUT_RANGES)
def test_weights_of_zeros(tmp_path: Path, precision: str, normalize: bool) -> None:
    with EmbeddingService(str(dead_model(tmp_path / "model")), normalize=normalize) as service:
        with pytest.raises(ZeroVectorError, match=r"The model gave only zeros for texts\[0\] \(3 tokens\)"):
            in_any_way(service, TEXTS, precision=precision)
        with pytest.raises(ZeroVectorError, match=r"texts\[500\]"):
            service.encode(TEXTS, precision=precision, first_index=500)
        with pytest.raises(ZeroVectorError):
            service.embed_query("one", precision=precision)


@pytest.mark.parametrize("normalize", [True, False])
def test_a_cut_that_leaves_only_zeros(tmp_path: Path, normalize: bool) -> None:
    folder = dead_model(tmp_path / "model", kept=8)
    with EmbeddingService(str(folder), dimensions=25, normalize=normalize, untrained_dimensions=True) as service:
        assert np.count_nonzero(service.embed(TEXTS)) == len(TEXTS)
        with service.with_options(dimensions=24) as cut, pytest.raises(ZeroVectorError, match="too few dimensions"):
            cut.embed(TEXTS)


def test_verify_reports_them(tmp_path: Path) -> None:
    with EmbeddingService(str(dead_model(tmp_path / "model"))) as service:
        [check] = check_vectors(service)
    assert (check.name, check.passed) == ("finite", False)
    assert "only zeros" in check.text


def test_a_vector_that_vanishes_in_float16() -> None:
    vectors = np.array([[1, 0], [1e-9, -1e-9], [0, 0]], np.float32)
    with pytest.raises(InputError, match=r"vectors\[8\] has only values that are zero in float16"):
        quantize(vectors, "float16", first_index=7)
    np.testing.assert_array_equal(quantize(vectors[::2], "float16"), vectors[::2])  # it was zero before
