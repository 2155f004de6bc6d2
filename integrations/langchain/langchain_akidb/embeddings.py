"""``MLXEmbeddings``: LangChain's ``Embeddings`` over ``akidb_embeddings.EmbeddingService``.

It holds a configuration and nothing else, so that it pickles, copies and compares, and costs nothing until it is used.
The service behind it is the process's shared one for that configuration.
"""

import os
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.embeddings import Embeddings

import akidb_embeddings  # which loads each of its names when it is first used
from akidb_embeddings import ConfigurationError, EmbeddingConfig
from akidb_embeddings.service.adapter import ato_lists, to_lists
from langchain_akidb.arguments import in_our_words

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
            **settings: Fields of ``EmbeddingConfig``, over what the configuration says. ``cache_folder`` stands for
                ``cache_dir``; of ``HuggingFaceEmbeddings``' dictionaries, ``encode_kwargs`` may hold
                ``normalize_embeddings``, ``batch_size`` and ``truncate_dim``, ``query_encode_kwargs`` a ``prompt`` or
                ``prompt_name``.

        Raises:
            ConfigurationError: An argument that is not known, given twice, of a wrong type or out of range.
        """
        if model is not None:
            settings["model"] = model
        if not isinstance(show_progress, bool):
            raise ConfigurationError(f"show_progress: {show_progress!r} is not allowed; it must be True or False")
        self._config = EmbeddingConfig.resolve(config, config_path, **in_our_words(settings))
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
        """Whether documents are embedded under a progress bar."""
        return self._show_progress

    @property
    def cache_namespace(self) -> str:
        """A name for the vectors of this object, for ``CacheBackedEmbeddings(namespace=…)``.

        It is another one whenever documents or queries would get other vectors (or, by ``truncate="error"``, an error),
        and only then. Loads the model, whose files it depends on.
        """
        service = self._service()
        prints = dict.fromkeys(service.fingerprint(service.settings.prompt(name)) for name in ("document", "query"))
        strict = ["strict"] if self._config.truncate == "error" else []
        return "-".join([*prints, *strict])

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of documents, each with the model's document prompt, in the order of the texts."""
        with self._options(texts) as options:
            vectors = self._service().embed_documents(texts, **options)
        return to_lists(vectors)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, with the model's query prompt."""
        vector: list[float] = self._service().embed_query(text, wait=True).tolist()
        return vector

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """``embed_documents`` for event loops. Cancelling the task takes its texts out of the queue."""
        with self._options(texts) as options:
            vectors = await (await self._aservice()).aembed_documents(texts, **options)
        return await ato_lists(vectors)

    async def aembed_query(self, text: str) -> list[float]:
        """``embed_query`` for event loops."""
        vector: list[float] = (await (await self._aservice()).aembed_query(text, wait=True)).tolist()
        return vector

    def validate(self, vectors: "ArrayLike", count: int | None = None) -> list[list[float]]:
        """Check vectors that come from elsewhere, to be mixed with computed ones.

        They are normalized if the configuration says so. ``InputError`` names the row and what is wrong with it (its
        length beside the model's, a NaN, an infinity, a zero vector), or the number of vectors, if it is not ``count``.
        """
        return to_lists(self._service().accept(vectors, count))

    def to_dict(self) -> dict[str, Any]:
        """Every setting as a plain value, for ``from_dict``."""
        return self._config.to_dict() | {"show_progress": self._show_progress}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """An equal object, whatever configuration files there are here."""
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

        total = len(texts) if isinstance(texts, Sized) else None  # what is no list is refused further down
        with tqdm(total=total, desc="Embedding", unit=" texts") as bar:
            yield {"wait": True, "progress": bar.update}
