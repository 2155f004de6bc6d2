"""REST: the core's vectors to the last bit, every option, vectors that the client has, and clients that leave."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray

from akidb_embeddings import EmbeddingService, __version__
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.vectors.finish import Vectors
from tests.conftest import FakeModel, background, eventually, service
from tests.server.conftest import Running, server_here
from tests.server.rest_client import client, get, post, refused

TEXTS = ["Hello world", "", "Über den Wolken 🦊 東京", "word " * 400, "Hello world"]
LONG_TEXT = "word " * 400


def numbers(rows: Any) -> Vectors:
    return np.array(rows, dtype=np.float64).astype(np.float32)


def unit(seed: int, length: int = 384, scale: float = 1.0) -> NDArray[np.float64]:
    vector = np.random.default_rng(seed).normal(size=length)
    return scale * vector / np.linalg.norm(vector)


def test_vectors_are_the_cores_to_the_last_bit(server: Running, bundled: EmbeddingService) -> None:
    expected = bundled.encode(TEXTS)
    answer = post(server, json={"texts": TEXTS}).raise_for_status().json()
    np.testing.assert_array_equal(numbers(answer["embeddings"]), expected.vectors)
    assert answer["model"] == BUNDLED
    assert answer["dimension"] == 384
    assert answer["token_counts"] == expected.token_counts
    assert answer["truncated"] == expected.truncated == [False, False, False, True, False]
    assert answer["fingerprint"] == expected.fingerprint
    assert set(answer["timings"]) == {"tokenize_ms", "queue_ms", "compute_ms", "total_ms"}
    assert 0 < answer["timings"]["compute_ms"] <= answer["timings"]["total_ms"]


@pytest.mark.long
def test_many_texts_are_in_order_and_their_vectors_the_cores(server: Running, bundled: EmbeddingService) -> None:
    texts = [f"text number {index}" for index in range(530)]  # more numbers than are written on the event loop's thread
    answer = post(server, json={"texts": texts}).raise_for_status().json()
    np.testing.assert_array_equal(numbers(answer["embeddings"]), bundled.embed(texts))


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "cls"},
        {"pooling": "last", "normalize": False},
        {"normalize": False},
        {"normalize": True, "truncate": "end"},
        {"dimensions": 100},
        {"dimensions": 7, "normalize": False, "pooling": "mean"},
        {"pooling": "auto", "dimensions": None, "normalize": None, "prompt": None, "model": None, "truncate": None},
    ],
)
def test_options_are_the_cores(server: Running, bundled: EmbeddingService, options: dict[str, Any]) -> None:
    answer = post(server, json={"texts": TEXTS} | options).raise_for_status().json()
    known = {key: options.get(key) for key in ("pooling", "normalize", "dimensions", "truncate")}
    with bundled.with_options(**known) as asked:
        expected = asked.encode(TEXTS)
    np.testing.assert_array_equal(numbers(answer["embeddings"]), expected.vectors)
    assert answer["dimension"] == expected.vectors.shape[1]
    assert answer["fingerprint"] == expected.fingerprint


def test_a_prompt_is_put_before_the_texts_by_its_name() -> None:
    with service(query_prompt="find: ", document_prompt="title: ") as made, server_here({"m": made}) as here:
        for prompt in ("query", "document", None):
            answer = post(here, json={"texts": ["Hello world"], "prompt": prompt}).raise_for_status().json()
            expected = made.encode(["Hello world"], prompt_name=prompt)
            np.testing.assert_array_equal(numbers(answer["embeddings"]), expected.vectors)
            assert answer["fingerprint"] == expected.fingerprint
        told = refused(post(here, json={"texts": ["x"], "prompt": "title"}), 422, "invalid", "prompt")
        assert "'title'" in told["error"]
        assert "query" in told["error"]


def test_a_text_that_is_too_long_is_cut_and_flagged_or_refused_by_its_index(server: Running) -> None:
    texts = ["short", LONG_TEXT]
    answer = post(server, json={"texts": texts, "truncate": "end"}).raise_for_status().json()
    assert (answer["truncated"], answer["token_counts"][1]) == ([False, True], 256)
    told = refused(post(server, json={"texts": texts, "truncate": "error"}), 422, "invalid", "texts[1]")
    assert told["limit"] == 256
    # The index is the client's also where the text before has its vector already.
    body = {"texts": texts, "truncate": "error", "embeddings": [unit(1).tolist(), None]}
    told = refused(post(server, json=body), 422, "invalid", "texts[1]")
    assert told["error"].startswith("texts[1] has 402 tokens")


def test_no_texts_give_no_vectors(server: Running) -> None:
    options: list[dict[str, Any]] = [{}, {"embeddings": []}, {"embeddings": None}]
    for given in options:
        answer = post(server, json={"texts": []} | given).raise_for_status().json()
        assert (answer["embeddings"], answer["token_counts"], answer["dimension"]) == ([], [], 384)


@pytest.mark.parametrize("normalize", [True, False, None])
def test_given_vectors_pass_through_among_computed_ones(
    server: Running, bundled: EmbeddingService, normalize: bool | None
) -> None:
    first, third = unit(1, scale=3.0), unit(2, scale=0.25)
    body = {
        "texts": ["one", "two", "three", "four"],
        "embeddings": [first.tolist(), None, third.tolist(), None],
        "normalize": normalize,
    }
    answer = post(server, json=body).raise_for_status().json()
    with bundled.with_options(normalize=normalize) as asked:
        computed, accepted = asked.encode(["two", "four"]), asked.accept([first, third])
    got = numbers(answer["embeddings"])
    np.testing.assert_array_equal(got[[1, 3]], computed.vectors)
    np.testing.assert_array_equal(got[[0, 2]], accepted)
    lengths = np.linalg.norm(got[[0, 2]].astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, [3.0, 0.25] if normalize is False else [1, 1], rtol=1e-6)
    assert [bool(count) for count in answer["token_counts"]] == [False, True, False, True]


def test_given_vectors_alone_need_no_model(server: Running) -> None:
    vectors = [unit(seed).tolist() for seed in range(3)]
    answer = post(server, json={"texts": ["a", "b", "c"], "embeddings": vectors}).raise_for_status().json()
    np.testing.assert_allclose(answer["embeddings"], vectors, atol=1e-7)
    assert answer["token_counts"] == [0, 0, 0]
    short = [vector[:10] for vector in vectors]
    body = {"texts": ["a", "b", "c"], "embeddings": short, "dimensions": 10}
    assert post(server, json=body).raise_for_status().json()["dimension"] == 10


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ("[1.0, 2.0]", "384"),
        ("[]", "384"),
        (f"[{'1,' * 384}1]", "384"),
        (f"[NaN{',1' * 383}]", "NaN"),
        (f"[1{',1' * 382},Infinity]", "infinity"),
        (f"[-Infinity{',1' * 383}]", "infinity"),
        (f"[1e39{',1' * 383}]", "infinity"),  # a float64, and no float32
        (f"[1e999{',1' * 383}]", "infinity"),
        (f"[0{',0' * 383}]", "zero"),
        (f"[1e-60{',0' * 383}]", "zero"),  # zero as float32
    ],
)
def test_a_given_vector_that_cannot_be_used_is_named(server: Running, vector: str, reason: str) -> None:
    body = '{"texts": ["a", "b", "c"], "embeddings": [null, null, ' + vector + "]}"
    told = refused(post(server, content=body), 422, "invalid", "embeddings[2]")
    assert reason in told["error"]
    assert told["error"].startswith("embeddings[2]")


def test_as_many_given_vectors_as_texts_are_wanted(server: Running) -> None:
    for given in ([], [None], [None] * 3):
        told = refused(post(server, json={"texts": ["a", "b"], "embeddings": given}), 422, "invalid", "embeddings")
        assert f"{len(given)} embeddings for 2 texts" in told["error"]


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain; charset=latin-1"])
def test_the_body_is_json_whatever_its_content_type_says(server: Running, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    content = '{"texts": ["Über"]}'.encode()
    for path, body in (("/embed", content), ("/v1/embeddings", b'{"input": "x"}')):
        assert post(server, path, content=body, headers=headers).status_code == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
def test_the_readmes_curl_works(server: Running) -> None:
    body = f'{{"texts": ["Hello world"], "model": "{BUNDLED}", "pooling": "mean", "normalize": true}}'
    command = ["curl", "--silent", "--noproxy", "*", f"{server.url}/embed", "-d", body]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f'{{"model":"{BUNDLED}","dimension":384,"embeddings":[[')


def test_info_tells_limits_and_models(server: Running, bundled: EmbeddingService) -> None:
    info = get(server, "/info").raise_for_status().json()
    assert info["version"] == __version__
    assert info["limits"]["max_texts"] == 2048
    assert {"max_body_bytes", "max_queued_tokens", "max_queue_seconds", "max_concurrent_requests"} < set(info["limits"])
    assert info["models"] == [
        {
            "name": BUNDLED,
            "default": True,
            "state": "loaded",
            "architecture": "bert",
            "dimension": 384,
            "max_tokens": 256,
            "model_max_tokens": 256,
            "pooling": "mean",
            "normalize": True,
            "truncate": "end",
            "prompts": ["document", "query"],
            "fingerprint": bundled.fingerprint(),
        }
    ]


def test_several_models_answer_by_name_and_the_first_by_default(bundled: EmbeddingService) -> None:
    with bundled.with_options(dimensions=8) as small, server_here({"small": small, "large": bundled}) as here:
        for model, dimension in (("small", 8), ("large", 384), (None, 8)):
            answer = post(here, json={"texts": ["x"], "model": model}).raise_for_status().json()
            assert (answer["model"], answer["dimension"]) == (model or "small", dimension)
        assert [model["default"] for model in get(here, "/info").json()["models"]] == [True, False]
        told = refused(post(here, json={"texts": ["x"], "model": "tiny"}), 404, "not_found", "model")
        assert "'tiny'" in told["error"]
        assert "small, large" in told["error"]


@pytest.fixture
def slow(fake: FakeModel) -> Iterator[EmbeddingService]:
    with service() as made:
        yield made
        fake.release()


def test_the_texts_of_a_client_that_leaves_leave_the_queue(slow: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"m": slow}) as here:
        fake.hold()
        first = background(lambda: post(here, json={"texts": ["stays"]}))
        fake.entered()
        address = urlsplit(here.url)
        body = b'{"texts": ["leaves", "leaves too"]}'
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as leaving:
            leaving.sendall(b"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            assert eventually(lambda: slow.statistics.waiting_tokens)
        assert eventually(lambda: here.handler is not None and here.handler.in_flight == 1)
        figures = get(here, "/metrics").text
        assert 'akidb_requests_total{outcome="cancelled",protocol="rest"} 1.0' in figures
        assert 'akidb_http_responses_total{status="499"} 1.0' in figures
        fake.release()
        assert first.result().status_code == 200
        assert eventually(lambda: not slow.statistics.waiting_tokens)
        assert len(fake.rows) == 1


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/info", "/", "/v1/models", f"/v1/models/{BUNDLED}", "/docs"]
)
def test_head_is_answered_as_get_without_the_body(server: Running, path: str) -> None:
    with client(server) as connection:
        body, head = connection.get(path), connection.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 1
        for name in ("date", "x-request-id", *["content-length"] * (path == "/metrics")):  # metrics grow
            del body.headers[name], head.headers[name]
        assert head.headers == body.headers
        assert connection.get("/livez").status_code == 200  # on the same connection, where nothing is left over


def test_head_is_refused_where_get_is(server: Running) -> None:
    for path, status, allow in (("/embed", 405, "POST"), ("/v1/embeddings", 405, "POST"), ("/nothing", 404, None)):
        with client(server) as connection:
            response = connection.head(path)
            assert (response.status_code, response.headers.get("allow"), response.content) == (status, allow, b"")
            assert connection.get("/livez").status_code == 200
    assert eventually(lambda: '"method": "HEAD /embed"' in server.log)
