"""What both test modules share: LLM's own commands in a folder of their own, and models."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llm.cli
import numpy as np
import pytest
from click.testing import CliRunner, Result

from akidb_embeddings import EmbeddingConfig, EmbeddingService, close_shared_services
from tests.fixtures import DATA

MINILM = "minilm-l6-v2"
PROMPTED = DATA / "models" / "tiny-gemma3"  # with another prompt for queries than for documents
QUERY, DOCUMENT = "task: search result | query: ", "title: none | text: "  # its prompts
FACTS = {
    "nile": "The Nile is a river in Africa.",
    "basalt": "Basalt is a volcanic rock.",
    "bees": "Bees make honey from nectar.",
    "violin": "A violin has four strings.",
}
QUESTION = "Which instrument is played with a bow?"

Run = Callable[..., Result]


@pytest.fixture(name="run")
def llm_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command of LLM, whose folder is empty at first. It must end with the given exit code."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facts.json").write_text(json.dumps([{"id": name, "text": text} for name, text in FACTS.items()]))

    def invoke(*arguments: str | Path, code: int = 0, **options: Any) -> Result:
        result = CliRunner().invoke(llm.cli.cli, [str(argument) for argument in arguments], **options)
        assert result.exit_code == code, result.output
        return result

    yield invoke
    close_shared_services()


def vectors(texts: list[str], prompt: str, model: str | Path = PROMPTED, **settings: Any) -> np.ndarray[Any, Any]:
    """What the plugin is to agree with."""
    with EmbeddingService(model, config=EmbeddingConfig(), **settings) as service:
        return np.asarray(service.embed(texts, prompt=prompt))


def scores(run: Run, *arguments: str) -> dict[str, float]:
    """The entries that a command prints as JSON lines."""
    entries = [json.loads(line) for line in run(*arguments).stdout.splitlines()]
    return {entry["id"]: entry["score"] for entry in entries}
