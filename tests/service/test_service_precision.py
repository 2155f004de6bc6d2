"""Vectors of the service in each precision: those that ``quantize`` makes, from every method, window by window."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, InputError, quantize, similarity
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.vectors import PRECISIONS
from tests.fixtures import copy_model, golden, model_path
from tests.golden.texts import QUERIES, TEXTS

FORMS = {"float32": "f4", "float16": "f2", "int8": "i1", "binary": "i1", "ubinary": "u1"}


@pytest.fixture(scope="module")
def bundled() -> Iterator[EmbeddingService]:
    with EmbeddingService(BUNDLED) as service:
        yield service


def test_every_precision_but_uint8_is_tested_here() -> None:
    assert set(PRECISIONS) == {*FORMS, "uint8"}


@pytest.mark.parametrize("precision", FORMS)
async def test_every_method_gives_the_precision_asked_for(bundled: EmbeddingService, precision: str) -> None:
    plain = bundled.encode(QUERIES)
    result = bundled.encode(QUERIES, precision=precision)
    expected = quantize(plain.vectors, precision)
    found = [
        result.vectors,
        bundled.embed(QUERIES, precision=precision),
        bundled.embed_queries(QUERIES, precision=precision),
        bundled.embed_documents(QUERIES, precision=precision),
        [bundled.embed_query(text, precision=precision) for text in QUERIES],
        (await bundled.aencode(QUERIES, precision=precision)).vectors,
        [await bundled.aembed_query(text, precision=precision) for text in QUERIES],
    ]
    if precision == "float32":
        assert result.fingerprint == plain.fingerprint
    else:
        assert result.fingerprint == f"{plain.fingerprint}-{precision}"
    assert result.fingerprint == bundled.fingerprint(precision=precision)
    assert expected.dtype == FORMS[precision]
    assert result.vectors.dtype == expected.dtype
    for vectors in found:  # one text alone is computed in another shape than among others: its last bit may differ
        if precision in ("binary", "ubinary"):
            ours, theirs = (np.unpackbits(np.asarray(each).view(np.uint8), axis=1) for each in (vectors, expected))
            assert (ours != theirs).mean() < 0.001
        else:
            np.testing.assert_allclose(
                np.asarray(vectors, np.float64), expected, atol=1 if precision == "int8" else 1e-3
            )


def test_a_long_list_is_converted_window_by_window() -> None:
    many = [f"text number {index}" for index in range(600)]
    with EmbeddingService(model_path("tiny-bert"), dimensions=20, untrained_dimensions=True) as service:
        plain = service.encode(many)
        for precision in ("int8", "binary"):
            found = service.encode(many, precision=precision).vectors
            np.testing.assert_array_equal(found, quantize(plain.vectors, precision))


@pytest.mark.parametrize(
    ("precision", "message"), [("uint8", "needs ranges.*the others"), ("int4", "it must be one of float32, float16")]
)
async def test_a_precision_that_cannot_be_had_is_refused_before_anything_is_computed(
    bundled: EmbeddingService, precision: str, message: str
) -> None:
    before = bundled.statistics.texts
    with pytest.raises(InputError, match=message):
        bundled.embed(QUERIES, precision=precision)
    with pytest.raises(InputError, match=message):
        await bundled.aembed_query(QUERIES[0], precision=precision)
    assert bundled.statistics.texts == before


@pytest.mark.parametrize("precision", FORMS)
def test_a_query_finds_its_document_in_every_form(bundled: EmbeddingService, precision: str) -> None:
    passages = [
        "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
        "The Treaty of Westphalia ended the Thirty Years' War in 1648.",
        "A binary search halves the interval of a sorted list at each step.",
        "Sourdough bread rises by wild yeast and bacteria instead of baker's yeast.",
        "Sugar is sold in bags of one kilogram.",
        "The bakery is closed on Mondays.",
    ]
    queries = ["how do plants make sugar?", "which peace ended the war of 1648?", "search in sorted data", "wild yeast"]
    found = similarity(
        bundled.embed_queries(queries, precision=precision),
        bundled.embed_documents(passages, precision=precision),
        precision=precision,
        dimension=bundled.dimension,
    )
    assert found.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_a_model_of_integers_has_its_own_int8() -> None:
    expected = golden("tiny-pplx")["queries"]
    with EmbeddingService(str(model_path("tiny-pplx")), normalize=True, max_tokens=1024) as service:
        exact, unit = service.embed(QUERIES, precision="int8"), service.embed(QUERIES)
    assert exact.dtype == np.int8
    np.testing.assert_array_equal(exact, expected)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("normalize", [False, True])
def test_bits_of_a_model_of_integers_are_the_signs_before_rounding(normalize: bool) -> None:
    texts = [text for text in TEXTS if text]
    means = golden("tiny-pplx")["texts_mean"][[bool(text) for text in TEXTS]]
    with EmbeddingService(str(model_path("tiny-pplx")), normalize=normalize, max_tokens=1024) as service:
        packed = service.embed(texts, precision="ubinary")
    np.testing.assert_array_equal(packed, np.packbits(means >= 0, axis=1))


def test_a_fingerprint_of_no_precision_is_refused() -> None:
    with EmbeddingService(BUNDLED) as service, pytest.raises(InputError, match="precision is 'foo'"):
        service.fingerprint(precision="foo")


def test_a_step_after_the_encoder_makes_another_engine(tmp_path: Path) -> None:
    folder = copy_model("tiny-pplx", tmp_path / "model")
    with EmbeddingService(str(folder), normalize=False) as first:
        integers = first.embed(["one text"])
        modules = json.loads((folder / "modules.json").read_text())
        (folder / "modules.json").write_text(json.dumps(modules[:-1]))
        with EmbeddingService(str(folder), normalize=False) as second:
            floats = second.embed(["one text"])
    assert np.array_equal(integers, np.round(integers))
    assert not np.array_equal(floats, np.round(floats))
