"""The adapters' tests, too, keep the bundled model loaded, and use no network."""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # which Haystack reads when it is imported

import socket

import pytest

from tests.conftest import minilm as minilm


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks for a connection or for an address fails."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"the network is used: {arguments}")

    for owner, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, refuse)
