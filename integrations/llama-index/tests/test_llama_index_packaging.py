"""One distribution has parts of two namespaces, which other distributions have parts of, too."""

import importlib
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ROOT = REPOSITORY / "integrations" / "llama-index"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PARTS = {"llama_index.embeddings.akidb": "MLXEmbedding", "llama_index.postprocessor.akidb": "MLXRerank"}


def test_folders_that_are_shared_are_no_packages() -> None:
    """With an ``__init__.py``, the other distributions' modules in that folder could not be imported."""
    packages = sorted(file.parent.relative_to(ROOT).as_posix() for file in ROOT.glob("llama_index/**/__init__.py"))
    assert packages == sorted(name.replace(".", "/") for name in PARTS)
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["llama_index"]


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_typed_and_named_where_llamahub_looks(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == [PARTS[name]]
    assert module.__file__
    assert (Path(module.__file__).parent / "py.typed").is_file()
    assert PARTS[name] in PROJECT["tool"]["llamahub"]["class_authors"]
    assert PROJECT["tool"]["llamahub"]["import_path"] in PARTS
