"""Ollama's API with its real clients: exact vectors, names with tags, what it tells of models, and what it refuses."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import ollama
import pytest
from langchain_ollama import OllamaEmbeddings

from akidb_embeddings import EmbeddingService, __version__
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.auth import ApiKeys
from tests.conftest import LONG
from tests.server.conftest import RERANKER, Running, server_here
from tests.server.rest_client import get, post, refused
from tests.server.test_keys import KEY
from tests.server.test_tei import float32

TEXTS = ["Hello world", "", "Über den Wolken 🦊 東京", "word " * 400]
NAMES = (BUNDLED, f"{BUNDLED}:latest")


@pytest.fixture
def client(server: Running) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url, timeout=LONG) as made:
        yield made


@pytest.fixture
async def aclient(server: Running) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=server.url, timeout=LONG) as made:
        yield made


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], TEXTS[0]])
async def test_vectors_are_the_librarys(
    client: ollama.Client, aclient: ollama.AsyncClient, bundled: EmbeddingService, name: str, texts: list[str] | str
) -> None:
    expected = bundled.encode([texts] if isinstance(texts, str) else texts)
    begin = time.monotonic()
    for answer in (client.embed(name, texts), await aclient.embed(name, texts, truncate=True, keep_alive="5m")):
        np.testing.assert_array_equal(float32(answer.embeddings), expected.vectors)
        assert (answer.model, answer.prompt_eval_count) == (name, sum(expected.token_counts))
        assert answer.total_duration is not None
        assert 0 < answer.total_duration < 1e9 * (time.monotonic() - begin)
        assert answer.load_duration == 0  # it was loaded when the server started


def test_every_option_works(client: ollama.Client, bundled: EmbeddingService) -> None:
    with bundled.with_options(dimensions=50) as cut:
        answer = client.embed(BUNDLED, TEXTS, dimensions=50, keep_alive=-1, options={"num_ctx": 8192, "temperature": 0})
        np.testing.assert_array_equal(float32(answer.embeddings), cut.embed(TEXTS))
    assert list(client.embed(BUNDLED, []).embeddings) == []  # how Ollama's clients load a model
    with pytest.raises(ollama.ResponseError, match="the limit is 256") as caught:
        client.embed(BUNDLED, TEXTS, truncate=False)
    assert caught.value.status_code == 422


@pytest.mark.long
def test_the_older_route_has_the_same_vectors(client: ollama.Client, bundled: EmbeddingService) -> None:
    for text in TEXTS:
        found = client.embeddings(BUNDLED, text, keep_alive=0, options={"seed": 1}).embedding
        np.testing.assert_array_equal(float32(found), bundled.embed([text])[0])


@pytest.mark.long
async def test_vectors_of_langchains_client_are_the_librarys(server: Running, bundled: EmbeddingService) -> None:
    made = OllamaEmbeddings(
        model=BUNDLED, base_url=server.url, keep_alive=60, num_ctx=4096, validate_model_on_init=True,
        client_kwargs={"timeout": LONG},
    )  # fmt: skip
    assert made._client
    assert made._async_client
    with made._client:
        np.testing.assert_array_equal(float32(made.embed_documents(TEXTS)), bundled.embed(TEXTS))
        np.testing.assert_array_equal(float32(made.embed_query("Hello world")), bundled.embed(["Hello world"])[0])
    async with made._async_client:
        np.testing.assert_array_equal(float32(await made.aembed_documents(TEXTS)), bundled.embed(TEXTS))


def test_embedding_models_are_listed_with_a_tag(client: ollama.Client, bundled: EmbeddingService) -> None:
    [model] = client.list().models
    assert model.model == f"{BUNDLED}:latest"
    assert model.digest == bundled.fingerprint()
    assert model.modified_at is not None
    assert model.details is not None
    assert (model.details.family, model.details.families) == ("bert", ["bert"])


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_described(client: ollama.Client, name: str) -> None:
    found = client.show(name)
    assert found.capabilities == ["embedding"]
    assert found.modelinfo == {
        "general.architecture": "bert",
        "bert.context_length": 256,
        "bert.embedding_length": 384,
    }


def test_the_model_may_be_left_out(server: Running) -> None:
    assert post(server, "/api/embed", json={"input": "a"}).json()["model"] == BUNDLED
    assert post(server, "/api/show", json={}).status_code == 200
    assert post(server, "/api/show", json={"name": BUNDLED}).status_code == 200


def test_a_model_may_have_a_tag_of_its_own(bundled: EmbeddingService) -> None:
    with bundled.with_options(dimensions=8) as small, server_here({"m": bundled, "m:latest": small}) as here:
        for name, dimension in (("m", 384), ("m:latest", 8)):
            [vector] = post(here, "/api/embed", json={"model": name, "input": "a"}).json()["embeddings"]
            assert len(vector) == dimension


def test_the_version_is_this_servers(server: Running) -> None:
    assert get(server, "/api/version").json() == {"version": __version__}


@pytest.mark.parametrize("path", ["pull", "push", "create", "copy", "delete", "blobs/sha256:0", "generate", "chat"])
def test_what_this_server_has_not_is_refused_with_a_word(server: Running, path: str) -> None:
    body = {"model": "https://example.org/evil", "from": "../../etc/passwd", "stream": False}
    told = refused(post(server, f"/api/{path}", json=body), 404, "not_found")
    assert ("--model" if path not in ("generate", "chat") else "/api/embed") in told["error"]


def test_its_errors_are_the_clients(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="No model is called 'nomic-embed-text'") as caught:
        client.embed("nomic-embed-text", "a")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="No embedding model is called"):
        client.show("nomic-embed-text")
    with pytest.raises(ollama.ResponseError, match="is a reranker"):
        client.embed(RERANKER, "a")
    with pytest.raises(ollama.ResponseError, match="chooses its models"):
        client.pull("nomic-embed-text")


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"input": ["a", 1]}, 422, "invalid", "input"),
    ({"input": [1, 2]}, 400, "malformed", "input"),
    ({"input": {"a": 1}}, 422, "invalid", "input"),
    ({"input": "a", "truncate": "end"}, 422, "invalid", "truncate"),
    ({"input": "a", "keep_alive": "soon"}, 422, "invalid", "keep_alive"),
    ({"input": "a", "options": 1}, 422, "invalid", "options"),
    ({"input": "a", "dimensions": 385}, 422, "invalid", "dimensions"),
    ({"input": "a", "prompt": "b"}, 422, "invalid", "prompt"),
    ({"input": "a", "model": f"{BUNDLED}:8b"}, 404, "not_found", "model"),
    ({"input": "a", "model": ":latest"}, 404, "not_found", "model"),
]


@pytest.mark.parametrize(("body", "status", "kind", "field"), REFUSED)
def test_a_body_is_refused_by_what_is_wrong_with_it(
    server: Running, body: dict[str, Any], status: int, kind: str, field: str
) -> None:
    refused(post(server, "/api/embed", json=body), status, kind, field)


def test_unknown_paths_and_methods_are_refused_in_the_same_form(server: Running) -> None:
    refused(get(server, "/api/embed"), 405, "method_not_allowed")
    refused(get(server, "/api/nothing"), 404, "not_found")


def test_a_key_is_asked_for(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, keys=ApiKeys([KEY])) as here:
        refused(post(here, "/api/embed", json={"input": "a"}), 401, "unauthenticated")
        refused(get(here, "/api/tags"), 401, "unauthenticated")
        with ollama.Client(host=here.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=LONG) as allowed:
            assert len(allowed.embed("m", "a").embeddings) == 1
