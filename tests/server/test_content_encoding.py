"""Compressed bodies: read as those that are not, within the same limit, or refused with the encodings that are read."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable

import grpc
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind
from akidb_embeddings.server.embedding_pb2_grpc import EmbeddingServiceStub
from akidb_embeddings.server.http.content_encoding import content_encoding, decompress
from tests.server.conftest import Running, server_here
from tests.server.rest_client import client, post, refused

BODY = json.dumps({"texts": ["Hello world", "Über 🦊"]}).encode()
ENCODED = {"gzip": gzip.compress(BODY), "x-gzip": gzip.compress(BODY), "deflate": zlib.compress(BODY)}
ENCODED |= {"GZip": ENCODED["gzip"], "identity": BODY, "": BODY, "identity, gzip": ENCODED["gzip"]}


@pytest.mark.parametrize("encoding", ENCODED)
def test_a_compressed_body_is_read(server: Running, bundled: EmbeddingService, encoding: str) -> None:
    expected = bundled.embed(["Hello world", "Über 🦊"])
    response = post(server, content=ENCODED[encoding], headers={"content-encoding": encoding})
    assert response.status_code == 200, response.text
    np.testing.assert_array_equal(np.array(response.json()["embeddings"], dtype=np.float32), expected)


@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings"])
@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "identity, zstd", "x" * 3000])
def test_another_encoding_is_refused_by_name_with_those_that_are_read(
    server: Running, path: str, encoding: str
) -> None:
    response = post(server, path, content=b"{}", headers={"content-encoding": encoding})
    told = refused(response, 415, "unsupported_encoding", "Content-Encoding")
    message = told["error"] if path == "/embed" else told["message"]
    assert f"Content-Encoding is {encoding[:100]!r}" in message
    assert "gzip or deflate" in message
    assert response.headers["accept-encoding"] == "gzip, deflate"
    repeated = [("content-encoding", "gzip"), ("content-encoding", encoding)]
    refused(post(server, path, content=b"{}", headers=repeated), 415, "unsupported_encoding", "Content-Encoding")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda body: BODY, "is not valid as"),
        (lambda body: body[:-1], "ends too early as"),
        (lambda body: body[:5], "ends too early as"),
        (lambda body: body[:-4] + bytes(4), "is not valid as"),  # the checksum, or gzip's length
        (lambda body: body + b" ", "goes on after its end as"),
        (lambda body: body + body, "goes on after its end as"),
    ],
)
def test_a_body_that_is_not_compressed_as_it_says_is_malformed(
    server: Running, encoding: str, damage: Callable[[bytes], bytes], words: str
) -> None:
    content = damage(ENCODED[encoding])
    told = refused(post(server, content=content, headers={"content-encoding": encoding}), 400, "malformed")
    assert told["error"] == f"The body {words} {encoding}, which its Content-Encoding declares."


def test_a_request_without_a_body_needs_no_encoding(server: Running) -> None:
    with client(server) as connection:
        assert connection.get("/livez", headers={"content-encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_the_limit_holds_for_the_decompressed_body(bundled: EmbeddingService, encoding: str) -> None:
    compress = gzip.compress if encoding == "gzip" else zlib.compress
    with server_here({"m": bundled}, max_body_bytes=1000) as here:
        for size, status in ((1000, 200), (1001, 413), (50_000, 413)):
            content = compress(b'{"texts": ["x"]}'.ljust(size))
            response = post(here, content=content, headers={"content-encoding": encoding})
            assert response.status_code == status
        told = refused(response, 413, "too_large", "max_body_bytes")
        assert told["limit"] == 1000


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_decompressed_up_to_the_limit_alone(encoding: str) -> None:
    """It is 300 MB behind 300 kB; the memory is that of the limit."""
    stream = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    bomb = b"".join(stream.compress(bytes(1_000_000)) for _ in range(300)) + stream.flush()
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as caught:
            decompress(bomb, encoding, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_the_encoding_is_read_from_all_headers_of_that_name() -> None:
    name = b"content-encoding"
    assert content_encoding([(b"accept-encoding", b"br")]) is None
    assert content_encoding([(name, b"identity"), (name, b" GZIP ")]) == "gzip"
    assert content_encoding([(name, b",,")]) is None
    with pytest.raises(ApiError):
        content_encoding([(name, b"gzip"), (name, b"deflate")])


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_grpc_decompresses_within_the_limit(bundled: EmbeddingService, compression: grpc.Compression) -> None:
    with (
        server_here({"m": bundled}, max_body_bytes=1000) as here,
        grpc.insecure_channel(here.target, compression=compression) as channel,
    ):
        embed = EmbeddingServiceStub(channel).Embed
        assert len(embed(pb.EmbedRequest(texts=["a" * 900])).vectors) == 4 * 384
        with pytest.raises(grpc.RpcError) as caught:
            embed(pb.EmbedRequest(texts=["a" * 100_000]))  # 150 bytes on the way
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
