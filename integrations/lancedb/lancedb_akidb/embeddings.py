"""``MLXEmbeddings``: LanceDB's ``TextEmbeddingFunction`` over ``akidb_embeddings.EmbeddingService``.

It holds only a configuration, which LanceDB keeps in the table's schema, and loads nothing until it is used. It
computes with the process's shared service for that configuration.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lancedb.embeddings import TextEmbeddingFunction, register
from pydantic import PrivateAttr

from akidb_embeddings import ConfigurationError, EmbeddingConfig, InputError
from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.service.adapter import rename_arguments
from akidb_embeddings.service.elsewhere import SENTENCE_TRANSFORMER
from akidb_embeddings.service.shared import folder_of
from akidb_embeddings.service.stored import DECIDING, VERSION, StoredModel

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
            self._stored = _read(settings)
            return
        fields = rename_arguments(settings, _ALIASES, _UNSUPPORTED, ["config", "config_path", *_ALIASES])
        self._stored = StoredModel.of(EmbeddingConfig.resolve(config, config_path, **fields))

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """The constructor, for whose arguments variables of LanceDB's registry (``$var:…``) may stand.

        Raises:
            ConfigurationError: As in the constructor; also if a whole configuration is a variable.
        """
        for name in ("config", "config_path"):
            if _is_variable(value := settings.get(name)):
                raise ConfigurationError(
                    field=name,
                    reason=f"is {value!r}, and cannot be a variable: all its settings are kept with the table, and "
                    "it is not read again. Give it itself, or variables for single settings.",
                )
        parent: Any = super()  # LanceDB's method has no types
        function: Self = parent.create(**settings)
        return function

    @property
    def config(self) -> EmbeddingConfig:
        """The configuration in force."""
        return self._stored.config

    def ndims(self) -> int:
        """The length of the vectors. Loads the model.

        Raises:
            EmbeddingError: As for documents; also if the model has no dense vectors.
        """
        return int(self._stored.service().embed_documents([]).shape[1])

    def generate_embeddings(
        self, texts: "Iterable[str | None]", *args: Any, **kwargs: Any
    ) -> "list[NDArray[Any] | None]":
        """Vectors of documents, float32 ``[dimension]`` each, and None for None.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_documents``; also if the model is another one now than the
                table's.
        """
        items = list(texts)
        places = [place for place, text in enumerate(items) if text is not None]
        found: list[NDArray[Any] | None] = [None] * len(items)
        try:
            vectors = self._stored.service().embed_documents([text for text in items if text is not None], wait=True)
        except InputError as error:
            if error.index is None:
                raise
            raise error.changed(index=places[error.index]) from error
        for place, vector in zip(places, vectors, strict=True):
            found[place] = vector
        return found

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

        An argument that is a variable of LanceDB's registry (``$var:…``) stays one, also a setting of the machine.
        """
        given: Mapping[str, Any] = getattr(self, "_original_args", {})
        variables = {_ALIASES.get(name, name): value for name, value in given.items() if _is_variable(value)}
        return self._stored.to_dict() | variables

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MLXEmbeddings):
            return NotImplemented
        return self._stored == other._stored

    def __hash__(self) -> int:
        return hash(self._stored)

    def __repr_args__(self) -> "Iterable[tuple[str, Any]]":
        return self._stored.arguments().items()


def _is_variable(value: object) -> bool:
    return isinstance(value, str) and value.startswith(_VARIABLE)


def _read(settings: Mapping[str, Any]) -> StoredModel:
    """What a table keeps. What was a variable may be a setting of the machine, or a relative folder."""
    machine = {name: value for name, value in settings.items() if name in FIELDS and name not in DECIDING}
    kept = {name: value for name, value in settings.items() if name not in machine}
    for name in ("model_name", "adapter"):
        value = kept.get(name)
        if isinstance(value, str) and value.startswith((".", "~")):  # no repository's name
            kept[name] = folder_of(value)
    stored = StoredModel.read(kept)
    return replace(stored, config=stored.config.with_values(**machine))
