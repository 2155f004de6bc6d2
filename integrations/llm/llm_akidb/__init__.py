"""Text embeddings with MLX for LLM, from ``akidb_embeddings``: a plugin, found by its entry point.

Every start of ``llm`` imports it, so it imports no more than it must.
"""

from collections.abc import Callable

import click
import llm

from llm_akidb.commands import akidb
from llm_akidb.model import MLXEmbeddingModel
from llm_akidb.registered import BUNDLED, read_models

__all__ = ["MLXEmbeddingModel"]


@llm.hookimpl
def register_embedding_models(register: Callable[..., None]) -> None:
    """Register the bundled model and those of ``llm akidb register``, each for documents and for queries."""
    for name, values in {**read_models(), BUNDLED: {"model_name": BUNDLED}}.items():
        documents = MLXEmbeddingModel(name, values)
        register(documents)
        register(documents.queries)


@llm.hookimpl
def register_commands(cli: click.Group) -> None:
    """Add ``llm akidb``."""
    cli.add_command(akidb)
