"""Output forms over REST and gRPC: the core's vectors in each precision, as numbers, base64 and bytes."""

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, from_base64, quantize
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.vectors import PRECISIONS
from tests.server.calls import stub
from tests.server.conftest import Running
from tests.server.rest_client import post, refused
from tests.server.test_rpc import CODE, unpacked
from tests.server.test_rpc import refused as refused_call

TEXTS = ["Hello world", "", "Über den Wolken 🦊 東京"]
FORMS = [precision for precision in PRECISIONS if precision != "uint8"]
GIVEN = np.random.default_rng(3).normal(size=20).astype(np.float32)


@pytest.mark.parametrize("precision", FORMS)
def test_vectors_are_the_cores_in_each_precision(server: Running, bundled: EmbeddingService, precision: str) -> None:
    with bundled.with_options(dimensions=20) as core:
        expected = core.encode(TEXTS, precision=precision)
    body = {"texts": TEXTS, "dimensions": 20, "precision": precision}
    plain = post(server, json=body).raise_for_status().json()
    coded = post(server, json=body | {"encoding_format": "base64"}).raise_for_status().json()
    with stub(server.target) as client:
        packed = client.Embed(pb.EmbedRequest(texts=TEXTS, dimensions=20, precision=precision))
    read = [
        np.array(plain["embeddings"]).astype(expected.vectors.dtype),
        from_base64(coded["embeddings"], precision),
        unpacked(packed),
    ]
    for found in read:
        np.testing.assert_array_equal(found, expected.vectors)
    for answer in (plain, coded):
        assert (answer["dimension"], answer["precision"]) == (20, precision)
        assert answer["fingerprint"] == expected.fingerprint
    assert (packed.dimension, packed.precision, packed.fingerprint) == (20, precision, expected.fingerprint)


def test_float32_is_the_default_and_numbers_are(server: Running, bundled: EmbeddingService) -> None:
    body = {"texts": TEXTS, "precision": None, "encoding_format": None}
    answer = post(server, json=body).raise_for_status().json()
    with stub(server.target) as client:
        packed = client.Embed(pb.EmbedRequest(texts=TEXTS))
    assert answer["precision"] == packed.precision == "float32"
    assert answer["fingerprint"] == packed.fingerprint == bundled.fingerprint()
    assert all(isinstance(number, float) for number in answer["embeddings"][0])
    for options in ({}, {"precision": "int8"}, {"precision": "binary", "encoding_format": "base64"}):
        assert post(server, json={"texts": []} | options).raise_for_status().json()["dimension"] == 384


@pytest.mark.parametrize("precision", FORMS)
@pytest.mark.parametrize("normalize", [True, False])
def test_given_vectors_are_converted_like_the_computed_ones(
    server: Running, bundled: EmbeddingService, precision: str, normalize: bool
) -> None:
    with bundled.with_options(dimensions=20, normalize=normalize) as core:
        computed = core.embed(["one", "three"], precision=precision)
        accepted = quantize(core.accept([GIVEN]), precision)
    texts = ["one", "two", "three"]
    body = {
        "texts": texts, "embeddings": [None, GIVEN.tolist(), None], "dimensions": 20, "normalize": normalize,
        "precision": precision, "encoding_format": "base64",
    }  # fmt: skip
    found = from_base64(post(server, json=body).raise_for_status().json()["embeddings"], precision)
    np.testing.assert_array_equal(found, [computed[0], accepted[0], computed[1]])
    with stub(server.target) as client:
        vectors = [pb.Vector(), pb.Vector(values=GIVEN.tolist()), pb.Vector()]
        request = pb.EmbedRequest(
            texts=texts, embeddings=vectors, dimensions=20, normalize=normalize, precision=precision
        )
        np.testing.assert_array_equal(unpacked(client.Embed(request)), found)


def test_a_given_vector_beyond_float16_is_refused_by_its_index(server: Running) -> None:
    body = {"texts": ["a", "b"], "embeddings": [None, [1e6, 1.0]], "dimensions": 2, "normalize": False}
    told = refused(post(server, json=body | {"precision": "float16"}), 422, "invalid", "embeddings[1]")
    assert told["error"].startswith("embeddings[1] has a value beyond float16's 65504")
    assert post(server, json=body).status_code == 200


@pytest.mark.parametrize("precision", ["uint8", "int4", ""])
def test_a_precision_that_cannot_be_had_is_refused(server: Running, precision: str) -> None:
    told = refused(post(server, json={"texts": ["x"], "precision": precision}), 422, "invalid", "precision")
    assert "'float32', 'float16', 'int8', 'binary' or 'ubinary'" in told["error"]
    with stub(server.target) as client:
        error = refused_call(lambda: client.Embed(pb.EmbedRequest(texts=["x"], precision=precision)))
        streamed = list(client.EmbedStream(iter([pb.EmbedRequest(texts=["x"], precision=precision)])))
    assert error.code() == CODE.INVALID_ARGUMENT
    assert error.details().startswith(f"precision is {precision!r}")
    assert (streamed[0].error.type, streamed[0].error.field) == ("invalid", "precision")
    refused(post(server, json={"texts": ["x"], "encoding_format": "hex"}), 422, "invalid", "encoding_format")


def test_openais_endpoint_takes_no_precision(server: Running) -> None:
    refused(post(server, "/v1/embeddings", json={"input": "x", "precision": "int8"}), 422, "invalid", "precision")
