"""The sockets of a host: all its addresses, of IPv4 and of IPv6."""

import errno
import ipaddress
import os
import socket

from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.server.observability.logs import LOG

_BACKLOG = 2048
# A name may have addresses that the system does not: ::1 of localhost, on a machine without IPv6.
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

Address = tuple[socket.AddressFamily, str]


def addresses(host: str) -> list[Address]:
    """The addresses of a host, in the system's order.

    Raises:
        OSError: The host has no address.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets, one per address of ``host``, all on the same port. ``::`` answers IPv4, too.

    Raises:
        EmbeddingError: The port is taken, or the machine has none of the addresses.
    """
    listening, absent = _listen_on_all(host, port, "port")
    for name, error in absent.items():
        LOG.warning("Not listening on %s: %s", name, error.strerror)
    return listening


def check_port(host: str, port: int, setting: str) -> None:
    """Check that a server could listen on a port, before much time is spent on what it would serve.

    Args:
        host: The host to listen on.
        port: The port.
        setting: The setting that the port is from: "port" or "grpc_port".

    Raises:
        EmbeddingError: As in ``listen``.
    """
    for made in _listen_on_all(host, port, setting)[0]:
        made.close()


def listening_error(host: str, port: int, setting: str, error: Exception) -> EmbeddingError:
    """The error for a port that cannot be listened on, given the system's own."""
    purpose = ", for gRPC" if setting == "grpc_port" else ""
    is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
    # Python adds the address to the system's words.
    reason = os.strerror(errno.EADDRINUSE) if is_taken else (isinstance(error, OSError) and error.strerror) or error
    hint = f"Another program uses it: give another {{{setting}}}, or 0 for any free one." if is_taken else ""
    return EmbeddingError(f"cannot listen on {host}, port {port}{purpose}: {reason}.", hint=hint)


def is_reachable(host: str) -> bool:
    """Whether other machines may reach a server on this host: not all of its addresses are the machine's own loop."""
    try:
        found = [ipaddress.ip_address(name) for _, name in addresses(host)]
    except OSError:  # nothing listens there
        return False
    return not all((getattr(one, "ipv4_mapped", None) or one).is_loopback for one in found)


def _listen_on_all(host: str, port: int, setting: str) -> tuple[list[socket.socket], dict[str, OSError]]:
    """A socket on each address that the machine has, and the errors by the addresses that it does not have."""
    listening: list[socket.socket] = []
    absent: dict[str, OSError] = {}
    try:
        for address in _with_ipv4(addresses(host)):
            try:
                listening.append(_listen(address, listening[0].getsockname()[1] if listening else port))
            except OSError as error:
                if not is_absent(error):
                    raise
                absent[address[1]] = error
        if absent and not listening:
            raise next(iter(absent.values()))
    except OSError as error:
        for made in listening:
            made.close()
        raise listening_error(host, port, setting, error) from error
    return listening, absent


def bind_error(address: Address, port: int) -> OSError | None:
    """The system's error for a socket on this address; None if there is none."""
    try:
        _listen(address, port).close()
    except OSError as error:
        return error
    return None


def is_absent(error: OSError) -> bool:
    """Whether an error says that the machine does not have the address."""
    return error.errno in _ABSENT


def _with_ipv4(found: list[Address]) -> list[Address]:
    """With IPv4's wildcard after IPv6's, if this system has no socket for both."""
    is_wildcard = any(_is_ipv6_wildcard(address) for address in found)
    return [*found, (socket.AF_INET, "0.0.0.0")] if is_wildcard and not socket.has_dualstack_ipv6() else found


def _is_ipv6_wildcard(address: Address) -> bool:
    return address[0] == socket.AF_INET6 and ipaddress.ip_address(address[1]).is_unspecified


def _listen(address: Address, port: int) -> socket.socket:
    both = _is_ipv6_wildcard(address) and socket.has_dualstack_ipv6()
    family, name = address
    listening = socket.create_server((name, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    # Connections inherit TCP_NODELAY. asyncio sets it only on sockets with an explicit TCP protocol. uvicorn sends head
    # and body separately: without it, the body would wait 40 ms for the client's delayed acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setblocking(False)
    return listening
