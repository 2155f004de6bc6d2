"""Running the command line: in this process, or as a real one."""

import io
import subprocess
import sys
from typing import Any

import pytest

from tests.fixtures import DATA

BUNDLED = ("--model", "minilm-l6-v2")
TINY = ("--model", str(DATA / "models" / "tiny-bert"))  # 32 dimensions, random weights, fast
PROCESS = (sys.executable, "-m", "akidb_embeddings")

# What the fixture ``source`` holds, and how to read it.
TEXTS = ["one", "two words", "", "vier Wörter, ein Satz"]
FIELDS = ("--text-field", "body", "--id-field", "key")


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make ``content`` the standard input of this process."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def run(*arguments: str, stdin: bytes = b"", **settings: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run the command line in a process of its own."""
    return subprocess.run([*PROCESS, *arguments], input=stdin, capture_output=True, timeout=60, check=False, **settings)
