"""``EmbeddingService``: text embeddings from one model, with sync and async methods."""

import asyncio
import os
from pathlib import Path
from typing import Any, Self

from numpy.typing import ArrayLike

from akidb_embeddings.config.embedding import FIELDS, EmbeddingConfig
from akidb_embeddings.config.model import AS_CONFIGURED
from akidb_embeddings.service.arguments import checked_names, same_arguments
from akidb_embeddings.service.async_calls import AsyncCalls
from akidb_embeddings.service.inputs import check_vectors
from akidb_embeddings.service.loaded_model import LoadedModel
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.vectors.finish import Vectors, finish


class EmbeddingService(AsyncCalls):
    """Text embeddings from one model.

    Services with equal models share one set of weights and one MLX thread. All methods may be called from any thread
    and any event loop; each has an async twin that does not block the loop. Use it as a context manager, or ``close``
    it, to free the weights when the last service that shares them is closed.

    Args:
        model_name: A registry name, a Hugging Face repository or a local folder; None for the configuration's.
        config: A whole configuration.
        config_path: A YAML file with one; without both, the file ``EmbeddingConfig.from_yaml`` finds, or defaults.
        revision: Branch, tag or commit of the repository.
        adapter: LoRA adapter, a Hugging Face repository or a local folder.
        adapter_revision: Branch, tag or commit of the adapter's repository.
        pooling: "auto" (as trained), "mean", "cls" or "last".
        normalize: Whether vectors are scaled to length 1.
        dimensions: Length to which vectors are cut.
        untrained_dimensions: Whether ``dimensions`` may be a length that the model was not trained for.
        max_tokens: Longest text in tokens.
        truncate: "end" cuts and flags longer texts, "error" rejects them.
        query_prompt: Text put before every query.
        document_prompt: Text put before every document.
        query_prompt_name: Name of the model's prompt for queries.
        document_prompt_name: Name of the model's prompt for documents.
        task: Instruction for queries.
        batch_size: Most texts in one micro-batch on a CPU.
        memory: "fast" or "compact".
        compute: "fast" or "strict".
        warm_up: Whether a GPU computes the shapes of queries after loading.
        keep_warm: Seconds for which a GPU is kept from lowering its clock after a request.
        max_queued_tokens: Most tokens in the engine's queue.
        auto_download: Whether a missing model may be downloaded.
        cache_dir: Folder for downloads.
    """

    @checked_names
    def __init__(
        self,
        model_name: str | os.PathLike[str] | None = None,
        *,
        config: EmbeddingConfig | None = None,
        config_path: str | Path | None = None,
        revision: str | None = AS_CONFIGURED,
        adapter: str | os.PathLike[str] | None = AS_CONFIGURED,
        adapter_revision: str | None = AS_CONFIGURED,
        pooling: str = AS_CONFIGURED,
        normalize: bool | None = AS_CONFIGURED,
        dimensions: int | None = AS_CONFIGURED,
        untrained_dimensions: bool = AS_CONFIGURED,
        max_tokens: int | None = AS_CONFIGURED,
        truncate: str = AS_CONFIGURED,
        query_prompt: str | None = AS_CONFIGURED,
        document_prompt: str | None = AS_CONFIGURED,
        query_prompt_name: str | None = AS_CONFIGURED,
        document_prompt_name: str | None = AS_CONFIGURED,
        task: str | None = AS_CONFIGURED,
        batch_size: int = AS_CONFIGURED,
        memory: str = AS_CONFIGURED,
        compute: str = AS_CONFIGURED,
        warm_up: bool = AS_CONFIGURED,
        keep_warm: float = AS_CONFIGURED,
        max_queued_tokens: int = AS_CONFIGURED,
        auto_download: bool = AS_CONFIGURED,
        cache_dir: str | Path | None = AS_CONFIGURED,
    ) -> None:
        """Find the model, download it if necessary and allowed, and load it.

        The arguments after ``config_path`` are the fields of ``EmbeddingConfig``, which explains them in full. One that
        is given counts more than the configuration, even None; AS_CONFIGURED stands for one that is not given.

        Raises:
            ArgumentError: An argument is unknown.
            ConfigurationError: A setting is not allowed, or the model cannot do it.
            ModelNotFoundError, DownloadError, CheckpointError, WorkerError: See ``akidb_embeddings.errors``.
        """
        values = locals()
        given = {name: values[name] for name in FIELDS if values[name] is not AS_CONFIGURED}
        if model_name is None:
            del given["model_name"]
        super().__init__(Resources.load(EmbeddingConfig.resolve(config, config_path, **given)))

    @classmethod
    @same_arguments(__init__)
    async def acreate(cls, model_name: str | os.PathLike[str] | None = None, **arguments: Any) -> Self:
        """The constructor for event loops: the model is found, downloaded and loaded without blocking the loop.

        It takes the constructor's arguments.
        """
        return await asyncio.to_thread(cls, model_name, **arguments)

    @checked_names
    def with_options(
        self,
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: str | None = None,
    ) -> "EmbeddingService":
        """A service with other options on the same model and MLX thread. None keeps the current value.

        It costs next to nothing. Close it like any other.

        Raises:
            ConfigurationError: A value is not allowed, or the model cannot do it.
            WorkerError: This service is closed.
        """
        given = {"pooling": pooling, "normalize": normalize, "dimensions": dimensions, "truncate": truncate}
        self._check_open()
        changes = {name: value for name, value in given.items() if value is not None}
        other = EmbeddingService.__new__(EmbeddingService)
        LoadedModel.__init__(other, self._resources.with_values(**changes))
        other._has_warned = self._has_warned
        return other

    def accept(self, vectors: ArrayLike, count: int | None = None, first_index: int = 0) -> Vectors:
        """Check vectors that come from elsewhere and are to be mixed with this service's.

        Args:
            vectors: ``[n, dimension]``.
            count: How many vectors are expected, if that is known.
            first_index: The number that errors give the first vector.

        Returns:
            float32 ``[n, dimension]``, normalized if this service's vectors are.

        Raises:
            InputError: A vector has another length, NaN or infinity, or is zero; or there are not ``count`` of them.
        """
        return finish(check_vectors(vectors, self.dimension, count, first_index), None, self.settings.normalize)
