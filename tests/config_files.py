"""Configuration files for the tests, a home without any, the defaults, and the words of a refusal."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from akidb_embeddings.errors import ConfigurationError

DEFAULTS = {
    "model_name": "qwen3-0.6b-4bit",
    "revision": None,
    "adapter": None,
    "adapter_revision": None,
    "pooling": "auto",
    "normalize": None,
    "dimensions": None,
    "untrained_dimensions": False,
    "max_tokens": None,
    "truncate": "end",
    "query_prompt": None,
    "document_prompt": None,
    "query_prompt_name": None,
    "document_prompt_name": None,
    "task": None,
    "batch_size": 32,
    "memory": "fast",
    "compute": "fast",
    "warm_up": True,
    "keep_warm": 0,
    "max_queued_tokens": 4_000_000,
    "auto_download": True,
    "cache_dir": None,
}


@pytest.fixture(name="home", autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, an empty working directory beside it, and none of the variables that point elsewhere."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("AKIDB_CONFIG", raising=False)
    monkeypatch.chdir(work)
    return home


def write(path: Path, **values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"embedding": values}), encoding="utf-8")
    return path


def write_text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(call: Any, *arguments: Any, **keywords: Any) -> str:
    """The message of the ConfigurationError that ``call`` raises."""
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)
