"""Where the server answers: on every address of its host, over IPv4 and IPv6, REST and gRPC alike."""

import contextlib
import errno
import http.client
import socket
from typing import Any

import grpc
import pytest

from akidb_embeddings import EmbeddingError, EmbeddingService
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.sockets.listening import addresses, is_reachable, listen
from tests.conftest import LONG
from tests.server.calls import address, stub
from tests.server.conftest import Running, server_here

BOTH = ("127.0.0.1", "::1")


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def answers(running: Running, host: str) -> tuple[bool, bool]:
    """Whether REST and gRPC answer on this address."""
    connection = http.client.HTTPConnection(host, address(running.url)[1], timeout=LONG)
    rest = False
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.request("GET", "/livez")
        rest = connection.getresponse().status == 200
    port = running.target.rpartition(":")[2]
    with stub(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") as calls:
        call = calls.Info.future(pb.InfoRequest(), timeout=LONG)
        assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        return rest, call.code() is grpc.StatusCode.OK


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that has an address of each family, as localhost does on most machines."""
    real = socket.getaddrinfo

    def both(host: Any, *arguments: Any, **options: Any) -> Any:
        hosts = BOTH if host == "both.example" else (host,)
        return [found for one in hosts for found in real(one, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    return "both.example"


@ipv6
def test_the_wildcard_of_ipv6_answers_ipv4_too(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, host="::") as here:
        assert here.url.startswith("http://[::]:")
        assert here.target.startswith("[::]:")
        assert [answers(here, host) for host in BOTH] == [(True, True), (True, True)]


@pytest.mark.long
@ipv6
def test_other_hosts_answer_on_their_own_address_alone(bundled: EmbeddingService) -> None:
    yes, no = (True, True), (False, False)
    for host, expected in (
        ("127.0.0.1", [yes, no]),
        ("::1", [no, yes]),
        ("0.0.0.0", [yes, (False, True)]),  # gRPC's library takes every wildcard for that of both
    ):
        with server_here({"m": bundled}, host=host) as here:
            assert [answers(here, one) for one in BOTH] == expected, host


@ipv6
def test_a_name_is_answered_on_each_of_its_addresses(bundled: EmbeddingService, two: str) -> None:
    with server_here({"m": bundled}, host=two) as here:
        assert here.url.startswith("http://both.example:")
        assert [answers(here, host) for host in BOTH] == [(True, True), (True, True)]


def test_localhost_is_answered_on_the_address_that_every_machine_has(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}, host="localhost") as here:
        assert answers(here, "127.0.0.1") == (True, True)


def test_where_no_socket_takes_both_there_is_one_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    sockets = listen("::", 0)
    try:
        assert {made.family for made in sockets} >= {socket.AF_INET}
        assert len({made.getsockname()[1] for made in sockets}) == 1
    finally:
        for made in sockets:
            made.close()


def test_an_address_that_the_machine_lacks_is_left_out_with_a_warning(
    bundled: EmbeddingService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    absent = "192.0.2.1"  # of a network for documentation
    real = socket.getaddrinfo

    def both(host: Any, *arguments: Any, **options: Any) -> Any:
        hosts = (absent, "127.0.0.1") if host == "both.example" else (host,)
        return [found for one in hosts for found in real(one, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with server_here({"m": bundled}, host="both.example") as here:
        assert answers(here, "127.0.0.1") == (True, True)
    assert f"Not listening on {absent}: " in caplog.text
    with pytest.raises(EmbeddingError, match=rf"cannot listen on {absent}, port 0: "):
        listen(absent, 0)


def test_a_port_that_is_taken_on_one_address_is_an_error(two: str) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        with pytest.raises(EmbeddingError, match=f"cannot listen on both.example, port {port}") as caught:
            listen(two, port)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EADDRINUSE
        with socket.create_server(("127.0.0.1", port)):  # what was bound before is free again
            pass


@pytest.mark.parametrize(
    ("host", "reachable"),
    [
        ("127.0.0.1", False),
        ("127.1.2.3", False),
        ("::1", False),
        ("localhost", False),
        ("::ffff:127.0.0.1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.1", True),
        ("nowhere.invalid", False),
    ],
)
def test_which_hosts_other_machines_may_reach(host: str, reachable: bool) -> None:
    assert is_reachable(host) == reachable


def test_a_host_without_an_address_is_an_error() -> None:
    with pytest.raises(EmbeddingError, match=r"cannot listen on nowhere\.invalid, port 0"):
        listen("nowhere.invalid", 0)
    assert addresses("127.0.0.1") == [(socket.AF_INET, "127.0.0.1")]
