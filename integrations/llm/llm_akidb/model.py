"""``MLXEmbeddingModel``: LLM's ``EmbeddingModel`` over ``akidb_embeddings.EmbeddingService``.

It holds only settings, and loads nothing until it is used. It computes with the process's shared service for them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

import click
from llm.models import EmbeddingModel

from akidb_embeddings import EmbeddingError

PREFIX = "akidb/"
"""How the ids of these models begin."""

QUERY = "/query"
"""How the ids of those for queries end."""


class MLXEmbeddingModel(EmbeddingModel):
    """One side of a model: documents, such as a collection holds, or the queries that are compared with them.

    Attributes:
        model_id: ``akidb/NAME`` for documents, ``akidb/NAME/query`` for queries.
    """

    supports_text = True
    supports_binary = False
    batch_size = 2048  # the engine sorts so many by length, and computes micro-batches of its own

    def __init__(self, name: str, values: Mapping[str, Any], for_queries: bool = False) -> None:
        """Take settings, which are checked when they are used: those of one model must not stop another.

        Args:
            name: The name after ``akidb/``.
            values: What ``StoredModel.to_dict`` wrote.
            for_queries: Whether texts get the query prompt, and not the document prompt.
        """
        self.model_id = f"{PREFIX}{name}{QUERY if for_queries else ''}"
        self._name, self._values, self._for_queries = name, values, for_queries

    @property
    def queries(self) -> "MLXEmbeddingModel":
        """The same model for queries."""
        return MLXEmbeddingModel(self._name, self._values, for_queries=True)

    def embed_batch(self, items: Iterable[str | bytes], *, key: str | None = None) -> Iterator[list[float]]:
        """Vectors of texts; no key is needed.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_documents``; also if the model is another one now than
                when it was registered.
            click.ClickException: The same, in LLM's own commands, which print it.
        """
        from akidb_embeddings.service.adapter import to_lists
        from akidb_embeddings.service.stored import StoredModel

        texts = cast(Iterable[str], items)  # the base class has refused bytes
        try:
            service = StoredModel.read(self._values).service()
            embed = service.embed_queries if self._for_queries else service.embed_documents
            return iter(to_lists(embed(texts, wait=True)))
        except EmbeddingError as error:
            raise for_command_line(error, self.model_id) from error


def for_command_line(error: EmbeddingError, model_id: str) -> Exception:
    """The error itself, or within LLM's commands what they print without a traceback."""
    context = click.get_current_context(silent=True)
    if context is None:
        return error
    from llm.cli import cli  # which loads plugins when it is imported: this one must be complete by then

    return click.ClickException(f"{model_id}: {error}") if context.find_root().command is cli else error
