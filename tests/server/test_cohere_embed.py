"""Cohere's API for vectors with its real clients: exact vectors of every type, prompts, warnings and refusals."""

from collections.abc import Iterator
from typing import Any

import cohere
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, from_base64
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.auth import ApiKeys
from tests.conftest import LONG, FakeModel, service
from tests.fixtures import model_path
from tests.server.conftest import RERANKER, Running, server_here
from tests.server.rest_client import COHERE_EMBED, post, refused
from tests.server.test_keys import KEY
from tests.server.test_tei import float32

TEXTS = ["Hello world", "", "Über den Wolken 🦊 東京", "word " * 400]
TYPES = ["float", "int8", "binary", "ubinary", "base64"]


@pytest.fixture
def client(server: Running) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2(api_key="none", base_url=server.url, timeout=LONG) as made:
        yield made


@pytest.mark.parametrize("types", [["float"], ["int8"], ["binary"], ["ubinary", "int8"], TYPES])
def test_vectors_are_the_librarys_in_every_type(
    client: cohere.ClientV2, bundled: EmbeddingService, types: list[str]
) -> None:
    answer = client.embed(model=BUNDLED, texts=TEXTS, input_type="search_document", embedding_types=types)
    found = answer.embeddings
    result = bundled.encode(TEXTS, prompt_name="document")
    rows = {
        "float": found.float_ and float32(found.float_),
        "base64": found.base64 and from_base64(found.base64),
        "int8": found.int8,
        "binary": found.binary,
        "ubinary": found.ubinary,
    }
    assert [name for name in TYPES if rows[name] is not None] == [name for name in TYPES if name in types]
    for name in types:
        precision = name if name in ("int8", "binary", "ubinary") else "float32"
        np.testing.assert_array_equal(rows[name], bundled.embed(TEXTS, precision=precision))
    assert answer.texts == TEXTS
    assert answer.response_type == "embeddings_by_type"
    assert answer.meta
    assert answer.meta.tokens
    assert answer.meta.tokens.input_tokens == sum(result.token_counts)
    assert answer.meta.warnings == ["1 text was truncated; the header x-akidb-truncated says which."]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # the first version's client does
async def test_the_other_clients_work(server: Running, bundled: EmbeddingService) -> None:
    expected = bundled.embed(TEXTS)
    async with cohere.AsyncClientV2(api_key="none", base_url=server.url, timeout=LONG) as client:
        answer = await client.embed(model=BUNDLED, texts=TEXTS, input_type="search_query")
        np.testing.assert_array_equal(float32(answer.embeddings.float_), expected)
    with cohere.Client(api_key="none", base_url=server.url, timeout=LONG) as first:
        plain = first.embed(model=BUNDLED, texts=TEXTS)
        assert plain.response_type == "embeddings_floats"
        np.testing.assert_array_equal(float32(plain.embeddings), expected)
        typed = first.embed(model=BUNDLED, texts=TEXTS, embedding_types=["int8"], truncate="END")
        assert typed.response_type == "embeddings_by_type"
        np.testing.assert_array_equal(typed.embeddings.int8, bundled.embed(TEXTS, precision="int8"))
        many = [f"text {index}" for index in range(200)]  # which the client divides into requests of 96
        assert len(first.embed(model=BUNDLED, texts=many).embeddings) == 200


def test_several_types_are_computed_once(fake: FakeModel) -> None:
    with service() as made, server_here({"m": made}) as here:
        body = {"texts": ["a", "b"], "embedding_types": TYPES}
        found = post(here, "/v2/embed", json=body).raise_for_status().json()
        assert list(found["embeddings"]) == TYPES
        assert len(fake.rows) == 2


def test_a_model_with_int8_of_its_own_gives_it() -> None:
    with EmbeddingService(str(model_path("tiny-pplx"))) as made, server_here({"m": made}) as here:
        texts = ["Hello world", "Bonjour"]
        found = post(here, "/v2/embed", json={"texts": texts, "embedding_types": TYPES}).raise_for_status().json()
        for name in ("int8", "binary", "ubinary"):
            np.testing.assert_array_equal(found["embeddings"][name], made.embed(texts, precision=name))
        np.testing.assert_array_equal(float32(found["embeddings"]["float"]), made.embed(texts))


@pytest.mark.parametrize(
    ("input_type", "name"),
    [
        ("search_document", "document"),
        ("search_query", "query"),
        ("classification", "classification"),
        ("clustering", "clustering"),
        (None, None),
    ],
)
def test_what_the_texts_are_for_chooses_the_prompt(input_type: str | None, name: str | None) -> None:
    with EmbeddingService(str(model_path("tiny-nomic-bert"))) as made, server_here({"m": made}) as here:
        texts, body = TEXTS[:3], {"texts": TEXTS[:3], "input_type": input_type}
        for path in COHERE_EMBED:
            found = post(here, path, json={**body, "embedding_types": ["float"]}).raise_for_status().json()
            np.testing.assert_array_equal(float32(found["embeddings"]["float"]), made.embed(texts, prompt_name=name))


def test_dimensions_are_cut_as_the_library_does(client: cohere.ClientV2, bundled: EmbeddingService) -> None:
    with bundled.with_options(dimensions=50) as cut:
        answer = client.embed(
            model=BUNDLED, texts=TEXTS, input_type="search_query", output_dimension=50, max_tokens=256, priority=3,
            embedding_types=["float", "ubinary"], truncate="END",
        )  # fmt: skip
        np.testing.assert_array_equal(float32(answer.embeddings.float_), cut.embed(TEXTS))
        np.testing.assert_array_equal(answer.embeddings.ubinary, cut.embed(TEXTS, precision="ubinary"))


REFUSED: list[tuple[dict[str, Any], int, str, str, str]] = [
    ({"texts": []}, 422, "invalid", "texts", "is empty"),
    ({}, 422, "invalid", "texts", "is missing"),
    ({"texts": ["a", 1]}, 422, "invalid", "texts[1]", "valid string"),
    ({"texts": "a"}, 422, "invalid", "texts", "valid array"),
    ({"images": ["data:image/png;base64,AA=="]}, 422, "invalid", "images", "embeds texts only"),
    ({"inputs": [{"content": []}]}, 422, "invalid", "inputs", "embeds texts only"),
    ({"texts": ["a"], "input_type": "image"}, 422, "invalid", "input_type", "embeds texts only"),
    ({"texts": ["a"], "input_type": "poem"}, 422, "invalid", "input_type", "'search_query'"),
    ({"texts": ["a"], "embedding_types": ["uint8"]}, 422, "invalid", "embedding_types", "needs ranges"),
    ({"texts": ["a"], "embedding_types": ["float16"]}, 422, "invalid", "embedding_types[0]", "'float'"),
    ({"texts": ["a"], "embedding_types": []}, 422, "invalid", "embedding_types", "at least 1"),
    ({"texts": ["a"], "truncate": "START"}, 422, "invalid", "truncate", "cut at the right side"),
    ({"texts": ["a"], "truncate": "end"}, 422, "invalid", "truncate", "'END'"),
    ({"texts": ["a"], "max_tokens": 255}, 422, "invalid", "max_tokens", "256 or more"),
    ({"texts": ["a"], "output_dimension": 385}, 422, "invalid", "output_dimension", "384"),
    ({"texts": ["a"], "prompt": "query"}, 422, "invalid", "prompt", "not a known field"),
    ({"texts": ["a"], "model": "embed-v4.0"}, 404, "not_found", "model", BUNDLED),
    ({"texts": ["a"], "model": RERANKER}, 404, "not_found", "model", "is a reranker"),
]


@pytest.mark.parametrize("path", COHERE_EMBED)
@pytest.mark.parametrize(("body", "status", "kind", "field", "words"), REFUSED)
def test_a_body_is_refused_by_what_is_wrong_with_it(
    server: Running, path: str, body: dict[str, Any], status: int, kind: str, field: str, words: str
) -> None:
    assert words in refused(post(server, path, json=body), status, kind, field)["message"]


def test_its_key_is_sent_and_refusals_are_its_errors(client: cohere.ClientV2, bundled: EmbeddingService) -> None:
    with pytest.raises(cohere.NotFoundError, match="No model is called"):
        client.embed(model="embed-v4.0", texts=TEXTS, input_type="search_query")
    with pytest.raises(cohere.UnprocessableEntityError, match="the limit is 256"):
        client.embed(model=BUNDLED, texts=TEXTS, input_type="search_query", truncate="NONE")
    with server_here({"m": bundled}, keys=ApiKeys([KEY])) as here:
        with cohere.ClientV2(api_key=KEY, base_url=here.url, timeout=LONG) as allowed:
            assert allowed.embed(model="m", texts=["a"], input_type="search_query").embeddings.float_
        with (
            cohere.ClientV2(api_key="other", base_url=here.url, timeout=LONG) as other,
            pytest.raises(cohere.UnauthorizedError),
        ):
            other.embed(model="m", texts=["a"], input_type="search_query")
