"""``MLXRerank``: LangChain's ``BaseDocumentCompressor`` over ``akidb_embeddings.RerankService``.

It holds only a configuration, so that it can be pickled, copied and compared, and loads nothing until it is used. It
computes with the process's shared service for that configuration.
"""

import os
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, model_serializer

import akidb_embeddings  # its names are imported on first use
from akidb_embeddings import InputError, RerankConfig
from akidb_embeddings.config.model import AS_CONFIGURED
from akidb_embeddings.config.rerank import FIELDS
from akidb_embeddings.reranking.adapter import SETTINGS, best
from akidb_embeddings.service.arguments import names_checker
from langchain_akidb.rerank_arguments import to_config_fields

if TYPE_CHECKING:
    from akidb_embeddings import Hit


T = TypeVar("T")

# Of CohereRerank's ``rerank``.
_checked_names = names_checker(
    "MLXRerank",
    FIELDS,
    {
        "model": "make another object of it",
        "rank_fields": "the text of a document counts, and nothing else of it",
        "max_tokens_per_doc": "make the object with max_tokens=N, for query and document together",
    },
)


class MLXRerank(BaseDocumentCompressor):
    """Documents by their relevance to a query, computed by a cross-encoder or Qwen3-Reranker on this machine.

    ```python
    reranker = MLXRerank("bge-reranker-v2-m3", top_n=3)
    retriever = ContextualCompressionRetriever(base_compressor=reranker, base_retriever=store.as_retriever())
    ```

    Constructing it loads nothing; the first call with documents does. Equal objects, and any number of threads and
    event loops, share one engine. Every error is an ``akidb_embeddings.EmbeddingError``. It cannot be changed:
    ``model_copy(update={"top_n": 5})`` makes another one.

    Attributes:
        config: The configuration in force.
        top_n: How many documents are returned; None for all.
        activation: What is applied to the model's logits.
        max_over_passages: Whether a long document counts as the best of its passages.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: RerankConfig
    top_n: int | None
    activation: str
    max_over_passages: bool

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        config: RerankConfig | None = None,
        config_path: str | Path | None = None,
        top_n: int | None = 3,
        activation: str = "model",
        max_over_passages: bool = False,
        **settings: Any,
    ) -> None:
        """Take a configuration.

        Args:
            model: A registry name, a Hugging Face repository or a local folder; also as ``model_name=``. None for the
                configuration's.
            config: A whole configuration.
            config_path: A YAML file with one, in its section ``rerank:``; without both, the file that
                ``RerankConfig.from_yaml`` finds, or defaults.
            top_n: How many documents are returned; None for all.
            activation: "model" for scores as the model was trained to give them, "sigmoid" for scores from 0 to 1,
                "identity" for the model's logits.
            max_over_passages: Divide a document that is too long into passages, of which the best counts, instead of
                cutting its end.
            **settings: Fields of ``RerankConfig``, which override the configuration. ``cache_folder`` and
                ``max_length`` stand for ``cache_dir`` and ``max_tokens``. ``HuggingFaceCrossEncoder``'s
                ``model_kwargs`` may contain ``revision``, ``cache_folder``, ``max_length`` and
                ``default_prompt_name``.

        Raises:
            ConfigurationError: An argument is unknown, given twice, of a wrong type or out of range.
        """
        if model is not None:
            settings["model"] = model
        own: dict[str, Any] = {"top_n": top_n, "activation": activation, "max_over_passages": max_over_passages}
        for name, value in own.items():
            SETTINGS[name].check(name, value)
        fields = to_config_fields(settings)
        if config is None and config_path is None and fields.keys() >= set(FIELDS):
            config = RerankConfig()  # a dump has every value, so that no file has to be read
        own["config"] = RerankConfig.resolve(config, config_path, **fields)
        super().__init__(**own)

    @property
    def model_name(self) -> str:
        """The model's registry name, repository or folder."""
        return self.config.model_name

    @property
    def model(self) -> str:
        """``model_name``, by its other name."""
        return self.config.model_name

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The ``top_n`` most relevant documents, the best first; of equal logits, in the order in which they came.

        Args:
            documents: Any number of documents. They are not changed.
            query: The query.
            callbacks: Part of the interface; nothing here reports to them.

        Returns:
            Copies whose ``metadata["relevance_score"]`` is the score.

        Raises:
            EmbeddingError: As in ``RerankService.rerank``.
        """
        found = _listed(documents, Document)
        return _scored(found, self._rank(found, query, self.top_n))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """``compress_documents`` for event loops. Cancelling the task removes its documents from the queue."""
        found = _listed(documents, Document)
        return _scored(found, await self._arank(found, query, self.top_n))

    @_checked_names
    def rerank(
        self, documents: Sequence[str | Document], query: str, *, top_n: int | None = AS_CONFIGURED
    ) -> list[dict[str, Any]]:
        """The places of documents in a ranking, the best first.

        Args:
            documents: Any number of documents or texts.
            query: The query.
            top_n: How many are wanted instead of the object's ``top_n``; None for all.

        Returns:
            Dictionaries with ``index``, the document's place in ``documents``, and ``relevance_score``.

        Raises:
            EmbeddingError: As in ``RerankService.rerank``.
        """
        return _places(self._rank(_listed(documents, str, Document), query, self._wanted(top_n)))

    @_checked_names
    async def arerank(
        self, documents: Sequence[str | Document], query: str, *, top_n: int | None = AS_CONFIGURED
    ) -> list[dict[str, Any]]:
        """``rerank`` for event loops."""
        return _places(await self._arank(_listed(documents, str, Document), query, self._wanted(top_n)))

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, for ``from_dict``."""
        own = {"top_n": self.top_n, "activation": self.activation, "max_over_passages": self.max_over_passages}
        return self.config.to_dict() | own

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """An equal object from the values of ``to_dict``; configuration files are not read."""
        config = RerankConfig(**{name: value for name, value in values.items() if name in FIELDS})
        return cls(config=config, **{name: value for name, value in values.items() if name not in FIELDS})

    @model_serializer
    def _dump(self) -> dict[str, Any]:
        return self.to_dict()

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        defaults = RerankConfig().to_dict()
        return [(name, value) for name, value in self.to_dict().items() if (name, value) not in defaults.items()]

    def _rank(self, documents: "Sequence[str | Document]", query: str, top_n: int | None) -> "Sequence[Hit]":
        SETTINGS["top_n"].check("top_n", top_n)
        if not documents:
            return []
        service = akidb_embeddings.shared_reranker(self.config)
        return best(service, service.rerank(query, _texts(documents), **self._options()), top_n)

    async def _arank(self, documents: "Sequence[str | Document]", query: str, top_n: int | None) -> "Sequence[Hit]":
        SETTINGS["top_n"].check("top_n", top_n)
        if not documents:
            return []
        service = await akidb_embeddings.ashared_reranker(self.config)
        return best(service, await service.arerank(query, _texts(documents), **self._options()), top_n)

    def _options(self) -> dict[str, Any]:
        return {"activation": self.activation, "max_over_passages": self.max_over_passages, "wait": True}

    def _wanted(self, top_n: int | None) -> int | None:
        return self.top_n if top_n is AS_CONFIGURED else top_n


def _listed(documents: Iterable[T], *kinds: type) -> list[T]:
    """The documents as a list.

    Raises:
        InputError: It is no list of these kinds; ``index`` says which item is not.
    """
    names = " or ".join(kind.__name__ for kind in kinds)
    try:
        # A string has characters, and a Document fields.
        iterator = None if isinstance(documents, str | bytes | Document) else iter(documents)
    except TypeError:
        iterator = None
    if iterator is None:
        reason = f"is of type {type(documents).__name__}; a list is expected, each item of type {names}."
        raise InputError(field="documents", reason=reason)
    found = list(iterator)
    for index, document in enumerate(found):
        if not isinstance(document, kinds):
            reason = f"is of type {type(document).__name__}; {names} is expected."
            raise InputError(field="documents", index=index, reason=reason)
    return found


def _texts(documents: Iterable[str | Document]) -> list[str]:
    return [document if isinstance(document, str) else document.page_content for document in documents]


def _scored(documents: Sequence[Document], hits: "Sequence[Hit]") -> list[Document]:
    found = []
    for hit in hits:
        document = documents[hit.index]
        metadata = deepcopy(document.metadata) | {"relevance_score": hit.score}
        found.append(document.model_copy(update={"metadata": metadata}))
    return found


def _places(hits: "Sequence[Hit]") -> list[dict[str, Any]]:
    return [{"index": hit.index, "relevance_score": hit.score} for hit in hits]
