"""``MLXRerank``: LlamaIndex's ``BaseNodePostprocessor`` over ``akidb_embeddings.RerankService``.

It holds only a configuration, so that it can be pickled, copied, compared and serialized, and loads nothing until it is
used. It computes with the process's shared service for that configuration.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import ConfigDict, Field
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # passed on without __all__
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from llama_index.postprocessor.akidb.arguments import ALIASES, UNSUPPORTED

import akidb_embeddings  # its names are imported on first use
from akidb_embeddings import InputError, RerankConfig
from akidb_embeddings.config.rerank import FIELDS
from akidb_embeddings.config.rules import BOOLEAN
from akidb_embeddings.reranking.adapter import SETTINGS, best
from akidb_embeddings.service.adapter import rename_arguments

if TYPE_CHECKING:
    from akidb_embeddings import Hit

dispatcher = get_dispatcher(__name__)

RETRIEVAL_SCORE = "retrieval_score"
"""The key of the score that a node had before, in its metadata."""

_RULES = {**SETTINGS, "keep_retrieval_score": BOOLEAN}


class MLXRerank(BaseNodePostprocessor):
    """Nodes by their relevance to a query, computed by a cross-encoder or Qwen3-Reranker on this machine.

    ```python
    reranker = MLXRerank("bge-reranker-v2-m3", top_n=3)
    engine = index.as_query_engine(similarity_top_k=20, node_postprocessors=[reranker])
    ```

    The model is loaded by the first call with nodes, not by the constructor. Equal objects, and any number of threads
    and event loops, share one engine. Every error is an ``akidb_embeddings.EmbeddingError``. The fields are those of
    ``akidb_embeddings.RerankConfig``, and a few.

    A node's text is what an embedding model reads of it, metadata included (``MetadataMode.EMBED``), as in LlamaIndex's
    own rerankers.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model_name: str = Field(description="A registry name, a Hugging Face repository or a local folder.")
    revision: str | None = Field(default=None, description="Branch, tag or commit of the repository.")
    max_tokens: int | None = Field(
        default=None, description="Longest query and node in tokens; None for the model's limit, or 8192 if less."
    )
    truncate: str = Field(default="end", description="'end' cuts longer nodes, 'error' rejects them.")
    instruction: str | None = Field(
        default=None, description="What makes a node relevant, for models that take an instruction."
    )
    prompt_name: str | None = Field(default=None, description="Name of one of the model's prompts instead.")
    batch_size: int = Field(default=32, description="Most nodes in one micro-batch on a CPU.")
    memory: str = Field(default="fast", description="'fast', or 'compact' for a smaller footprint.")
    compute: str = Field(default="fast", description="'fast', or 'strict' for float32 on GPUs, too.")
    warm_up: bool = Field(default=True, description="Whether a GPU computes the shapes of short nodes after loading.")
    keep_warm: float = Field(default=0, description="Seconds a GPU is kept awake after a request.")
    max_queued_tokens: int = Field(default=4_000_000, description="Most tokens in the engine's queue.")
    auto_download: bool = Field(default=True, description="Whether a missing model may be downloaded.")
    cache_dir: str | None = Field(default=None, description="Folder for downloads.")
    top_n: int | None = Field(default=2, description="How many nodes are returned; None for all.")
    activation: str = Field(
        default="model",
        description="'model' for scores as trained, 'sigmoid' for scores from 0 to 1, 'identity' for the logits.",
    )
    max_over_passages: bool = Field(
        default=False, description="Whether a node that is too long counts as the best of its passages."
    )
    keep_retrieval_score: bool = Field(
        default=False, description=f"Whether the score before is kept in the metadata, as {RETRIEVAL_SCORE!r}."
    )

    def __init__(
        self,
        model_name: str | os.PathLike[str] | None = None,
        *,
        config: RerankConfig | None = None,
        config_path: str | Path | None = None,
        **settings: Any,
    ) -> None:
        """Take a configuration.

        Args:
            model_name: A registry name, a Hugging Face repository or a local folder; also as ``model=``. None for the
                configuration's.
            config: A whole configuration.
            config_path: A YAML file with one, in its section ``rerank:``; without both, the file that
                ``RerankConfig.from_yaml`` finds, or defaults.
            **settings: Fields of this class, which override the configuration. ``max_length`` and ``cache_folder``
                stand for ``max_tokens`` and ``cache_dir``.

        Raises:
            ConfigurationError: An argument is unknown, given twice, of a wrong type or out of range.
        """
        if model_name is not None:
            settings["model_name"] = model_name
        own = sorted(type(self).model_fields.keys() - FIELDS)
        settings = rename_arguments(settings, ALIASES, UNSUPPORTED, ["config", "config_path", *own, *ALIASES], FIELDS)
        others = {name: settings.pop(name) for name in own if name in settings}
        for name in others.keys() & _RULES.keys():
            _RULES[name].check(name, others[name])
        if config is None and config_path is None and settings.keys() >= set(FIELDS):
            config = RerankConfig()  # a copy has every value, so that no file has to be read
        super().__init__(**RerankConfig.resolve(config, config_path, **settings).to_dict(), **others)

    @classmethod
    def class_name(cls) -> str:
        """The name in serialized form."""
        return "MLXRerank"

    @property
    def config(self) -> RerankConfig:
        """The configuration in force."""
        return RerankConfig(**{name: getattr(self, name) for name in FIELDS})

    @property
    def model(self) -> str:
        """``model_name``, by its other name."""
        return self.model_name

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = self._query(query_bundle)
        if not nodes:
            return []
        with self._reported(nodes, query) as found:
            service = akidb_embeddings.shared_reranker(self.config)
            hits = service.rerank(query.query_str, _contents(nodes), **self._options())
            found.extend(self._scored(nodes, best(service, hits, self.top_n)))
        return found

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = self._query(query_bundle)
        if not nodes:
            return []
        with self._reported(nodes, query) as found:
            service = await akidb_embeddings.ashared_reranker(self.config)
            hits = await service.arerank(query.query_str, _contents(nodes), **self._options())
            found.extend(self._scored(nodes, best(service, hits, self.top_n)))
        return found

    def _query(self, query_bundle: QueryBundle | None) -> QueryBundle:
        """The query of a call. Fields are mutable, so they are checked once more.

        Raises:
            ConfigurationError: A field has a value that is not allowed.
            InputError: There is no query.
        """
        for name, rule in _RULES.items():
            rule.check(name, getattr(self, name))
        if not isinstance(query_bundle, QueryBundle):
            kind = "None" if query_bundle is None else f"of type {type(query_bundle).__name__}"
            reason = f"is {kind}; a QueryBundle is expected, or query_str=TEXT instead."
            raise InputError(field="query_bundle", reason=reason)
        return query_bundle

    def _options(self) -> dict[str, Any]:
        return {"activation": self.activation, "max_over_passages": self.max_over_passages, "wait": True}

    @contextmanager
    def _reported(self, nodes: list[NodeWithScore], query: QueryBundle) -> Iterator[list[NodeWithScore]]:
        """Report a call to LlamaIndex's events and callbacks. The list is for the call's result."""
        found: list[NodeWithScore] = []
        top_n = len(nodes) if self.top_n is None else self.top_n
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=self.model_name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model_name,
            EventPayload.QUERY_STR: query.query_str,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            yield found
            event.on_end(payload={EventPayload.NODES: found})
        dispatcher.event(ReRankEndEvent(nodes=found))

    def _scored(self, nodes: Sequence[NodeWithScore], hits: "Sequence[Hit]") -> list[NodeWithScore]:
        return [self._with_score(nodes[hit.index], hit.score) for hit in hits]

    def _with_score(self, node: NodeWithScore, score: float) -> NodeWithScore:
        changes: dict[str, Any] = {"score": score}
        if self.keep_retrieval_score:
            inner = node.node  # maybe the index's own: its text must not change by a query
            changes["node"] = inner.model_copy(
                update={
                    "metadata": {**inner.metadata, RETRIEVAL_SCORE: node.score},
                    "excluded_embed_metadata_keys": [*inner.excluded_embed_metadata_keys, RETRIEVAL_SCORE],
                }
            )
        return node.model_copy(update=changes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MLXRerank):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _COMPARED)

    __hash__ = None  # type: ignore[assignment]  # fields are mutable


# Without the callback manager: it compares by identity, and query engines replace it.
_COMPARED = sorted(MLXRerank.model_fields.keys() - {"callback_manager"})


def _contents(nodes: Sequence[NodeWithScore]) -> list[str]:
    return [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
