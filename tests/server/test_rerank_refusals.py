"""What requests for scores are refused for, over REST and gRPC: input that cannot be used, or a key that is missing.

``test_refusals`` has the same for embeddings.
"""

from typing import Any

import grpc
import pytest

from akidb_embeddings import EmbeddingConfig, RerankConfig, RerankService
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.loading import Settings, open_models
from tests.conftest import LONG
from tests.fixtures import model_path
from tests.server.calls import stub
from tests.server.conftest import Running, server_here
from tests.server.rest_client import client, get, post, refused

CODE = grpc.StatusCode
TEI, COHERE = {"query": "x", "texts": ["x"]}, {"query": "x", "documents": ["x"]}
ENDPOINTS = [("/rerank", TEI), ("/v1/rerank", COHERE), ("/v2/rerank", COHERE)]


@pytest.mark.parametrize(
    ("content", "status", "kind", "field"),
    [
        ("", 400, "malformed", None),
        ("{", 400, "malformed", None),
        ('["texts"]', 400, "malformed", None),
        ('{"query": "a"}', 422, "invalid", "texts"),
        ('{"texts": ["a"]}', 422, "invalid", "query"),
        ('{"query": null, "texts": ["a"]}', 422, "invalid", "query"),
        ('{"query": ["a"], "texts": ["a"]}', 422, "invalid", "query"),
        ('{"query": "a", "texts": null}', 422, "invalid", "texts"),
        ('{"query": "a", "texts": "b"}', 422, "invalid", "texts"),
        ('{"query": "a", "texts": []}', 422, "invalid", "texts"),
        ('{"query": "a", "texts": ["b", 1]}', 422, "invalid", "texts[1]"),
        ('{"query": "a", "texts": [{"text": "b"}]}', 422, "invalid", "texts[0]"),
        ('{"query": "a", "texts": ["b"], "raw_scores": 1}', 422, "invalid", "raw_scores"),
        ('{"query": "a", "texts": ["b"], "return_text": "yes"}', 422, "invalid", "return_text"),
        ('{"query": "a", "texts": ["b"], "truncate": "end"}', 422, "invalid", "truncate"),
        ('{"query": "a", "texts": ["b"], "truncation_direction": "up"}', 422, "invalid", "truncation_direction"),
        ('{"query": "a", "texts": ["b"], "top_n": 1}', 422, "invalid", "top_n"),
        ('{"query": "a", "texts": ["b"], "model": 3}', 422, "invalid", "model"),
        ('{"query": "a", "texts": ["b"], "model": "/etc"}', 404, "not_found", "model"),
        (r'{"query": "a", "texts": ["b", "c\ud83e"]}', 422, "invalid", "texts[1]"),
        (r'{"query": "\ud83e", "texts": ["b"]}', 422, "invalid", "query"),
        (r'{"query": "a", "texts": ["b"], "\ud83e": 1}', 400, "malformed", None),
    ],
)
def test_teis_bodies_are_refused_by_what_is_wrong_with_them(
    server: Running, content: str, status: int, kind: str, field: str | None
) -> None:
    refused(post(server, "/rerank", content=content), status, kind, field)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize(
    ("content", "status", "kind", "field"),
    [
        ("", 400, "malformed", None),
        ("null", 400, "malformed", None),
        ('{"query": "a"}', 422, "invalid", "documents"),
        ('{"documents": ["a"]}', 422, "invalid", "query"),
        ('{"query": {}, "documents": ["a"]}', 422, "invalid", "query"),
        ('{"query": "a", "documents": []}', 422, "invalid", "documents"),
        ('{"query": "a", "documents": "b"}', 422, "invalid", "documents"),
        ('{"query": "a", "documents": {"text": "b"}}', 422, "invalid", "documents"),
        ('{"query": "a", "documents": ["b", null]}', 422, "invalid", "documents[1]"),
        ('{"query": "a", "documents": ["b", {}]}', 422, "invalid", "documents[1]"),
        ('{"query": "a", "documents": ["b", {"text": 1}]}', 422, "invalid", "documents[1]"),
        ('{"query": "a", "documents": [{"image": "b"}]}', 422, "invalid", "documents[0]"),
        ('{"query": "a", "documents": [{"text": "b", "title": "c"}]}', 422, "invalid", "documents[0]"),
        ('{"query": "a", "documents": ["b"], "top_n": 0}', 422, "invalid", "top_n"),
        ('{"query": "a", "documents": ["b"], "top_n": -1}', 422, "invalid", "top_n"),
        ('{"query": "a", "documents": ["b"], "top_n": 1.5}', 422, "invalid", "top_n"),
        ('{"query": "a", "documents": ["b"], "top_n": true}', 422, "invalid", "top_n"),
        ('{"query": "a", "documents": ["b"], "return_documents": 1}', 422, "invalid", "return_documents"),
        ('{"query": "a", "documents": ["b"], "rank_fields": ["a"]}', 422, "invalid", "rank_fields"),
        ('{"query": "a", "documents": ["b"], "max_chunks_per_doc": 1}', 422, "invalid", "max_chunks_per_doc"),
        ('{"query": "a", "documents": ["b"], "max_tokens_per_doc": 9}', 422, "invalid", "max_tokens_per_doc"),
        ('{"query": "a", "documents": ["b"], "relevant_spans": {}}', 422, "invalid", "relevant_spans"),
        ('{"query": "a", "documents": ["b"], "truncate": true}', 422, "invalid", "truncate"),
        ('{"query": "a", "documents": ["b"], "truncate": "start"}', 422, "invalid", "truncate"),
        ('{"query": "a", "documents": ["b"], "instruction": "c"}', 422, "invalid", "instruction"),
        ('{"query": "a", "documents": ["b"], "model": "gpt"}', 404, "not_found", "model"),
        (r'{"query": "a", "documents": ["b", {"text": "c\ud83e"}]}', 422, "invalid", "documents[1]"),
        (r'{"query": "\udd8a", "documents": ["b"]}', 422, "invalid", "query"),
    ],
)
def test_coheres_bodies_are_refused_by_what_is_wrong_with_them(
    server: Running, path: str, content: str, status: int, kind: str, field: str | None
) -> None:
    refused(post(server, path, content=content), status, kind, field)


REFUSED = {
    "an unknown model": (pb.RerankRequest(model="gpt"), CODE.NOT_FOUND, ["'gpt'", "tiny-xlm-roberta-reranker"]),
    "an embedding model": (pb.RerankRequest(model="minilm-l6-v2"), CODE.NOT_FOUND, ["is an embedding model"]),
    "top_k": (pb.RerankRequest(query="a", texts=["b"], top_k=0), CODE.INVALID_ARGUMENT, ["top_k is 0", "at least 1"]),
    "activation": (pb.RerankRequest(activation="tanh"), CODE.INVALID_ARGUMENT, ["activation", "'tanh'", "'sigmoid'"]),
    "truncate": (pb.RerankRequest(truncate="start"), CODE.INVALID_ARGUMENT, ["truncate", "'end', 'error'"]),
    "an instruction": (pb.RerankRequest(instruction="c"), CODE.INVALID_ARGUMENT, ["instruction", "takes none"]),
    "a blank one": (pb.RerankRequest(instruction=""), CODE.INVALID_ARGUMENT, ["instruction is ''"]),
    "too many texts": (pb.RerankRequest(texts=["a"] * 2049), CODE.INVALID_ARGUMENT, ["2049 texts", "2048"]),
    "a text that is too long": (
        pb.RerankRequest(query="a", texts=["b", "word " * 2000], truncate="error"),
        CODE.INVALID_ARGUMENT,
        ["texts[1] has", "limit is 1024"],
    ),
    "a very long value": (pb.RerankRequest(activation="\U0001f600" * 90_000), CODE.INVALID_ARGUMENT, ["'identity'"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_message_is_refused_by_what_is_wrong_with_it(server: Running, case: str) -> None:
    request, code, words = REFUSED[case]
    with stub(server.target) as calls, pytest.raises(grpc.RpcError) as caught:
        calls.Rerank(request, timeout=LONG)
    error: Any = caught.value
    assert error.code() is code, error.details()
    assert not [word for word in words if word not in error.details()], error.details()
    assert dict(error.trailing_metadata())["x-request-id"]


def test_a_refusal_tells_the_limit(server: Running) -> None:
    for path, name in (("/rerank", "texts"), ("/v1/rerank", "documents")):
        told = refused(post(server, path, json={"query": "a", name: ["b"] * 2049}), 422, "invalid", name)
        assert told["limit"] == 2048
        assert "2049 texts; max_texts is 2048" in str(told)


@pytest.mark.long
@pytest.mark.parametrize(("path", "body"), ENDPOINTS)
def test_a_query_counts_once_for_each_text(reranker: RerankService, path: str, body: dict[str, Any]) -> None:
    """Without that limit, a body of 4 MB would be a hundred times as much work as the largest one for vectors."""
    [name] = {"texts", "documents"} & set(body)
    with server_here({"r": reranker}, max_body_bytes=10_000) as here:
        for length, status in ((500, 200), (501, 413)):
            response = post(here, path, json={"query": "x" * length, name: ["y"] * 20})
            assert response.status_code == status
        told = refused(response, 413, "too_large", "max_body_bytes")
        assert told["limit"] == 10_000
        with stub(here.target) as calls:
            assert calls.Rerank(pb.RerankRequest(query="x" * 500, texts=["y"] * 20)).scores
            call = calls.Rerank.future(pb.RerankRequest(query="x" * 501, texts=["y"] * 20), timeout=LONG)
            assert status_of(call) is CODE.RESOURCE_EXHAUSTED
            call = calls.Rerank.future(pb.RerankRequest(instruction="x" * 501, texts=["y"] * 20), timeout=LONG)
            assert status_of(call) is CODE.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_another_method_is_refused_in_the_same_form(server: Running, path: str) -> None:
    response = get(server, path)
    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(("path", "body"), ENDPOINTS)
def test_a_body_that_is_too_large_is_refused(reranker: RerankService, path: str, body: dict[str, Any]) -> None:
    with server_here({"r": reranker}, max_body_bytes=1000) as here:
        refused(post(here, path, content=b" " * 1001), 413, "too_large", "max_body_bytes")
        assert post(here, path, json=body).status_code == 200


def test_a_classifier_with_several_labels_is_no_reranker_of_a_server() -> None:
    config = ServerConfig(rerankers=(str(model_path("tiny-bert-labels")),))
    with (
        pytest.raises(
            ConfigurationError, match=r"rerankers has .* 3 scores to each pair \(.*\): it does not"
        ) as caught,
        open_models(Settings(config, EmbeddingConfig(), RerankConfig())),
    ):
        pass
    assert caught.value.field == "rerankers"


def test_a_key_is_asked_for(reranker: RerankService) -> None:
    with server_here({"r": reranker}, keys=ApiKeys(["key"])) as here, client(here) as connection:
        for path, body in ENDPOINTS:
            refused(connection.post(path, json=body), 401, "unauthenticated")
            assert connection.post(path, json=body, headers={"authorization": "Bearer key"}).status_code == 200
        with stub(here.target) as calls:
            request = pb.RerankRequest(query="x", texts=["x"])
            assert status_of(calls.Rerank.future(request, timeout=LONG)) is CODE.UNAUTHENTICATED
            assert calls.Rerank(request, timeout=LONG, metadata=[("authorization", "Bearer key")]).scores


def status_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError):
        call.result()
    code: grpc.StatusCode = call.code()
    return code
