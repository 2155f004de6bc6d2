"""Sparse weights and token vectors over REST: the core's numbers, and what is refused."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from tests.fixtures import model_path
from tests.outputs import bge_m3
from tests.server.conftest import Running, server_here
from tests.server.rest_client import get, post, refused

TEXTS = ["the river of the world", "", "what is it"]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, EmbeddingService]]:
    folders = {
        "bge": bge_m3(tmp_path_factory.mktemp("bge") / "model"),
        "splade": model_path("tiny-splade"),
        "colbert": model_path("tiny-colbert"),
    }
    made = {name: EmbeddingService(str(folder)) for name, folder in folders.items()}
    yield made
    for service in made.values():
        service.close()


@pytest.fixture(scope="module")
def here(services: dict[str, EmbeddingService]) -> Iterator[Running]:
    with server_here(services) as running:
        yield running


@pytest.mark.parametrize("name", ["bge", "splade"])
def test_weights_are_the_cores(here: Running, services: dict[str, EmbeddingService], name: str) -> None:
    answer = post(here, json={"texts": TEXTS, "model": name, "output": "sparse"}).raise_for_status().json()
    expected = services[name].encode(TEXTS, output="sparse")
    for told, vector in zip(answer["embeddings"], expected.vectors, strict=True):
        assert told["indices"] == vector.indices.tolist()
        np.testing.assert_array_equal(np.array(told["values"], np.float32), vector.values)
    assert (answer["output"], answer["precision"]) == ("sparse", "float32")
    assert answer["fingerprint"] == expected.fingerprint
    assert answer["token_counts"] == expected.token_counts
    assert answer["dimension"] == services[name].checkpoint.config["vocab_size"]


@pytest.mark.parametrize("field", [{"prompt_name": "query"}, {"input_type": "search_query"}, {"input_type": "passage"}])
def test_token_vectors_are_the_cores(
    here: Running, services: dict[str, EmbeddingService], field: dict[str, str]
) -> None:
    answer = post(here, json={"texts": TEXTS, "model": "colbert", "output": "tokens"} | field).raise_for_status().json()
    role = "document" if field.get("input_type") == "passage" else "query"
    expected = services["colbert"].encode(TEXTS, prompt_name=role, output="tokens")
    for told, vectors in zip(answer["embeddings"], expected.vectors, strict=True):
        np.testing.assert_allclose(np.array(told, np.float32), vectors, atol=1e-6)
    assert (answer["output"], answer["dimension"]) == ("tokens", 8)
    assert answer["fingerprint"] == expected.fingerprint


def test_the_dense_vector_is_the_default(here: Running, services: dict[str, EmbeddingService]) -> None:
    for options in ({}, {"output": "dense"}, {"output": None}):
        answer = post(here, json={"texts": TEXTS} | options).raise_for_status().json()
        assert answer["output"] == "dense"
        np.testing.assert_allclose(answer["embeddings"], services["bge"].embed(TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"model": "splade"}, "output", "no output 'dense'; it has 'sparse'"),
        ({"model": "bge", "output": "tokens"}, "output", "it has 'dense' and 'sparse'"),
        ({"model": "colbert", "output": "sparse"}, "output", "it has 'tokens'"),
        ({"model": "colbert", "output": "tokens"}, "prompt_name", "queries and documents"),
        ({"output": "sparse", "pooling": "mean"}, "pooling", "is for dense vectors"),
        ({"output": "sparse", "normalize": True}, "normalize", "is for dense vectors"),
        ({"output": "sparse", "dimensions": 8}, "dimensions", "is for dense vectors"),
        ({"output": "sparse", "embeddings": [None, None, None]}, "embeddings", "is for dense vectors"),
        ({"output": "sparse", "precision": "int8"}, "precision", "is float32"),
        ({"output": "sparse", "encoding_format": "base64"}, "encoding_format", "is for dense vectors"),
        ({"output": "lexical"}, "output", "dense"),
    ],
)
def test_what_cannot_be_is_refused(here: Running, body: dict[str, Any], field: str, words: str) -> None:
    assert words in refused(post(here, json={"texts": TEXTS} | body), 422, "invalid", field)["error"]


def test_texts_that_are_too_long_are_cut_or_refused(here: Running) -> None:
    body = {"texts": ["the river " * 200], "model": "splade", "output": "sparse"}
    assert post(here, json=body).raise_for_status().json()["truncated"] == [True]
    assert refused(post(here, json=body | {"truncate": "error"}), 422, "invalid", "texts[0]")["limit"] == 128


def test_a_model_without_dense_vectors_is_ready(here: Running) -> None:
    assert get(here, "/readyz").json() == {"status": "ready", "problems": []}
    assert {one["name"]: one["pooling"] for one in get(here, "/info").json()["models"]} == {
        "bge": "cls",
        "splade": "sparse",
        "colbert": "tokens",
    }


def test_the_limits_that_are_told_are_those_of_documents(here: Running) -> None:
    told = {one["name"]: one for one in get(here, "/info").json()["models"]}
    assert (told["colbert"]["max_tokens"], told["colbert"]["model_max_tokens"]) == (48, 48)
    assert [told[name]["normalize"] for name in ("bge", "splade", "colbert")] == [True, False, True]


def test_the_log_tells_the_limit_of_queries(here: Running, caplog: pytest.LogCaptureFixture) -> None:
    body = {"texts": ["the river " * 200], "model": "colbert", "output": "tokens", "prompt_name": "query"}
    post(here, json=body).raise_for_status()
    assert [record.args for record in caplog.records if "at its limit" in record.msg] == [("colbert", 1, 1, 24)]
