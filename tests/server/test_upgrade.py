"""Clients that offer another protocol by ``Upgrade``, as Java's do unless told otherwise, are served over HTTP/1.1."""

import json
import socket
import time
from collections.abc import Sequence

import pytest

from tests.conftest import LONG
from tests.server.calls import address
from tests.server.conftest import Running

BODY = json.dumps({"inputs": "hello"}).encode()
OFFERS = {
    "none": b"",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    "websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "two": b"Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: TLS/1.2\r\n",
}


def posted(offer: str, *, chunked: bool = False) -> tuple[bytes, bytes]:
    """A request's head and body."""
    head = b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + OFFERS[offer]
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY
    return head + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def answers(server: Running, packets: Sequence[bytes], number: int) -> list[tuple[bytes, bytes]]:
    """The status lines and bodies of the responses to what is sent, packet by packet."""
    found = []
    with socket.create_connection(address(server.url), LONG) as connection, connection.makefile("rb") as stream:
        for packet in packets:
            connection.sendall(packet)
            time.sleep(0.02)
        for _ in range(number):
            status, length = stream.readline(), 0
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            found.append((status, stream.read(length)))
    return found


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("chunked", [False, True])
def test_the_offer_is_ignored_and_the_body_is_read(server: Running, offer: str, chunked: bool) -> None:
    expected = answers(server, posted("none"), 1)
    assert expected[0][0] == b"HTTP/1.1 200 OK\r\n"
    head, body = posted(offer, chunked=chunked)
    assert answers(server, [head + body], 1) == expected
    assert answers(server, [head, body], 1) == expected
    assert answers(server, [head[:30], head[30:] + body[:4], body[4:]], 1) == expected


@pytest.mark.parametrize("offer", OFFERS)
def test_later_requests_of_the_connection_are_answered_too(server: Running, offer: str) -> None:
    get = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + OFFERS[offer] + b"\r\n"
    requests = [b"".join(posted(offer)), get, b"".join(posted(offer, chunked=True)), get]
    plain = answers(server, [b"".join(posted("none")), b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"], 2) * 2
    assert answers(server, [b"".join(requests)], 4) == plain
    assert answers(server, requests, 4) == plain


def test_a_client_that_awaits_100_and_offers_is_answered(server: Running) -> None:
    head, body = posted("h2c")
    head = head.replace(b"Host: x\r\n", b"Host: x\r\nExpect: 100-continue\r\n")
    [(status, empty), (last, content)] = answers(server, [head, body], 2)
    assert (status, empty) == (b"HTTP/1.1 100 Continue\r\n", b"")
    assert last == b"HTTP/1.1 200 OK\r\n"
    assert json.loads(content)


def test_connect_is_refused(server: Running) -> None:
    [(status, _)] = answers(server, [b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n"], 1)
    assert status == b"HTTP/1.1 400 Bad Request\r\n"
