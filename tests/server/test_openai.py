"""OpenAI's clients, the real ones: exact vectors, usage, models, and errors of the classes that they expect."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import openai
import pytest
import tiktoken
from langchain_openai import OpenAIEmbeddings
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr

from akidb_embeddings import EmbeddingService
from akidb_embeddings.registry import BUNDLED
from tests.conftest import LONG, FakeModel, background, service
from tests.server.conftest import RERANKER, Running, server_here
from tests.server.rest_client import get, post, refused

TEXTS = ["Hello world", "", "Über den Wolken 🦊 東京", "word " * 400]


@pytest.fixture
def client(server: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=LONG) as made:
        yield made


@pytest.fixture
async def aclient(server: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=LONG) as made:
        yield made


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], TEXTS[0]])
async def test_vectors_are_the_cores_to_the_last_bit(
    client: OpenAI, aclient: AsyncOpenAI, bundled: EmbeddingService, options: Any, texts: list[str] | str
) -> None:
    expected = bundled.encode([texts] if isinstance(texts, str) else texts)
    answers = [
        client.embeddings.create(model=BUNDLED, input=texts, **options),
        await aclient.embeddings.create(model=BUNDLED, input=texts, **options),
    ]
    for answer in answers:
        np.testing.assert_array_equal([_floats(item.embedding) for item in answer.data], expected.vectors)
        assert [item.index for item in answer.data] == list(range(len(expected.vectors)))
        assert {item.object for item in answer.data} == {"embedding"}
        assert (answer.object, answer.model) == ("list", BUNDLED)
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(expected.token_counts)


def test_dimensions_are_cut_and_normalized_as_the_core_does(client: OpenAI, bundled: EmbeddingService) -> None:
    answer = client.embeddings.create(model=BUNDLED, input=TEXTS, dimensions=50, user="someone")
    with bundled.with_options(dimensions=50) as cut:
        np.testing.assert_array_equal([item.embedding for item in answer.data], cut.embed(TEXTS))


def test_base64_is_of_little_endian_float32_and_float_is_the_default(
    server: Running, bundled: EmbeddingService
) -> None:
    [expected] = bundled.embed(["x"])
    body = post(server, "/v1/embeddings", json={"input": "x", "encoding_format": "base64"}).json()
    [vector] = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in body["data"]]
    np.testing.assert_array_equal(vector, expected)
    for body in ({"input": "x"}, {"input": "x", "encoding_format": None, "dimensions": None, "user": None}):
        [item] = post(server, "/v1/embeddings", json=body).json()["data"]
        np.testing.assert_array_equal(np.array(item["embedding"], dtype=np.float32), expected)


def test_the_models_are_listed(client: OpenAI) -> None:
    models = client.models.list().data
    assert [(model.id, model.object) for model in models] == [(BUNDLED, "model"), (RERANKER, "model")]


NAMES = ("minilm", "org/name", "org/a/b", "a b?#%2F", "models", "é")


@pytest.mark.parametrize("name", NAMES)
async def test_a_model_is_retrieved_by_its_name(bundled: EmbeddingService, name: str) -> None:
    with server_here(dict.fromkeys(NAMES, bundled)) as here:
        options: dict[str, Any] = {"base_url": f"{here.url}/v1", "api_key": "none", "max_retries": 0, "timeout": LONG}
        with OpenAI(**options) as client:
            model = client.models.retrieve(name)
            assert (model.id, model.object) == (name, "model")
            assert model in client.models.list().data
        async with AsyncOpenAI(**options) as aclient:
            assert (await aclient.models.retrieve(name)).id == name
        if name.isascii() and name.replace("/", "").isalpha():  # as clients write it that do not encode a slash
            assert get(here, f"/v1/models/{name}").json()["id"] == name


@pytest.mark.parametrize("name", ["gpt", "org/gpt", "../models", f"{BUNDLED}/", BUNDLED.upper(), "x" * 3000])
def test_an_unknown_model_is_not_found(client: OpenAI, server: Running, name: str) -> None:
    with pytest.raises(openai.NotFoundError, match=f"this server has {BUNDLED}") as unknown:
        client.models.retrieve(name)
    assert (unknown.value.param, unknown.value.code, unknown.value.type) == (
        "model",
        "not_found",
        "invalid_request_error",
    )
    refused(get(server, "/v1/models/"), 404, "not_found", "model")


def test_half_a_character_is_found_among_many_inputs(server: Running) -> None:
    """As JavaScript's strings have it, cut in the middle of an emoji; OpenAI's Python client cannot send it."""
    for content, field, place in (
        (r'{"input": ["a", "\ud83e\udd8a", "cut \ud83e", "\udd8a"]}', "input[2]", 5),
        (r'{"input": "\uDD8A", "user": "\ud83e"}', "input", 1),
        (r'{"input": ["a"], "model": "m\ud83e"}', "model", 2),
    ):
        told = refused(post(server, "/v1/embeddings", content=content.encode()), 422, "invalid", field)
        assert told["message"] == f"{field} has a lone surrogate at character {place}, which is not valid Unicode."


def test_errors_are_of_the_classes_that_the_client_knows(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=BUNDLED) as unknown:
        client.embeddings.create(model="text-embedding-3-small", input="x")
    assert (unknown.value.param, unknown.value.code, unknown.value.type) == (
        "model",
        "not_found",
        "invalid_request_error",
    )
    with pytest.raises(openai.UnprocessableEntityError, match="send at least one text") as empty:
        client.embeddings.create(model=BUNDLED, input=[])
    assert empty.value.param == "input"
    with pytest.raises(openai.UnprocessableEntityError) as many:
        client.embeddings.create(model=BUNDLED, input=["x"] * 2049)
    assert many.value.param == "input"
    with pytest.raises(openai.UnprocessableEntityError) as cut:
        client.embeddings.create(model=BUNDLED, input="x", dimensions=1000)
    assert cut.value.param == "dimensions"


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]], [[]], ["x", 3]])
def test_token_ids_are_refused_with_the_flag_that_avoids_them(server: Running, ids: Any) -> None:
    response = post(server, "/v1/embeddings", json={"input": ids})
    if ids == ["x", 3]:  # neither texts nor ids
        assert response.status_code == 422
        assert response.json()["error"]["param"].startswith("input")
    else:
        assert "check_embedding_ctx_length=False" in refused(response, 400, "malformed", "input")["message"]


@pytest.mark.long
def test_an_overloaded_server_is_asked_again_by_the_client_itself(fake: FakeModel) -> None:
    statuses: list[int] = []

    def free(response: Any) -> None:
        statuses.append(response.status_code)
        fake.release()
        assert first.result(LONG).status_code == 200

    with service() as made, server_here({"m": made}, max_concurrent_requests=1) as here:
        fake.hold()
        first = background(lambda: post(here, json={"texts": ["x"]}))
        fake.entered()
        with openai.DefaultHttpxClient() as http:
            client = OpenAI(base_url=f"{here.url}/v1", api_key="none", http_client=http, max_retries=0)
            with pytest.raises(openai.RateLimitError):
                client.embeddings.create(model="m", input="x")
            http.event_hooks = {"response": [free]}
            assert client.with_options(max_retries=1).embeddings.create(model="m", input="x").data
    assert statuses == [429, 200]


@pytest.fixture
async def http() -> AsyncIterator[dict[str, Any]]:
    """langchain-openai's own clients are never closed."""
    with openai.DefaultHttpxClient() as client:
        async with openai.DefaultAsyncHttpxClient() as aclient:
            yield {"http_client": client, "http_async_client": aclient}


async def test_langchain_openai_works_with_the_flag(
    server: Running, bundled: EmbeddingService, http: dict[str, Any]
) -> None:
    embeddings = _langchain(server, check_embedding_ctx_length=False, **http)
    texts = [text for text in TEXTS if text]
    expected = bundled.embed(texts)
    np.testing.assert_array_equal(embeddings.embed_documents(texts), expected)
    np.testing.assert_array_equal(await embeddings.aembed_documents(texts), expected)
    np.testing.assert_array_equal(embeddings.embed_query("Hello world"), bundled.embed(["Hello world"])[0])
    np.testing.assert_array_equal(await embeddings.aembed_query("Hello world"), bundled.embed(["Hello world"])[0])


async def test_langchain_openai_without_the_flag_is_told_of_it(
    server: Running, monkeypatch: pytest.MonkeyPatch, http: dict[str, Any]
) -> None:
    # The real encodings would be downloaded. This one has a token for each byte.
    tokens = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=r".", mergeable_ranks=tokens, special_tokens={})
    monkeypatch.setattr(tiktoken, "get_encoding", lambda _: encoding)
    embeddings = _langchain(server, **http)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        embeddings.embed_documents(["Hello world"])
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        await embeddings.aembed_query("Hello world")


def _langchain(server: Running, **options: Any) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(
        model=BUNDLED, base_url=f"{server.url}/v1", api_key=SecretStr("none"), max_retries=0, timeout=LONG, **options
    )


def _floats(embedding: Any) -> Any:
    """What ``create`` gives: numbers, but the base64 itself to those who ask for it by name."""
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), "<f4")
    return np.array(embedding, dtype=np.float64).astype(np.float32)


def test_a_text_that_is_cut_is_told_by_a_header(server: Running) -> None:
    for texts, told in ((TEXTS, "3"), (TEXTS[:2], None), (TEXTS[3:] * 3, "0,1,2")):
        response = post(server, "/v1/embeddings", json={"input": texts})
        assert response.headers.get("x-akidb-truncated") == told
