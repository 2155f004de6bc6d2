"""The models that the user has named: ``akidb.json`` in LLM's folder, with each one's settings and version."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import llm

BUNDLED = "minilm-l6-v2"
"""The model that is part of ``akidb_embeddings``, and is always there."""

Models = Mapping[str, Mapping[str, Any]]
"""The settings, as ``StoredModel.to_dict`` wrote them, by the name after ``akidb/``."""


def models_file() -> Path:
    """The file."""
    folder: Path = llm.user_dir()
    return folder / "akidb.json"


def read_models() -> Models:
    """The registered models. A file that is no such one is reported, and leaves the other models of LLM alone."""
    try:
        return _parse(models_file())
    except ValueError as error:
        click.echo(f"Warning: {error}", err=True)
        return {}


def change_models(add: Models, remove: str | None = None) -> None:
    """Write the file anew.

    Raises:
        click.ClickException: The file that is there is none of this plugin's.
    """
    file = models_file()
    try:
        models = {name: values for name, values in _parse(file).items() if name != remove}
    except ValueError as error:
        raise click.ClickException(f"{error} Repair or remove it.") from error
    partial = file.with_suffix(".part")
    partial.write_text(json.dumps({**models, **add}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(file)  # at once: whoever reads meanwhile has one of both


def _parse(file: Path) -> Models:
    if not file.exists():
        return {}
    try:
        models = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}.") from error
    if not isinstance(models, dict) or not all(isinstance(values, dict) for values in models.values()):
        raise ValueError(f"{file} is no list of models, as `llm akidb register` writes it.")
    return models
