"""Clients that send nothing, half of something, or too much, and clients beside them that notice nothing of it."""

import contextlib
import errno
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import grpc
import httpx
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.sockets.connections import Connections, Listener
from akidb_embeddings.server.sockets.http_protocol import MAX_HEAD_BYTES
from tests.conftest import LONG, FakeModel, background, eventually, service
from tests.server.calls import Client, address, get, post, stub
from tests.server.conftest import Running, server_here, server_process

# Twice as many as the process of these tests may have.
FLOOD = 320
HEAD = b"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n"
LIVE = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
SENT = {
    "nothing": b"",
    "half a head": HEAD,
    "half a body": HEAD + b"\r\n{",
    "an idle one": b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags for TLS."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run(
        [*command, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True
    )
    return ["--tls-certificate", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]


@pytest.fixture(scope="module")
def few() -> Iterator[Running]:
    """A server that may open few files."""
    with server_process("--model", BUNDLED, program="tests.server.few_descriptors") as running:
        yield running


@contextlib.contextmanager
def flood(target: tuple[str, int], content: bytes, number: int = FLOOD) -> Iterator[list[socket.socket]]:
    """Connections that stay open on the client's side, and have sent this."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(number):
            made.append(stack.enter_context(socket.create_connection(target, LONG)))
            with contextlib.suppress(ConnectionError):  # closed already
                made[-1].sendall(content)
        yield made


FLOODING = """
import contextlib, socket, sys
host, port, number, content = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
made = []
for _ in range(number):
    made.append(socket.create_connection((host, port), 30))
    with contextlib.suppress(ConnectionError):
        made[-1].sendall(content)
sys.stdin.read()
"""


@contextlib.contextmanager
def flood_from_elsewhere(target: tuple[str, int], content: bytes) -> Iterator[None]:
    """``flood`` by a process of its own: in this one, other clients would wait for Python's lock, and so be late."""
    command = [sys.executable, "-c", FLOODING, target[0], str(target[1]), str(FLOOD), content.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.communicate(timeout=LONG)
    assert process.returncode == 0


def raw(server: Running, content: bytes) -> bytes:
    """What comes back for these bytes until the server closes the connection."""
    with socket.create_connection(address(server.url), LONG) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(content)
        return read(connection)


def read(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            received += part
    return received


def slowest(client: httpx.Client, seconds: float) -> float:
    """The longest time of an answer, on connections that stay open and on new ones."""
    longest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        for headers in ({}, {"connection": "close"}):
            begin = time.monotonic()
            assert client.get("/livez", headers=headers).status_code == 200
            assert client.post("/embed", json={"texts": ["x"]}, headers=headers).status_code == 200
            longest = max(longest, time.monotonic() - begin)
    return longest


@pytest.mark.long
@pytest.mark.parametrize("content", SENT.values(), ids=list(SENT))
def test_a_flood_of_connections_disturbs_nobody(few: Running, content: bytes) -> None:
    before = len(few.lines)
    with httpx.Client(base_url=few.url, timeout=LONG, trust_env=False) as other:
        attack = background(lambda: slowest(other, 1.5))
        with flood_from_elsewhere(address(few.url), content):
            assert attack.result(LONG) < 1
    told = [line for line in few.lines[before:] if "connections" in line]
    assert 1 <= len(told) <= 5, told
    assert not any("system resource" in line or "Traceback" in line for line in few.lines)


@pytest.mark.long
@pytest.mark.parametrize("content", [b"", b"\x16\x03\x01\x02"], ids=["nothing", "half a handshake"])
def test_a_flood_before_the_handshake_disturbs_nobody(pair: list[str], content: bytes) -> None:
    with (
        server_process("--model", BUNDLED, *pair, program="tests.server.few_descriptors") as few,
        httpx.Client(base_url=few.url, timeout=LONG, verify=False, trust_env=False) as other,
    ):
        attack = background(lambda: slowest(other, 1.5))
        with flood_from_elsewhere(address(few.url), content):
            assert attack.result(LONG) < 1
        assert not any("system resource" in line or "Traceback" in line for line in few.lines)


@pytest.mark.long
def test_a_flood_on_the_port_of_grpc_disturbs_no_other_port(few: Running) -> None:
    host, port = few.target.rsplit(":", 1)
    with (
        httpx.Client(base_url=few.url, timeout=LONG, trust_env=False) as other,
        stub(few.target) as before,
        contextlib.ExitStack() as stack,
    ):
        assert before.Embed(pb.EmbedRequest(texts=["x"]), timeout=LONG).dimension == 384
        stack.enter_context(flood((host, int(port)), b""))
        assert slowest(other, 1) < 1
        assert before.Embed(pb.EmbedRequest(texts=["x"]), timeout=LONG).dimension == 384
    with stub(few.target) as after:
        assert after.Embed(pb.EmbedRequest(texts=["x"]), timeout=LONG, wait_for_ready=True).dimension == 384


def test_silent_connections_to_grpc_are_closed(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, header_seconds=0.3) as here:
        host, port = here.target.rsplit(":", 1)
        with socket.create_connection((host, int(port)), LONG) as silent:
            read(silent)  # what HTTP/2 begins with, and then the end
        with stub(here.target) as client:
            assert client.Embed(pb.EmbedRequest(texts=["x"]), timeout=LONG).dimension == 384


@pytest.mark.long
@pytest.mark.parametrize("content", [b"", HEAD], ids=["nothing", "half a head"])
def test_a_head_that_does_not_come_is_given_up(bundled: EmbeddingService, content: bytes) -> None:
    with server_here({"m": bundled}, header_seconds=0.3) as here:
        assert raw(here, content) == b""


def test_a_head_that_comes_byte_by_byte_is_given_up(bundled: EmbeddingService) -> None:
    with (
        server_here({"m": bundled}, header_seconds=0.3) as here,
        socket.create_connection(address(here.url), LONG) as slow,
    ):
        begin = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begin < LONG:
                slow.sendall(b"x")
                time.sleep(0.01)
        assert time.monotonic() - begin < LONG / 2


@pytest.mark.long
def test_a_head_behind_a_request_has_its_deadline_too(bundled: EmbeddingService) -> None:
    with (
        server_here({"m": bundled}, header_seconds=0.3) as here,
        socket.create_connection(address(here.url), LONG) as slow,
    ):
        slow.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /livez HTTP/1.1\r\nx-a: ")
        begin = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begin < LONG:
                slow.sendall(b"x")
                time.sleep(0.01)
        assert time.monotonic() - begin < LONG / 2


@pytest.mark.long
def test_an_idle_connection_is_not_given_up_so_early(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, header_seconds=0.2, body_seconds=0.2) as here, Client(here.url) as client:
        assert client.get("/livez").status == 200
        time.sleep(0.6)
        assert client.get("/livez").status == 200


def test_a_body_that_does_not_come_is_answered(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, body_seconds=0.2) as here:
        answer = raw(here, HEAD + b'\r\n{"texts"')
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b'"The body did not arrive within 0.2 seconds."' in answer
        assert b'"field":"body_seconds","limit":0.2' in answer


def test_a_response_that_is_not_read_is_given_up(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, body_seconds=0.3, max_texts=200_000) as here:
        content = b'{"texts": [""], "embeddings": [[%b1]]}' % (b"0.123456789012345678901," * 383)
        requests = b"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(LONG)
            deaf.connect(address(here.url))
            with pytest.raises(ConnectionError):
                deaf.sendall(requests * 5000)
        assert eventually(lambda: here.handler is not None and not here.handler.in_flight)


def test_a_request_in_flight_is_never_closed_for_another(fake: FakeModel) -> None:
    with service() as held, server_here({"m": held}, max_connections=3) as here:
        fake.hold()
        first = [background(lambda: post(here.url, ["a"])) for _ in range(2)]
        fake.entered()
        assert here.handler is not None
        handler = here.handler
        assert eventually(lambda: handler.in_flight == 2)
        with flood(address(here.url), b"", 20):
            assert get(here.url, "/livez").status == 200
            third = background(lambda: post(here.url, ["b"]))
            assert eventually(lambda: handler.in_flight == 3)
            assert raw(here, LIVE) == b""  # no room: requests are in flight on all
            fake.release()
            assert [one.result(LONG).status for one in [*first, third]] == [200, 200, 200]


def test_each_address_has_its_limit(bundled: EmbeddingService) -> None:
    with (
        server_here({"m": bundled}, max_connections=100, max_connections_per_address=2) as here,
        flood(address(here.url), b"", 3) as made,
    ):
        assert made[0].recv(1) == b""
        made[1].settimeout(0.1)
        with pytest.raises(TimeoutError):
            made[1].recv(1)


@pytest.mark.parametrize(
    "content",
    [
        b"GET /" + b"x" * 4 * MAX_HEAD_BYTES,
        b"GET / HTTP/1.1\r\nx: " + b"x" * 4 * MAX_HEAD_BYTES,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * MAX_HEAD_BYTES,
        b"POST /embed HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;" + b"x" * 4 * MAX_HEAD_BYTES,
        b"POST /embed HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * MAX_HEAD_BYTES,
    ],
    ids=["a path", "a header", "headers", "a chunk's extension", "trailers"],
)
def test_a_head_without_end_is_refused(bundled: EmbeddingService, content: bytes) -> None:
    with server_here({"m": bundled}) as here:
        assert raw(here, content)[:12] in (b"HTTP/1.1 431", b"")  # or a reset, where more is on its way
        assert get(here.url, "/livez").status == 200


def test_requests_without_end_on_one_connection_are_cut_off(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}) as here:
        requests = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
        assert (
            raw(here, requests * 10 + b"GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n").count(b"HTTP/1.1 200") == 11
        )
        assert raw(here, requests * 20_000).count(b"HTTP/1.1 200") < 100
        assert get(here.url, "/livez").status == 200


def test_without_descriptors_the_log_has_a_line_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: socket.socket) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "accept", fail)
    connections = Connections(10, 10, 1.0, 1.0)
    with Listener(socket.create_server(("127.0.0.1", 0)), connections) as listener, caplog.at_level(logging.WARNING):
        for _ in range(20):
            with pytest.raises(BlockingIOError):
                listener.accept()
    assert [record.getMessage() for record in caplog.records] == ["1 connections not accepted: Too many open files"]


def test_open_connections_are_forgotten_once_closed() -> None:
    connections = Connections(2, 2, 1.0, 1.0)
    for _ in range(5):
        ours, theirs = socket.socketpair()
        with theirs:
            made = connections.add(ours, "127.0.0.1")
            assert made is not None
            assert connections.find(made.fileno()) is made
            made.close()
    assert len(connections) == 0


@pytest.mark.long
def test_grpc_refuses_streams_beyond_the_limit(bundled: EmbeddingService) -> None:
    with (
        server_here({"m": bundled}, max_concurrent_requests=3) as here,
        stub(here.target) as client,
        contextlib.ExitStack() as stack,
    ):
        over = threading.Event()
        stack.callback(over.set)

        def silent() -> Iterator[pb.EmbedRequest]:
            over.wait(LONG)
            yield from ()

        open_streams = [client.EmbedStream(silent(), timeout=LONG) for _ in range(3)]
        time.sleep(0.3)
        with pytest.raises(grpc.RpcError) as caught:
            next(client.EmbedStream(iter([pb.EmbedRequest(texts=["x"])]), timeout=LONG))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert client.Embed(pb.EmbedRequest(texts=["x"]), timeout=LONG).dimension == 384
        over.set()
        assert [list(stream) for stream in open_streams] == [[], [], []]
        assert next(client.EmbedStream(iter([pb.EmbedRequest(texts=["x"])]), timeout=LONG)).response.dimension == 384
