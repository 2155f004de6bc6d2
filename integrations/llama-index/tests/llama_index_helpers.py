"""What several test modules of this folder share."""

import contextlib
import copy
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.embeddings.akidb import MLXEmbedding

from akidb_embeddings import EmbeddingConfig, EmbeddingService, close_shared_rerankers, close_shared_services
from akidb_embeddings.engine import table as engine_table
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
PROMPTS: dict[str, Any] = {"query_prompt": "query: ", "document_prompt": "passage: "}

# Every field of EmbeddingConfig, none with its default; NAMED has those that exclude some of them.
DECIDING: dict[str, Any] = {
    "pooling": "cls",
    "normalize": False,
    "dimensions": 64,
    "untrained_dimensions": True,
    "max_tokens": 48,
    "truncate": "error",
    "query_prompt": "query: ",
    "document_prompt": "passage: ",
}
NAMED: dict[str, Any] = {"query_prompt_name": "query", "document_prompt_name": "document"}
INCIDENTAL: dict[str, Any] = {
    "batch_size": 4,
    "memory": "compact",
    "compute": "strict",
    "warm_up": False,
    "keep_warm": 1.5,
    "max_queued_tokens": 1000,
    "auto_download": False,
    "cache_dir": "models",
    "embed_batch_size": 8,
    "num_workers": 3,
}

Copy = Callable[[MLXEmbedding], MLXEmbedding]
COPIES: dict[str, Copy] = {
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "model_copy": lambda one: one.model_copy(),
    "deep model_copy": lambda one: one.model_copy(deep=True),
}
FORMS: dict[str, Copy] = {
    "dict": lambda one: MLXEmbedding.from_dict(one.to_dict()),
    "json": lambda one: MLXEmbedding.from_json(one.to_json()),
    "json of a dict": lambda one: MLXEmbedding.from_dict(json.loads(json.dumps(one.to_dict()))),
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration file is found, and the working directory is the test's own."""
    monkeypatch.delenv("AKIDB_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-such-folder"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def no_noise(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """LlamaIndex logs what it leaves out of a pickle."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.fixture(name="core", scope="module")
def prompted_core() -> Iterator[EmbeddingService]:
    with EmbeddingService(config=EmbeddingConfig(model_name=MODEL, **PROMPTS)) as service:
        yield service


@pytest.fixture(name="embedding")
def prompted_embedding() -> MLXEmbedding:
    return MLXEmbedding(MODEL, **PROMPTS)


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


@pytest.fixture(name="fake")
def fake_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeModel]:
    """In place of the weights that services of this test would load."""
    model = FakeModel(dimension=384)
    close_shared_services()  # those of real models
    close_shared_rerankers()
    monkeypatch.setattr(engine_table, "_load", lambda checkpoint, memory, compute: model)
    monkeypatch.setattr(engine_table, "_engines", {})
    monkeypatch.setattr(engine_table, "_users", {})
    yield model
    model.release()
    close_shared_services()
    close_shared_rerankers()


def run_script(folder: Path, code: str, *arguments: str, seconds: float = 60.0) -> str:
    """What a program in a file prints, which processes of method ``spawn`` can import again.

    It must end by itself, with exit code 0, and so must its children.
    """
    script = folder / "program.py"
    script.write_text(code)
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    with subprocess.Popen(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "AKIDB_BACKEND": "cpu"},
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
