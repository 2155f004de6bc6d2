"""``MLXEmbeddingFunction``: Chroma's ``EmbeddingFunction`` over ``akidb_embeddings.EmbeddingService``.

It holds only a configuration, which Chroma keeps beside the vectors, and loads nothing until it is used. It computes
with the process's shared service for that configuration.
"""

import os
from pathlib import Path
from typing import Any, cast

from chromadb import Collection
from chromadb.api.types import Embeddable, EmbeddingFunction, Embeddings, Space
from chromadb.utils.embedding_functions import register_embedding_function

from akidb_embeddings import ConfigurationError, EmbeddingConfig
from akidb_embeddings.service.adapter import rename_arguments
from akidb_embeddings.service.elsewhere import SENTENCE_TRANSFORMER
from akidb_embeddings.service.stored import StoredModel

_ALIASES = {"normalize_embeddings": "normalize", "cache_folder": "cache_dir", "truncate_dim": "dimensions"}


@register_embedding_function
class MLXEmbeddingFunction(EmbeddingFunction[Embeddable]):
    """Text embeddings computed with MLX on this machine, for Chroma's collections.

    ```python
    collection = client.create_collection("docs", embedding_function=MLXEmbeddingFunction("minilm-l6-v2"))
    ```

    Documents get the document prompt, queries the query prompt. Chroma keeps the settings with the collection, and a
    program that has imported ``chroma_akidb`` opens it by its name alone. Constructing it loads nothing; the first call
    does. Every error is an ``akidb_embeddings.EmbeddingError``.
    """

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
            **settings: Fields of ``EmbeddingConfig``, which override the configuration. ``normalize_embeddings``,
                ``truncate_dim`` and ``cache_folder`` stand for ``normalize``, ``dimensions`` and ``cache_dir``.

        Raises:
            ConfigurationError: An argument is unknown, given twice, of a wrong type or out of range.
            CheckpointError: The model's folder is damaged.
        """
        if model_name is not None:
            settings["model_name"] = model_name
        fields = rename_arguments(settings, _ALIASES, SENTENCE_TRANSFORMER, ["config", "config_path", *_ALIASES])
        self._stored = StoredModel.of(EmbeddingConfig.resolve(config, config_path, **fields))

    @property
    def config(self) -> EmbeddingConfig:
        """The configuration in force."""
        return self._stored.config

    def __call__(self, input: Embeddable) -> Embeddings:  # noqa: A002  # Chroma's name for it
        """Vectors of documents, float32 ``[dimension]`` each.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_documents``; also if the model is another one now than the
                collection's.
        """
        return list(self._stored.service().embed_documents(_texts(input), wait=True))

    def embed_query(self, input: Embeddable) -> Embeddings:  # noqa: A002  # Chroma's name for it
        """Vectors of queries, float32 ``[dimension]`` each.

        Raises:
            EmbeddingError: As for documents.
        """
        return list(self._stored.service().embed_queries(_texts(input), wait=True))

    @staticmethod
    def name() -> str:
        """The name in collections."""
        return "akidb"

    def default_space(self) -> Space:
        """The distance of new collections."""
        return "cosine"

    def supported_spaces(self) -> list[Space]:
        """The distances that a collection may have. Vectors of length 1 have the same order in each."""
        return ["cosine", "l2", "ip"]

    def get_config(self) -> dict[str, Any]:
        """What Chroma keeps: everything that decides the vectors, the model's version included."""
        return self._stored.to_dict()

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> "MLXEmbeddingFunction":
        """A function that gives the same vectors, or an error if the model is another one now.

        Settings of the machine, such as ``cache_dir``, are those of the configuration file, if there is one.

        Raises:
            ConfigurationError: The dictionary is not one of ``get_config``.
        """
        function = MLXEmbeddingFunction.__new__(MLXEmbeddingFunction)
        function._stored = StoredModel.read(config)
        return function

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Check a dictionary of ``get_config``.

        Raises:
            ConfigurationError: A key is unknown or missing, or a value is not allowed.
        """
        StoredModel.read(config)

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Check that a collection's vectors stay right: settings of queries may change, those of documents may not.

        Chroma 1.5 calls it when it has saved the new configuration; ``check`` is for before.

        Raises:
            ConfigurationError: Documents would get other vectors.
        """
        StoredModel.read(old_config).check_change(StoredModel.read(new_config))

    def check(self, collection: Collection) -> None:
        """Check that a collection's vectors are those that this function computes; its queries may differ.

        Chroma compares only the names of functions, and ``modify`` saves a new one before it is checked: call this
        before it, and after ``get_collection`` and ``get_or_create_collection`` if you give them a function.

        Raises:
            ConfigurationError: The collection's documents have other vectors, or another kind of function.
            ValueError: Chroma cannot read the collection's configuration.
        """
        kept = collection.configuration.get("embedding_function")
        if not isinstance(kept, MLXEmbeddingFunction):
            kind = "no function" if kept is None else f"the function {kept.name()!r}"
            raise ConfigurationError(
                field="collection",
                reason=f"is {collection.name!r}, which has {kind}; embed its documents again into a new one.",
            )
        kept._stored.check_change(self._stored)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MLXEmbeddingFunction):
            return NotImplemented
        return self._stored == other._stored

    def __hash__(self) -> int:
        return hash(self._stored)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._stored.arguments().items())
        return f"{type(self).__name__}({shown})"


def _texts(items: Embeddable) -> list[str]:
    """What Chroma passes, which for other models may be images: those are no strings, and the service says so."""
    return cast(list[str], items)
