"""uvicorn's HTTP protocol, with limits on what a client may send before, between and beside its requests."""

import asyncio
import time
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from akidb_embeddings.server.sockets.connections import Connection, Connections

MAX_HEAD_BYTES = 1 << 16
"""The most bytes of a request's line and headers, of its trailers, and of a chunk's extensions."""
_MAX_PIPELINED = 16
_SLICE_BYTES = 1 << 14
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _JoinedWrites(asyncio.Transport):
    """The transport for one response: its head is sent with the beginning of its body, by one system call."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""
        self._is_begun = False

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._head:
            self._transport.write(self._head + data)
            self._head = b""
        elif self._is_begun or data == _CONTINUE:
            self._transport.write(data)
        else:
            self._is_begun, self._head = True, bytes(data)

    def flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()


def _new_parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    """A parser like uvicorn's own: requests that come behind one that closes the connection are no error."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


class HttpProtocol(HttpToolsProtocol):
    """One connection, of which ``Connections`` learns when it waits for its client.

    Args:
        connections: The open connections.
        **arguments: uvicorn's own.
    """

    def __init__(self, *, connections: Connections, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._connections = connections
        self._connection: Connection | None = None
        self._in_flight = 0
        self._events = 0  # of the parser; without any, bytes are of a head that goes on and on
        self._head_bytes = 0
        self._is_in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """The connection is there, and TLS's handshake done."""
        super().connection_made(transport)
        self._connection = self._connections.find(transport.get_extra_info("socket").fileno())
        if self._connection is None:
            transport.abort()
        else:
            self._connection.end, self._connection.is_closing = transport.abort, transport.is_closing

    def data_received(self, data: bytes) -> None:
        """Bytes have come. They are parsed in slices, so that what goes on and on is found early."""
        for begin in range(0, len(data), _SLICE_BYTES):
            if self.transport.is_closing():
                return
            part, before = data[begin : begin + _SLICE_BYTES], self._events
            self._parse(part)
            self._head_bytes = self._head_bytes + len(part) if self._events == before else 0
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse()

    def _parse(self, data: bytes) -> None:
        """Parse bytes. The other protocols that a request offers are ignored, as RFC 9110 (7.8) allows."""
        self._unset_keepalive_if_required()
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as offer:
                    if self.parser.get_method() == b"CONNECT":
                        self.send_400_response("CONNECT is for proxies; this is none.")
                        return
                    # The parser has ended with the head, and takes what follows for another protocol's.
                    (end,) = offer.args  # of the head, in these bytes
                    data = self._head_without_offer() + data[end:]
                    self.parser = _new_parser(self)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")

    def _head_without_offer(self) -> bytes:
        """The head of the request that is being parsed."""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"\r\n"])

    @property
    def _is_offer(self) -> bool:
        """Whether the head that is being parsed offers another protocol; it is parsed again without the offer."""
        return bool(self.parser.should_upgrade())

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_in_head = True
        if self._connection:
            self._connection.head_began()

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        self._events += 1
        if self._is_offer:
            return
        self._is_in_head = False
        if len(self.pipeline) >= _MAX_PIPELINED:
            self.transport.abort()
            return
        super().on_headers_complete()
        joined = _JoinedWrites(self.transport)

        def complete() -> None:
            joined.flush()  # of HEAD, there is no body
            self.on_response_complete()

        self.cycle.transport = joined
        self.cycle.on_response = complete
        if self._connection:
            self._connection.body_began()

    def on_body(self, body: bytes) -> None:
        """A part of a request's body."""
        self._events += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._events += 1
        if self._is_offer:
            return
        if not self.cycle.response_complete:
            self._in_flight += 1
            if self._connection:
                self._connection.request_came()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A response has been given to the transport."""
        self._in_flight = max(0, self._in_flight - 1)  # none, if a request was refused before all of it came
        if self._connection and not self._in_flight:
            self._connection.response_went()
            if self._is_in_head:  # of a request that was begun ahead
                self._connection.head_began()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        if self._connection:
            self._connection.blocked_since = time.monotonic()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._connection:
            self._connection.blocked_since = None

    def _refuse(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()
