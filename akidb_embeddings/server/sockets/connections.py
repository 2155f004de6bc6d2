"""The open HTTP connections: how many there may be, how long one may keep the server waiting, and which makes room.

A connection counts from its acceptance on, before TLS has begun. If there are too many, the one that has waited longest
without a complete request is closed for the new one: silent, half a head, half a body, idle. So clients that send
nothing do not keep out those that do, even if both come from one address. Those that have had an answer make room only
if they are more than half of those that wait: a client may pause without having to connect again.
"""

import errno
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from akidb_embeddings.server.observability.logs import LOG

# What accept() fails with if the process or the system has no room.
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LOG_SECONDS = 1.0
_MOST_AT_ONCE = 32
_TURNS = 32
# The request's reader answers a body that does not come; this much later, a connection that nobody reads is closed.
_GRACE_SECONDS = 5.0


class Connection(socket.socket):
    """An accepted socket, with what is known of its requests.

    Attributes:
        address: The client's address.
        served: Whether it has had a response.
        waiting_since: Since when there is no complete request; None while one is in flight.
        deadline: When it is closed, unless the head or body arrives; None for never.
        blocked_since: Since when the client does not read; None if it does.
        end: Closes it at once.
    """

    def __init__(self, accepted: socket.socket, address: str, connections: "Connections") -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._connections = connections
        self.address, self.served = address, False
        self.waiting_since: float | None = time.monotonic()
        self.deadline: float | None = self.waiting_since + connections.header_seconds
        self.blocked_since: float | None = None
        # Until TLS's handshake is done, only the socket is there to be closed; the event loop then finds its end.
        self.end: Callable[[], object] = self._shut_down
        self.is_closing: Callable[[], bool] = bool

    def head_began(self) -> None:
        """The first bytes of a request have come."""
        if self.waiting_since is not None:
            self.deadline = time.monotonic() + self._connections.header_seconds

    def body_began(self) -> None:
        """The whole head of a request has come."""
        if self.waiting_since is not None:
            self.deadline = time.monotonic() + self._connections.body_seconds + _GRACE_SECONDS

    def request_came(self) -> None:
        """A request is complete, and in flight."""
        self.waiting_since = self.deadline = None

    def response_went(self) -> None:
        """No request is in flight any more."""
        self.waiting_since, self.deadline, self.served = time.monotonic(), None, True

    def close(self) -> None:
        """Close the socket."""
        self._connections.forget(self)
        super().close()

    def _shut_down(self) -> None:
        try:
            self.shutdown(socket.SHUT_RDWR)
        except OSError:  # the client was faster
            return


class Connections:
    """The connections of all listening sockets together.

    Args:
        most: How many there may be.
        most_per_address: How many there may be from one address.
        header_seconds: How long a client may take for TLS's handshake and a request's head.
        body_seconds: How long it may take for a body, or not read a response.
    """

    def __init__(self, most: int, most_per_address: int, header_seconds: float, body_seconds: float) -> None:
        self.header_seconds, self.body_seconds = header_seconds, body_seconds
        self._most, self._most_per_address = most, most_per_address
        self._open: dict[int, Connection] = {}
        self._closed: dict[str, int] = {}
        self._logged = 0.0

    @property
    def at_once(self) -> int:
        """How many may be accepted before the event loop reads what the last ones have sent: it takes a few turns."""
        return max(1, min(_MOST_AT_ONCE, self._most // _TURNS, self._most_per_address // _TURNS))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, accepted: socket.socket, address: str) -> Connection | None:
        """Count a connection, and close another one if there are too many.

        Returns:
            None if requests are in flight on all others; then this one is closed.
        """
        same = [one for one in self._open.values() if one.address == address]
        crowd: Iterable[Connection] = ()
        if len(same) >= self._most_per_address:
            crowd, setting = same, f"max_connections_per_address is {self._most_per_address}"
        elif len(self._open) >= self._most:
            crowd, setting = self._open.values(), f"max_connections is {self._most}"
        if crowd and not self._close_longest(crowd, setting):
            self.count(f"connections refused: requests are in flight on all others, and {setting}")
            accepted.close()
            return None
        connection = Connection(accepted, address, self)
        self._open[connection.fileno()] = connection
        return connection

    def find(self, descriptor: int) -> Connection | None:
        """The connection with this descriptor; None if it has been closed meanwhile."""
        return self._open.get(descriptor)

    def forget(self, connection: Connection) -> None:
        """Count a connection no longer."""
        descriptor = connection.fileno()
        if self._open.get(descriptor) is connection:
            del self._open[descriptor]

    def close_longest(self) -> None:
        """Close the connection that has waited longest: the process has no descriptors left."""
        self._close_longest(self._open.values(), "the process has no descriptors left")

    def close_expired(self) -> None:
        """Close the connections whose time is up."""
        now = time.monotonic()
        for connection in list(self._open.values()):
            if connection.blocked_since is None and connection.is_closing():
                connection.blocked_since = now
            blocked = connection.blocked_since
            if connection.deadline is not None and connection.deadline < now:
                self._close(connection, "connections closed: no complete request came in time")
            elif blocked is not None and blocked + self.body_seconds < now:
                self._close(connection, "connections closed: the client did not read its response")
        self._log()

    def count(self, what: str) -> None:
        """Count something for the log, which gets at most one line a second for each kind."""
        self._closed[what] = self._closed.get(what, 0) + 1
        self._log()

    def _close_longest(self, crowd: Iterable[Connection], reason: str) -> bool:
        waiting = [one for one in crowd if one.waiting_since is not None]
        new, served = [one for one in waiting if not one.served], [one for one in waiting if one.served]
        deaf = [one for one in crowd if one.blocked_since is not None]  # the last to be closed: it costs a response
        chosen = (new if len(new) >= len(served) else served) or deaf
        if not chosen:
            return False
        longest = min(chosen, key=lambda one: one.waiting_since or one.blocked_since or 0.0)
        self._close(longest, f"connections closed that had waited longest for a request: {reason}")
        return True

    def _close(self, connection: Connection, reason: str) -> None:
        self.forget(connection)
        connection.end()
        self.count(reason)

    def _log(self) -> None:
        now = time.monotonic()
        if self._closed and now - self._logged >= _LOG_SECONDS:
            self._logged = now
            for what, number in self._closed.items():
                LOG.warning("%d %s", number, what)
            self._closed.clear()


class Listener(socket.socket):
    """A listening socket that counts what it accepts.

    Args:
        listening: The socket that it takes over.
        connections: Where they are counted.
    """

    def __init__(self, listening: socket.socket, connections: Connections) -> None:
        super().__init__(listening.family, listening.type, listening.proto, fileno=listening.detach())
        self.setblocking(False)
        self._connections = connections

    def listen(self, backlog: int = 0, /) -> None:
        """Nothing: it listens already. The event loop's backlog is how many it accepts before it reads from them."""

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: There is none, or no room for it now.
        """
        while True:
            try:
                accepted, address = super().accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._connections.count(f"connections not accepted: {error.strerror}")
                self._connections.close_longest()
                time.sleep(0.01)  # it stays in the queue: the event loop would come back at once, for ever
                raise BlockingIOError(errno.EAGAIN, "no room for a connection") from None
            if connection := self._connections.add(accepted, str(address[0])):
                return connection, address
