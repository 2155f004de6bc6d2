"""What several test modules of this folder share."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from akidb_embeddings import EmbeddingService, close_shared_services, engine_table
from tests.conftest import REPOSITORY, FakeModel

MODEL = "minilm-l6-v2"
TEXTS = [
    "The weather is lovely today.",
    "It's so sunny outside!",
    "He drove to the stadium.",
    "über 東京 🦊",
    "",
    "A " + "rather " * 30 + "long text.",
]


def without_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No configuration file is found, and ``folder`` is the working directory."""
    monkeypatch.delenv("AKIDB_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "no-such-folder"))
    monkeypatch.chdir(folder)


def count_texts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the number of texts of every call that computes vectors from now on."""
    calls: list[int] = []
    encode, aencode = EmbeddingService.encode, EmbeddingService.aencode

    def counting(self: EmbeddingService, texts: list[str], **options: Any) -> Any:
        calls.append(len(texts))
        return encode(self, texts, **options)

    async def acounting(self: EmbeddingService, texts: list[str], **options: Any) -> Any:
        calls.append(len(texts))
        return await aencode(self, texts, **options)

    monkeypatch.setattr(EmbeddingService, "encode", counting)
    monkeypatch.setattr(EmbeddingService, "aencode", acounting)
    return calls


def fake_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    """In place of the weights that services of this test would load. What a fixture yields."""
    model = FakeModel(dimension=384)
    close_shared_services()  # those of real models
    monkeypatch.setattr(engine_table, "_load", lambda checkpoint, memory: model)
    monkeypatch.setattr(engine_table, "_engines", {})
    monkeypatch.setattr(engine_table, "_users", {})
    yield model
    model.release()
    close_shared_services()


def run_script(folder: Path, code: str, *arguments: str, seconds: float = 60.0) -> str:
    """What a program in a file prints, which processes of method ``spawn`` can import again.

    It must end by itself, with exit code 0, and so must its children.
    """
    script = folder / "program.py"
    script.write_text(code)
    with subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "AKIDB_BACKEND": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"The program hangs: {code}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # children included, for they hold the pipes open
    assert process.returncode == 0, errors
    return output
