"""``MLXEmbeddings``: LangChain's ``Embeddings`` over ``akidb_embeddings.EmbeddingService``.

It holds only a configuration, so that it can be pickled, copied and compared, and loads nothing until it is used. It
computes with the process's shared service for that configuration.
"""

import os
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.embeddings import Embeddings

import akidb_embeddings  # its names are imported on first use
from akidb_embeddings import ConfigurationError, EmbeddingConfig
from akidb_embeddings.service.adapter import ato_lists, to_lists
from langchain_akidb.arguments import to_config_fields

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from akidb_embeddings.service.options import Options


class MLXEmbeddings(Embeddings):
    """Text embeddings computed with MLX on this machine.

    ```python
    embeddings = MLXEmbeddings("minilm-l6-v2")
    vectors = embeddings.embed_documents(["first text", "second text"])
    ```

    Constructing it loads nothing; the first call does. Equal objects, and any number of threads and event loops, share
    one engine. Every error is an ``akidb_embeddings.EmbeddingError``.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        config: EmbeddingConfig | None = None,
        config_path: str | Path | None = None,
        show_progress: bool = False,
        **settings: Any,
    ) -> None:
        """Take a configuration.

        Args:
            model: A registry name, a Hugging Face repository or a local folder; also as ``model_name=``. None for the
                configuration's.
            config: A whole configuration.
            config_path: A YAML file with one; without both, the file ``EmbeddingConfig.from_yaml`` finds, or defaults.
            show_progress: Whether ``embed_documents`` and ``aembed_documents`` show a progress bar.
            **settings: Fields of ``EmbeddingConfig``, which override the configuration. ``cache_folder`` stands for
                ``cache_dir``. Of ``HuggingFaceEmbeddings``' dictionaries, ``encode_kwargs`` may contain
                ``normalize_embeddings``, ``batch_size`` and ``truncate_dim``, and ``query_encode_kwargs`` a ``prompt``
                or ``prompt_name``.

        Raises:
            ConfigurationError: An argument is unknown, given twice, of a wrong type or out of range.
        """
        if model is not None:
            settings["model"] = model
        if not isinstance(show_progress, bool):
            raise ConfigurationError(field="show_progress", reason=f"is {show_progress!r}; it must be True or False.")
        self._config = EmbeddingConfig.resolve(config, config_path, **to_config_fields(settings))
        self._show_progress = show_progress

    @property
    def config(self) -> EmbeddingConfig:
        """The configuration in force."""
        return self._config

    @property
    def model_name(self) -> str:
        """The model's registry name, repository or folder."""
        return self._config.model_name

    @property
    def model(self) -> str:
        """``model_name``, by its other name."""
        return self._config.model_name

    @property
    def show_progress(self) -> bool:
        """Whether embedding documents shows a progress bar."""
        return self._show_progress

    @property
    def cache_namespace(self) -> str:
        """A name for the vectors of this object, for ``CacheBackedEmbeddings(namespace=…)``.

        It changes exactly when documents or queries would get other vectors, or an error by ``truncate="error"``. Loads
        the model, since the name depends on its files.
        """
        service = self._service()
        names = dict.fromkeys(service.fingerprint(service.settings.prompt(name)) for name in ("document", "query"))
        strict = ["strict"] if self._config.truncate == "error" else []
        return "-".join([*names, *strict])

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of documents in the order of the texts, with the document prompt.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_documents``.
        """
        with self._options(texts) as options:
            vectors = self._service().embed_documents(texts, **options)
        return to_lists(vectors)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, with the query prompt.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_query``.
        """
        vector: list[float] = self._service().embed_query(text, wait=True).tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """``embed_documents`` for event loops. Cancelling the task removes its texts from the queue."""
        with self._options(texts) as options:
            vectors = await (await self._aservice()).aembed_documents(texts, **options)
        return await ato_lists(vectors)

    async def aembed_query(self, text: str) -> list[float]:
        """``embed_query`` for event loops."""
        vector: list[float] = (await (await self._aservice()).aembed_query(text, wait=True)).tolist()
        return vector

    def validate(self, vectors: "ArrayLike", count: int | None = None) -> list[list[float]]:
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

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, for ``from_dict``."""
        return self._config.to_dict() | {"show_progress": self._show_progress}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """An equal object from the values of ``to_dict``; configuration files are not read."""
        settings = dict(values)
        show_progress = settings.pop("show_progress", False)
        return cls(config=EmbeddingConfig(**settings), show_progress=show_progress)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MLXEmbeddings):
            return NotImplemented
        return (self._config, self._show_progress) == (other._config, other._show_progress)

    def __hash__(self) -> int:
        return hash((self._config, self._show_progress))

    def __repr__(self) -> str:
        defaults = EmbeddingConfig().to_dict()
        shown = [f"{name}={value!r}" for name, value in self.to_dict().items() if (name, value) not in defaults.items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _service(self) -> "akidb_embeddings.EmbeddingService":
        return akidb_embeddings.shared_service(self._config)

    async def _aservice(self) -> "akidb_embeddings.EmbeddingService":
        return await akidb_embeddings.ashared_service(self._config)

    @contextmanager
    def _options(self, texts: list[str]) -> Iterator["Options"]:
        if not self._show_progress:
            yield {"wait": True}
            return
        from tqdm.auto import tqdm

        total = len(texts) if isinstance(texts, Sized) else None  # other types raise an error in embed_documents
        with tqdm(total=total, desc="Embedding", unit=" texts") as bar:
            yield {"wait": True, "progress": bar.update}
