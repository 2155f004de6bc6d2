"""``MLXDocumentEmbedder``: vectors of documents, for Haystack."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from haystack import Document, component, default_from_dict, default_to_dict
from haystack_integrations.components.embedders.akidb.arguments import configuration, settings_of

import akidb_embeddings  # its names are imported on first use
from akidb_embeddings import ConfigurationError, EmbeddingConfig, InputError
from akidb_embeddings.service.adapter import ato_lists, to_lists

if TYPE_CHECKING:
    from akidb_embeddings.service.options import Options


@component
class MLXDocumentEmbedder:
    """Vectors of documents, computed with MLX on this machine, with the model's document prompt.

    ```python
    embedder = MLXDocumentEmbedder("minilm-l6-v2")
    documents = embedder.run([Document(content="Await suspends a coroutine.")])["documents"]
    ```

    It holds only a configuration; ``warm_up`` or the first call loads the model. Equal configurations, also those of
    ``MLXTextEmbedder``, share one engine. Every error is an ``akidb_embeddings.EmbeddingError``.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        config: EmbeddingConfig | None = None,
        config_path: str | Path | None = None,
        progress_bar: bool = True,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        **settings: Any,
    ) -> None:
        r"""Take a configuration.

        Args:
            model: A registry name, a Hugging Face repository or a local folder. None for the configuration's.
            config: A whole configuration.
            config_path: A YAML file with one; without both, the file ``EmbeddingConfig.from_yaml`` finds, or defaults.
            progress_bar: Whether ``run`` and ``run_async`` show a progress bar.
            meta_fields_to_embed: Entries of a document's ``meta`` that are put before its content, where it has them.
            embedding_separator: What stands between them and the content.
            **settings: Fields of ``EmbeddingConfig``, which override the configuration. ``prefix`` stands for
                ``document_prompt``, ``normalize_embeddings`` for ``normalize``, ``truncate_dim`` for ``dimensions``.

        Raises:
            ConfigurationError: An argument is unknown, given twice, of a wrong type or out of range.
        """
        self.config = configuration(model, config, config_path, settings, prefix="document_prompt")
        self.progress_bar = progress_bar
        self.meta_fields_to_embed = _field_names(meta_fields_to_embed)
        if not isinstance(embedding_separator, str):
            raise ConfigurationError(
                field="embedding_separator", reason=f"is {embedding_separator!r}; it must be a string."
            )
        self.embedding_separator = embedding_separator

    def warm_up(self) -> None:
        """Load the model, unless it is loaded.

        Raises:
            EmbeddingError: As in ``EmbeddingService``.
        """
        akidb_embeddings.shared_service(self.config)

    async def warm_up_async(self) -> None:
        """``warm_up`` for event loops."""
        await akidb_embeddings.ashared_service(self.config)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """The documents with their vectors, as copies.

        Args:
            documents: The documents.

        Returns:
            ``{"documents": [...]}``, in the same order.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_documents``; or one of them is no document.
        """
        texts = self._texts(documents)
        service = akidb_embeddings.shared_service(self.config)
        with self._options(len(texts)) as options:
            vectors = to_lists(service.embed_documents(texts, **options))
        return {"documents": _with_vectors(documents, vectors)}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """``run`` for event loops. Cancelling the task removes the texts from the queue."""
        texts = self._texts(documents)
        service = await akidb_embeddings.ashared_service(self.config)
        with self._options(len(texts)) as options:
            vectors = await ato_lists(await service.aembed_documents(texts, **options))
        return {"documents": _with_vectors(documents, vectors)}

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, for ``from_dict`` and for pipelines in YAML."""
        return default_to_dict(
            self,
            **settings_of(self.config),
            progress_bar=self.progress_bar,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that a dictionary of ``to_dict`` describes; what it lacks is as in the constructor."""
        embedder: Self = default_from_dict(cls, data)
        return embedder

    def _texts(self, documents: list[Document]) -> list[str]:
        if not isinstance(documents, list):
            kind = type(documents).__name__
            raise InputError(field="documents", reason=f"is of type {kind}; a list of Documents is expected.")
        for index, one in enumerate(documents):
            if not isinstance(one, Document):
                reason = f"is of type {type(one).__name__}; a Document is expected. MLXTextEmbedder embeds a string."
                raise InputError(field="documents", index=index, reason=reason)
        return [self.embedding_separator.join([*self._meta(one), one.content or ""]) for one in documents]

    def _meta(self, document: Document) -> list[str]:
        values = (document.meta.get(name) for name in self.meta_fields_to_embed)
        return [str(value) for value in values if value is not None]

    @contextmanager
    def _options(self, total: int) -> Iterator["Options"]:
        if not self.progress_bar:
            yield {"wait": True}
            return
        from tqdm.auto import tqdm

        with tqdm(total=total, desc="Calculating embeddings", unit=" documents") as bar:
            yield {"wait": True, "progress": bar.update}


def _field_names(names: list[str] | None) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names or ()):
        raise ConfigurationError(field="meta_fields_to_embed", reason=f"is {names!r}; it must be a list of names.")
    return list(names or ())


def _with_vectors(documents: list[Document], vectors: list[list[float]]) -> list[Document]:
    return [replace(one, embedding=vector) for one, vector in zip(documents, vectors, strict=True)]
