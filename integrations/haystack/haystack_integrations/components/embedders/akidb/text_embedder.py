"""``MLXTextEmbedder``: the vector of a query, for Haystack."""

import os
from pathlib import Path
from typing import Any, Self

from haystack import component, default_from_dict, default_to_dict
from haystack_integrations.components.embedders.akidb.arguments import configuration, settings_of

import akidb_embeddings  # its names are imported on first use
from akidb_embeddings import EmbeddingConfig


@component
class MLXTextEmbedder:
    """The vector of a text, usually a query, computed with MLX on this machine, with the model's query prompt.

    ```python
    embedder = MLXTextEmbedder("minilm-l6-v2")
    vector = embedder.run("how do I await a coroutine?")["embedding"]
    ```

    It holds only a configuration; ``warm_up`` or the first call loads the model. Equal configurations, also those of
    ``MLXDocumentEmbedder``, share one engine. Every error is an ``akidb_embeddings.EmbeddingError``.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        config: EmbeddingConfig | None = None,
        config_path: str | Path | None = None,
        **settings: Any,
    ) -> None:
        """Take a configuration.

        Args:
            model: A registry name, a Hugging Face repository or a local folder. None for the configuration's.
            config: A whole configuration.
            config_path: A YAML file with one; without both, the file ``EmbeddingConfig.from_yaml`` finds, or defaults.
            **settings: Fields of ``EmbeddingConfig``, which override the configuration. ``prefix`` stands for
                ``query_prompt``, ``normalize_embeddings`` for ``normalize``, ``truncate_dim`` for ``dimensions``.

        Raises:
            ConfigurationError: An argument is unknown, given twice, of a wrong type or out of range.
        """
        self.config = configuration(model, config, config_path, settings, prefix="query_prompt")

    def warm_up(self) -> None:
        """Load the model, unless it is loaded.

        Raises:
            EmbeddingError: As in ``EmbeddingService``.
        """
        akidb_embeddings.shared_service(self.config)

    async def warm_up_async(self) -> None:
        """``warm_up`` for event loops."""
        await akidb_embeddings.ashared_service(self.config)

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """The vector of a text.

        Args:
            text: The text.

        Returns:
            ``{"embedding": [...]}``.

        Raises:
            EmbeddingError: As in ``EmbeddingService.embed_query``.
        """
        service = akidb_embeddings.shared_service(self.config)
        return {"embedding": service.embed_query(text, wait=True).tolist()}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, Any]:
        """``run`` for event loops. Cancelling the task removes the text from the queue."""
        service = await akidb_embeddings.ashared_service(self.config)
        return {"embedding": (await service.aembed_query(text, wait=True)).tolist()}

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain values, for ``from_dict`` and for pipelines in YAML."""
        return default_to_dict(self, **settings_of(self.config))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The component that a dictionary of ``to_dict`` describes; what it lacks is as in the constructor."""
        embedder: Self = default_from_dict(cls, data)
        return embedder
