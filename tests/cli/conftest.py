"""Every test of the command line has a home and a working folder of its own, and no way to the real hub."""

from pathlib import Path

import pytest

from tests.hub_server import isolate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AKIDB_CONFIG", "XDG_CONFIG_HOME", "PYTHONUNBUFFERED"):
        monkeypatch.delenv(name, raising=False)
    return isolate(monkeypatch, tmp_path / "home")
