"""Every test of the command line has a home and a working folder of its own, and no way to the real hub."""

import json
from pathlib import Path

import pytest

from tests.cli.tools import TEXTS
from tests.hub_server import isolate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AKIDB_CONFIG", "XDG_CONFIG_HOME", "PYTHONUNBUFFERED"):
        monkeypatch.delenv(name, raising=False)
    return isolate(monkeypatch, tmp_path / "home")


@pytest.fixture
def source() -> Path:
    """A file of JSON lines."""
    path = Path("in.jsonl")
    lines = [json.dumps({"key": f"k{n}", "body": text}) for n, text in enumerate(TEXTS)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
