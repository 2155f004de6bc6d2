"""Texts beyond the limit on characters, and requests that cannot be done in time: refused at once, with the way out."""

import time

import grpc
import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server import embedding_pb2 as pb
from tests.conftest import LONG
from tests.server.calls import Client, get, stub
from tests.server.conftest import server_here, server_process
from tests.server.rest_client import post, refused


def test_a_text_of_too_many_characters_is_refused_by_its_place(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, max_text_characters=10) as here:
        for path, field in (("/embed", "texts"), ("/v1/embeddings", "input")):
            for long in ("x" * 11, "🦊" * 11):
                response = post(here, path, json={field: ["a", "b" * 10, long]})
                told = refused(response, 422, "invalid", f"{field}[2]")
                assert "has 11 characters; max_text_characters is 10" in str(told)
            assert post(here, path, json={field: ["🦊" * 10]}).status_code == 200
        assert get(here.url, "/info").body["limits"]["max_text_characters"] == 10
        with stub(here.target) as client, pytest.raises(grpc.RpcError, match=r"texts\[1\] has 11 characters") as caught:
            client.Embed(pb.EmbedRequest(texts=["a", "x" * 11]), timeout=LONG)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_query_or_document_of_too_many_characters_is_refused(reranker: RerankService) -> None:
    with server_here({"r": reranker}, max_text_characters=10) as here:
        for path, field in (("/rerank", "texts"), ("/v1/rerank", "documents")):
            refused(post(here, path, json={"query": "q", field: ["a", "x" * 11]}), 422, "invalid", f"{field}[1]")
            refused(post(here, path, json={"query": "x" * 11, field: ["a"]}), 422, "invalid", "query")


@pytest.mark.long
def test_work_that_cannot_be_done_in_time_is_refused_at_once() -> None:
    """2,048 texts of 1,900 characters were computed for a minute, and then the answer was 504."""
    texts = ["the quick brown fox jumps over the lazy dog " * 43] * 2048
    with server_process("--model", BUNDLED, "--request-seconds", "6") as running, Client(running.url) as client:
        assert client.post("/embed", {"texts": texts}).status == 504  # nothing was known before
        begin = time.monotonic()
        reply = client.post("/embed", {"texts": texts})
        assert time.monotonic() - begin < 3
        assert reply.status == 504
        assert "tokens a second" in reply.body["error"]
        assert reply.body["field"] == "texts"
        most = int(reply.body["limit"])
        assert 1 <= most < 2048
        assert client.post("/embed", {"texts": texts[: max(1, most // 2)]}).status == 200
        assert client.post("/embed", {"texts": texts[:1]}).status == 200
