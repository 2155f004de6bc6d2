"""``MLXEmbeddings``: LanceDB's ``TextEmbeddingFunction`` over ``akidb_embeddings.EmbeddingService``.

It holds only a configuration, which LanceDB keeps in the table's schema, and loads nothing until it is used. It
computes with the process's shared service for that configuration.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lancedb.embeddings import TextEmbeddingFunction, register
from pydantic import PrivateAttr

from akidb_embeddings import EmbeddingConfig
from akidb_embeddings.service.adapter import rename_arguments
from akidb_embeddings.service.elsewhere import SENTENCE_TRANSFORMER
from akidb_embeddings.service.stored import VERSION, StoredModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIASES = {"name": "model_name", "truncate_dim": "dimensions", "cache_folder": "cache_dir"}
_UNSUPPORTED = {
    **SENTENCE_TRANSFORMER,
    "max_retries": "an error on this machine would be the same the next time",
}
_VARIABLE = "$var:"  # how LanceDB's registry marks values that each program sets for itself


@register("akidb")
class MLXEmbeddings(TextEmbeddingFunction):
    """Text embeddings computed with MLX on this machine, for LanceDB's tables.

    ```python
    model = get_registry().get("akidb").create(name="minilm-l6-v2")

    class Passage(LanceModel):
        text: str = model.SourceField()
        vector: list[float] = model.VectorField()
    ```

    The source column gets the document prompt, the text of a search the query prompt. LanceDB keeps the settings in the
    table: a program that has imported ``lancedb_akidb`` opens it by its name alone. ``ndims`` and the first text load
    the model. Every error is an ``akidb_embeddings.EmbeddingError``.
    """

    _stored: StoredModel = PrivateAttr()

    def __init__(
        self, *, config: EmbeddingConfig | None = None, config_path: str | Path | None = None, **settings: Any
    ) -> None:
        """Take a configuration.

        Args:
            config: A whole configuration.
            config_path: A YAML file with one; without both, the file ``EmbeddingConfig.from_yaml`` finds, or defaults.
            **settings: Fields of ``EmbeddingConfig``, which override the configuration. ``name`` stands for
                ``model_name``: a registry name, a Hugging Face repository or a local folder. Or what
                ``safe_model_dump`` gave.

        Raises:
            ConfigurationError: An argument is unknown, given twice, of a wrong type or out of range.
            CheckpointError: The model's folder is damaged.
        """
        super().__init__(max_retries=0)
        if VERSION in settings:  # from a table
            self._stored = StoredModel.read(settings)
            return
        fields = rename_arguments(settings, _ALIASES, _UNSUPPORTED, ["config", "config_path", *_ALIASES])
        self._stored = StoredModel.of(EmbeddingConfig.resolve(config, config_path, **fields))

    @property
    def config(self) -> EmbeddingConfig:
        """The configuration in force."""
        return self._stored.config

    def ndims(self) -> int:
        """The length of the vectors. Loads the model."""
        return self._stored.service().dimension

    def generate_embeddings(
        self, texts: "Iterable[str | None]", *args: Any, **kwargs: Any
    ) -> "list[NDArray[Any] | None]":
        """Vectors of documents, float32 ``[dimension]`` each, and None for None.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_documents``; also if the model is another one now than the
                table's.
        """
        items = list(texts)
        vectors = self._stored.service().embed_documents(["" if text is None else text for text in items], wait=True)
        return [None if text is None else vector for text, vector in zip(items, vectors, strict=True)]

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> "list[NDArray[Any] | None]":
        """Vectors of one query, or of several in a list.

        Raises:
            EmbeddingError: As for documents.
        """
        return list(self._stored.service().embed_queries(self.sanitize_input(query), wait=True))

    def compute_query_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> "list[NDArray[Any] | None]":
        """``compute_query_embeddings``: LanceDB waits minutes before it passes an error on, and with another type."""
        return self.compute_query_embeddings(*args, **kwargs)

    def compute_source_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> "list[NDArray[Any] | None]":
        """``compute_source_embeddings``, for the same reason."""
        vectors: list[NDArray[Any] | None] = self.compute_source_embeddings(*args, **kwargs)
        return vectors

    def safe_model_dump(self) -> dict[str, Any]:
        """What LanceDB keeps: everything that decides the vectors, the model's version included.

        An argument that is a variable of LanceDB's registry (``$var:…``) stays one.
        """
        given: Mapping[str, Any] = getattr(self, "_original_args", {})
        variables = {
            _ALIASES.get(name, name): value
            for name, value in given.items()
            if isinstance(value, str) and value.startswith(_VARIABLE)
        }
        return self._stored.to_dict() | variables

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MLXEmbeddings):
            return NotImplemented
        return self._stored == other._stored

    def __hash__(self) -> int:
        return hash(self._stored)

    def __repr_args__(self) -> "Iterable[tuple[str, Any]]":
        return self._stored.arguments().items()
