"""``MLXEmbedding``: LlamaIndex's ``BaseEmbedding`` over ``akidb_embeddings.EmbeddingService``.

It holds only a configuration, so that it can be pickled, copied, compared and serialized, and loads nothing until it is
used. It computes with the process's shared service for that configuration.

``IngestionPipeline`` caches results under a hash of ``to_dict()``. So the fields that determine the vectors are
serialized, and those that only affect how they are computed are not (``exclude=True``); pickling keeps all fields.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import ConfigDict, Field, ValidationError
from llama_index.embeddings.akidb.arguments import ALIASES, UNSUPPORTED

import akidb_embeddings  # its names are imported on first use
from akidb_embeddings import ConfigurationError, EmbeddingConfig
from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.service.adapter import ato_lists, rename_arguments, to_lists
from akidb_embeddings.service.inputs import check_texts

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from akidb_embeddings.service.options import Options

T = TypeVar("T")

# The base class does not pass these on from a batch to its slices: the progress callback, and a slice's first index.
_progress: ContextVar[Callable[[int], object] | None] = ContextVar("_progress", default=None)
_first_index: ContextVar[int] = ContextVar("_first_index", default=0)


class MLXEmbedding(BaseEmbedding):
    """Text embeddings computed with MLX on this machine.

    ```python
    Settings.embed_model = MLXEmbedding(model_name="minilm-l6-v2")
    ```

    The model is loaded by the first call, not by the constructor. Equal objects, and any number of threads and event
    loops, share one engine. Every error is an ``akidb_embeddings.EmbeddingError``. The fields are those of
    ``akidb_embeddings.EmbeddingConfig``.
    """

    model_config = ConfigDict(extra="forbid")

    revision: str | None = Field(default=None, description="Branch, tag or commit of the repository.")
    adapter: str | None = Field(default=None, description="LoRA adapter to the model: a repository or a folder.")
    adapter_revision: str | None = Field(default=None, description="Branch, tag or commit of the adapter's repository.")
    pooling: str = Field(default="auto", description="'auto' (as trained), 'mean', 'cls' or 'last'.")
    normalize: bool | None = Field(
        default=None,
        description="Whether vectors are scaled to length 1; None for yes, with a warning if trained without.",
    )
    dimensions: int | None = Field(default=None, description="Length to which vectors are cut (Matryoshka).")
    untrained_dimensions: bool = Field(
        default=False, description="Whether dimensions may be a length that the model was not trained for."
    )
    max_tokens: int | None = Field(
        default=None, description="Longest text in tokens; None for 512, or the model's limit if less."
    )
    truncate: str = Field(default="end", description="'end' cuts longer texts, 'error' rejects them.")
    query_prompt: str | None = Field(default=None, description="Text before queries; None for the model's own.")
    document_prompt: str | None = Field(default=None, description="Text before documents; None for the model's own.")
    query_prompt_name: str | None = Field(default=None, description="Name of the model's prompt for queries.")
    document_prompt_name: str | None = Field(default=None, description="Name of the model's prompt for documents.")
    task: str | None = Field(default=None, description="Instruction for queries, if the model's prompt contains one.")
    # These do not change the vectors, so they are not serialized, and a pipeline's cache stays valid.
    batch_size: int = Field(default=32, description="Most texts in one micro-batch.", exclude=True)
    memory: str = Field(default="fast", description="'fast', or 'compact' for a smaller footprint.", exclude=True)
    compute: str = Field(default="fast", description="'fast', or 'strict' for float32 on GPUs, too.", exclude=True)
    warm_up: bool = Field(
        default=True, description="Whether a GPU computes queries' shapes after loading.", exclude=True
    )
    keep_warm: float = Field(default=0, description="Seconds a GPU is kept awake after a request.", exclude=True)
    max_queued_tokens: int = Field(default=4_000_000, description="Most tokens in the engine's queue.", exclude=True)
    auto_download: bool = Field(default=True, description="Whether a missing model may be downloaded.", exclude=True)
    cache_dir: str | None = Field(default=None, description="Folder for downloads.", exclude=True)
    embed_batch_size: int = Field(
        default=2048,
        description="Texts per call of the engine, which sorts them by length and batches them itself.",
        gt=0,
        le=2048,
        exclude=True,
    )
    num_workers: int | None = Field(
        default=None, description="Has no effect: one engine computes with all cores.", exclude=True
    )
    embeddings_cache: Any | None = Field(
        default=None, description="A key-value store. Its keys are the texts alone; see the README.", exclude=True
    )

    def __init__(
        self,
        model_name: str | os.PathLike[str] | None = None,
        *,
        config: EmbeddingConfig | None = None,
        config_path: str | Path | None = None,
        **settings: Any,
    ) -> None:
        """Take a configuration.

        Args:
            model_name: A registry name, a Hugging Face repository or a local folder; None for the configuration's.
            config: A whole configuration.
            config_path: A YAML file with one; without both, the file ``EmbeddingConfig.from_yaml`` finds, or defaults.
            **settings: Fields of this class, which override the configuration. ``max_length``, ``query_instruction``,
                ``text_instruction`` and ``cache_folder`` stand for ``max_tokens``, ``query_prompt``,
                ``document_prompt`` and ``cache_dir``.

        Raises:
            ConfigurationError: An argument is unknown, given twice, of a wrong type or out of range.
        """
        if model_name is not None:
            settings["model_name"] = model_name
        own = sorted(type(self).model_fields.keys() - FIELDS)
        settings = rename_arguments(settings, ALIASES, UNSUPPORTED, ["config", "config_path", *own, *ALIASES])
        others = {name: settings.pop(name) for name in own if name in settings}
        if config is None and config_path is None and settings.keys() >= set(FIELDS):
            config = EmbeddingConfig()  # a copy has every value, so that no file has to be read
        values = EmbeddingConfig.resolve(config, config_path, **settings).to_dict()
        try:
            super().__init__(**values, **others)
        except (ValidationError, TypeError) as error:
            raise _configuration_error(error) from error

    @classmethod
    def class_name(cls) -> str:
        """The name in serialized form."""
        return "MLXEmbedding"

    @property
    def config(self) -> EmbeddingConfig:
        """The configuration in force."""
        return EmbeddingConfig(**{name: getattr(self, name) for name in FIELDS})

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The values that determine the vectors, for ``from_dict`` and for the hash of ``IngestionPipeline``.

        ``model_version`` is a digest of a model in a folder or a bundled one, and None for a model of the hub, whose
        versions ``revision`` names.
        """
        return super().to_dict(**kwargs) | {"model_version": akidb_embeddings.model_version(self.config)}

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """An object that gives the same vectors, if the model on this machine is the same."""
        return super().from_dict({name: value for name, value in data.items() if name != "model_version"}, **kwargs)

    def accept(self, vectors: "ArrayLike", count: int | None = None) -> list[Embedding]:
        """Check vectors from elsewhere that are to be mixed with computed ones.

        Args:
            vectors: ``[n, dimension]``.
            count: How many vectors are expected, if that is known.

        Returns:
            The vectors, normalized if the configuration says so.

        Raises:
            InputError: A vector has another length, NaN or infinity, or is zero; or there are not ``count`` of them.
        """
        return to_lists(self._service().accept(vectors, count))

    def get_text_embedding_batch(self, texts: list[str], show_progress: bool = False, **kwargs: Any) -> list[Embedding]:
        """Vectors of documents, with a progress bar if ``show_progress``.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_documents``.
        """
        texts = check_texts(texts)
        vectors: list[Embedding] = []
        with _bar(len(texts), show_progress):
            for first, part in self._slices(texts):
                with _set(_first_index, first):
                    vectors += super().get_text_embedding_batch(part, show_progress=False, **kwargs)
        return vectors

    async def aget_text_embedding_batch(
        self, texts: list[str], show_progress: bool = False, **kwargs: Any
    ) -> list[Embedding]:
        """``get_text_embedding_batch`` for event loops."""
        texts = check_texts(texts)
        vectors: list[Embedding] = []
        with _bar(len(texts), show_progress):
            # The base class would start all slices at once, and leave the others running when one of them fails.
            for first, part in self._slices(texts):
                with _set(_first_index, first):
                    vectors += await super().aget_text_embedding_batch(part, show_progress=False, **kwargs)
        return vectors

    def _slices(self, texts: list[str]) -> Iterator[tuple[int, list[str]]]:
        size = self.embed_batch_size
        return ((begin, texts[begin : begin + size]) for begin in range(0, len(texts), size))

    def _get_query_embedding(self, query: str) -> Embedding:
        vector: list[float] = self._service().embed_query(query, wait=True).tolist()
        return vector

    async def _aget_query_embedding(self, query: str) -> Embedding:
        vector: list[float] = (await (await self._aservice()).aembed_query(query, wait=True)).tolist()
        return vector

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return to_lists(self._service().embed_documents(texts, **_options()))

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        service = await self._aservice()
        return await ato_lists(await service.aembed_documents(texts, **_options()))

    def _service(self) -> "akidb_embeddings.EmbeddingService":
        return akidb_embeddings.shared_service(self.config)

    async def _aservice(self) -> "akidb_embeddings.EmbeddingService":
        return await akidb_embeddings.ashared_service(self.config)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MLXEmbedding):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _COMPARED)

    __hash__ = None  # type: ignore[assignment]  # fields are mutable


# Without the callback manager and the like: they compare by identity, and Settings replaces them.
_COMPARED = [*FIELDS, "embed_batch_size", "num_workers"]


def _configuration_error(error: ValidationError | TypeError) -> ConfigurationError:
    if isinstance(error, TypeError):
        return ConfigurationError(str(error))
    problems = [
        ConfigurationError(field=".".join(map(str, one["loc"])), reason=f"is {one['input']!r}. {one['msg']}.")
        for one in error.errors()
    ]
    return problems[0] if len(problems) == 1 else ConfigurationError(" ".join(map(str, problems)))


@contextmanager
def _bar(total: int, is_shown: bool) -> Iterator[None]:
    """Show a progress bar for ``total`` texts, to which the calls in this context report."""
    if not is_shown:
        yield
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="Generating embeddings", unit=" texts") as bar, _set(_progress, bar.update):
        yield
        bar.update(total - bar.n)  # texts that were in a cache


@contextmanager
def _set(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _options() -> "Options":
    return {"wait": True, "progress": _progress.get(), "first_index": _first_index.get()}
