"""Output forms: sentence-transformers' values, a vector by itself, similarities of each form, base64."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from akidb_embeddings import EmbeddingService, InputError, from_base64, quantize, similarity, to_base64
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.vectors import PRECISIONS
from tests.fixtures import cosines, golden
from tests.golden.texts import TEXTS

FORMS = [precision for precision in PRECISIONS if precision != "uint8"]
TYPES = {"float32": "f4", "float16": "f2", "int8": "i1", "uint8": "u1", "binary": "i1", "ubinary": "u1"}
FEW = settings(max_examples=60, deadline=None, derandomize=True)
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
SMALL = st.floats(-1000, 1000, width=32)


def matrices(elements: st.SearchStrategy[float] = FLOATS) -> st.SearchStrategy[NDArray[np.float32]]:
    return st.tuples(st.integers(1, 5), st.integers(1, 20)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=elements)
    )


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def texts() -> NDArray[np.float32]:
    """Real vectors."""
    with EmbeddingService(BUNDLED) as service:
        return service.embed([text for text in TEXTS if len(text) < 200])


# sentence-transformers' definitions


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_ranges_give_what_sentence_transformers_gives(precision: str) -> None:
    data = golden("quantized")
    found = quantize(data["vectors"], precision, ranges=data["ranges"])
    expected = data[precision]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype == precision
    outside = (data["vectors"] < data["ranges"][0]) | (data["vectors"] > data["ranges"][1])
    assert outside.any(axis=1).mean() > 0.5, "values outside the ranges must be there for this test to mean all it says"
    assert (data["ranges"][0] == data["ranges"][1]).any(), "and a range of no width"


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_calibration_gives_what_sentence_transformers_gives(precision: str) -> None:
    data = golden("quantized")
    found = quantize(data["vectors"], precision, calibration=data["calibration"])
    np.testing.assert_array_equal(found, data[f"{precision}_calibrated"])
    assert found.dtype == precision


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_packed_signs_are_those_of_sentence_transformers(precision: str) -> None:
    data = golden("quantized")
    found = quantize(data["vectors"], precision)
    np.testing.assert_array_equal(found, data[precision])
    assert found.dtype == data[precision].dtype == TYPES[precision]
    assert (data["vectors"] == 0).any(), "a zero, whose bit is 0, must be there for this test to mean all it says"


# Each form


@FEW
@given(matrices(SMALL), st.sampled_from(FORMS))
def test_a_vector_does_not_depend_on_its_neighbours(vectors: NDArray[np.float32], precision: str) -> None:
    together = quantize(vectors, precision)
    alone = np.concatenate([quantize(vectors[index : index + 1], precision) for index in range(len(vectors))])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[::-1], quantize(vectors[::-1], precision))


@FEW
@given(matrices())
def test_int8_scales_each_vector_by_its_largest_value(vectors: NDArray[np.float32]) -> None:
    found = quantize(vectors, "int8")
    assert found.dtype == np.int8
    largest = np.abs(vectors).max(axis=1).astype(np.float64)
    np.testing.assert_array_equal(np.abs(found).max(axis=1), np.where(largest > 0, 127, 0))
    exact = 127 * vectors.astype(np.float64) / np.where(largest > 0, largest, 1)[:, None]
    assert np.abs(found - exact).max() <= 0.5001


def test_int8_keeps_the_direction_of_real_vectors(texts: NDArray[np.float32]) -> None:
    assert cosines(quantize(texts, "int8"), texts).min() >= 0.9995


def test_a_zero_vector_stays_zero() -> None:
    vectors = np.zeros((1, 16), dtype=np.float32)
    for precision in ("float32", "float16", "int8", "ubinary"):
        assert not quantize(vectors, precision).any()
    assert (similarity(vectors, normal(2, 16)) == 0).all()


def test_float16_is_the_nearest_and_never_infinite() -> None:
    vectors = np.array([[1 / 3, -65504.0, 65510.0, 1e-9]], dtype=np.float32)
    assert quantize(vectors, "float16").tolist() == [[0.333251953125, -65504.0, 65504.0, 0.0]]
    with pytest.raises(InputError, match=r"vectors\[7\] has a value beyond float16's 65504.*float32"):
        quantize([[0.0, 1.0], [1.0, -65520.0]], "float16", first_index=6)


def test_the_last_byte_is_filled_with_zero_bits() -> None:
    vectors = np.array([[1, -1, 0, 1, 1, 1, 1, 1, 1, -1, 1]], dtype=np.float32)
    assert quantize(vectors, "ubinary").tolist() == [[0b10011111, 0b10100000]]
    assert quantize(vectors, "binary").tolist() == [[0b10011111 - 128, 0b10100000 - 128]]


@pytest.mark.parametrize("precision", FORMS)
def test_no_vectors_have_a_type_and_a_width(precision: str) -> None:
    found = quantize(np.empty((0, 12)), precision)
    assert found.dtype == TYPES[precision]
    assert found.shape == (0, 2 if "binary" in precision else 12)


def test_values_far_outside_narrow_or_wide_ranges_count_as_their_ends() -> None:
    ranges = [[0.0, -1e38, 0.5], [1e-30, 1e38, 0.5]]
    found = quantize([[3e38, 0.0, 1e9], [-3e38, -3e38, -1e9]], "uint8", ranges=ranges)
    assert found.tolist() == [[255, 127, 255], [0, 0, 0]]


# What is refused

GOOD = [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("vectors", "precision", "options", "message"),
    [
        (GOOD, "int4", {}, r"precision is 'int4'; it must be one of float32, float16, int8, uint8, binary, ubinary"),
        (GOOD, "uint8", {}, "precision is 'uint8', which needs ranges.*the others.*calibration=VECTORS.*choose int8"),
        (GOOD, "binary", {"ranges": GOOD}, "precision is 'binary'; ranges and calibration are only for int8 and uint8"),
        (GOOD, "float32", {"calibration": GOOD}, "ranges and calibration are only for int8 and uint8"),
        (GOOD, "int8", {"ranges": GOOD, "calibration": GOOD}, "ranges or calibration, not both"),
        (GOOD, "int8", {"ranges": [[0.0], [1.0]]}, r"have shape \(2, 1\); \[2, 2\] is expected"),
        (GOOD, "int8", {"ranges": [*GOOD, *GOOD]}, r"have shape \(4, 2\)"),
        (GOOD, "int8", {"ranges": [0.0, 1.0]}, r"ranges has shape \(2,\)"),
        (GOOD, "int8", {"ranges": [[0.0, 2.0], [1.0, 1.5]]}, "dimension 1 is 2 to 1.5; the minimum comes first"),
        (GOOD, "int8", {"ranges": [[-3e38, 0.0], [3e38, 1.0]]}, "dimension 0 is -3e\\+38 to 3e\\+38"),
        (GOOD, "int8", {"ranges": [[0.0, 0.0], [1.0, np.nan]]}, r"ranges\[1\] has NaN"),
        (GOOD, "int8", {"calibration": np.empty((0, 2))}, "calibration has no vectors"),
        (GOOD, "int8", {"calibration": [[1.0, 2.0, 3.0]]}, r"have shape \(2, 3\); \[2, 2\] is expected"),
        ([1.0, 2.0], "int8", {}, r"vectors has shape \(2,\); an array \[n, d\] is expected. For a single row, give \["),
        ([], "int8", {}, r"vectors has shape \(0,\)"),
        (np.empty((2, 0)), "int8", {}, r"vectors has shape \(2, 0\)"),
        ([[1.0], [1.0, 2.0]], "int8", {}, "vectors has rows of different lengths"),
        ([["a"]], "int8", {}, "numbers are expected"),
        ([[1.0, 2.0], [np.nan, 0.0]], "int8", {"first_index": 5}, r"vectors\[6\] has NaN or infinity"),
        ([[-np.inf, 0.0]], "binary", {}, r"vectors\[0\] has NaN or infinity"),
        ([[1e39, 0.0]], "float32", {}, r"vectors\[0\] has NaN or infinity, or a value beyond float32"),
        (np.zeros((1, 2), dtype=np.int8), "binary", {}, "vectors is int8, already quantized"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused(
    vectors: Any, precision: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        quantize(vectors, precision, **options)


# Similarity


@FEW
@given(matrices(SMALL), st.integers(0, 99))
def test_similarity_of_floats_is_the_cosine(a: NDArray[np.float32], seed: int) -> None:
    b = normal(3, a.shape[1], seed=seed) * 1e-3
    found = similarity(a, b)
    assert found.dtype == np.float32
    assert found.shape == (len(a), 3)
    for index, row in enumerate(a.astype(np.float64)):
        norm = np.linalg.norm(row)
        expected = cosines(row[None], b) if norm > 0 else np.zeros(3)
        np.testing.assert_allclose(found[index], expected, atol=1e-5)


@FEW
@given(matrices(), st.integers(0, 99), st.sampled_from(["binary", "ubinary"]))
def test_similarity_of_packed_signs_is_the_cosine_of_the_signs(
    a: NDArray[np.float32], seed: int, precision: str
) -> None:
    b = normal(3, a.shape[1], seed=seed)
    signs, others = (np.where(vectors > 0, 1.0, -1.0) for vectors in (a, b))
    found = similarity(quantize(a, precision), quantize(b, precision), precision=precision, dimension=a.shape[1])
    np.testing.assert_allclose(found, signs @ others.T / a.shape[1], atol=1e-6)
    assert found.dtype == np.float32


def test_without_a_dimension_every_bit_counts() -> None:
    a, b = quantize(normal(2, 20), "binary"), quantize(normal(3, 20, seed=1), "binary")
    hamming = (1 - similarity(a, b, precision="binary", dimension=20)) * 20
    np.testing.assert_allclose((1 - similarity(a, b, precision="binary")) * 24, hamming, atol=1e-4)


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_similarity_of_coarser_values_is_near_that_of_floats(texts: NDArray[np.float32], precision: str) -> None:
    coarse = quantize(texts, precision)
    np.testing.assert_allclose(similarity(coarse, coarse, precision=precision), similarity(texts, texts), atol=0.01)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (normal(2, 4), normal(2, 3), {}, r"a has shape \(2, 4\) and b \(2, 3\); their rows must have the same length"),
        (normal(4), normal(2, 4), {}, r"a has shape \(4,\).*give \[a\]"),
        (normal(2, 4), [[np.nan] * 4], {}, r"b\[0\] has NaN"),
        (normal(2, 4), normal(2, 4), {"precision": "int8"}, r"a is float32, and int8 is int8; quantize\(a, 'int8'\)"),
        (normal(2, 4), normal(2, 4), {"precision": "bits"}, "precision is 'bits'; similarity takes float32, .*ubinary"),
        (normal(2, 4), normal(2, 4), {"dimension": 5}, "dimension is 5; the vectors have 4"),
        (np.ones((1, 2), np.uint8), np.ones((1, 2), np.uint8), {"precision": "uint8"}, "dequantize them first, by min"),
        (np.ones((1, 2), np.int8), np.ones((1, 2), np.int8), {}, "a is int8; give its precision: precision='int8'"),
        (np.ones((1, 2), np.int8), np.ones((1, 2), np.int8), {"precision": "ubinary"}, "a is int8, and ubinary is ui"),
        (
            np.ones((1, 2), np.int8), np.ones((1, 2), np.int8), {"precision": "binary", "dimension": 8},
            "dimension is 8; 2 bytes hold 9 to 16 bits",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(a: Any, b: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        similarity(a, b, **options)


@pytest.mark.parametrize("dimension", [True, 5.5, 5.0, np.float64(5), np.True_, "5"])
@pytest.mark.parametrize("precision", ["binary", "ubinary", "float32"])
def test_a_dimension_is_an_integer(precision: str, dimension: Any) -> None:
    form = quantize(normal(2, 5), precision)
    with pytest.raises(InputError, match=r"dimension is .*; an integer is expected, or None") as error:
        similarity(form, form, precision=precision, dimension=dimension)
    assert error.value.field == "dimension"
    five: Any = np.int64(5)
    found = similarity(form, form, precision=precision, dimension=five)
    np.testing.assert_array_equal(found, similarity(form, form, precision=precision, dimension=5))


# base64


@FEW
@given(matrices(SMALL), st.sampled_from(FORMS))
def test_base64_comes_back_as_it_was(vectors: NDArray[np.float32], precision: str) -> None:
    form = quantize(vectors, precision)
    found = from_base64(to_base64(form), precision)
    np.testing.assert_array_equal(found, form)
    assert found.dtype == form.dtype


def test_base64_has_the_low_bytes_first() -> None:
    big = np.array([[1.0, -2.0]], dtype=">f4")
    assert to_base64(big) == to_base64(big.astype("<f4")) == ["AACAPwAAAMA="]
    assert from_base64(["AACAPwAAAMA="]).tolist() == [[1.0, -2.0]]
    assert from_base64([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("rows", "precision", "message"),
    [
        ("AACAPw==", "float32", r"rows is one string; a list is expected"),
        (["AACAPw==", "AA*="], "float32", r"rows\[1\] is not base64"),
        ([None], "float32", r"rows\[0\] is not base64"),
        (["AACA"], "float32", r"rows\[0\] has 3 bytes; float32 has 4 per value"),
        (["AACA", "AAA="], "int8", r"rows\[1\] has 2 bytes, and rows\[0\] 3; int8 has 1 per value"),
        (["AACA"], "int9", "precision is 'int9'"),
    ],
)
def test_base64_that_holds_no_vectors_is_refused(rows: Any, precision: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_base64(rows, precision)


def test_float64_has_no_base64() -> None:
    with pytest.raises(InputError, match="vectors is float64; quantize"):
        to_base64(np.ones((1, 2)))


def test_mlx_is_not_needed() -> None:
    code = "import sys; from akidb_embeddings import quantize, similarity; sys.exit('mlx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
