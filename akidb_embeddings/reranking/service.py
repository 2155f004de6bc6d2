"""``RerankService``: scores of pairs of query and document from one model, with sync and async methods."""

import asyncio
import os
from pathlib import Path
from typing import Any, Self

from akidb_embeddings.config.model import AS_CONFIGURED
from akidb_embeddings.config.rerank import FIELDS, RerankConfig
from akidb_embeddings.reranking.async_calls import AsyncRerankCalls
from akidb_embeddings.reranking.calls import checked_names
from akidb_embeddings.reranking.loaded import LoadedReranker
from akidb_embeddings.reranking.resources import RerankResources
from akidb_embeddings.service.arguments import same_arguments


class RerankService(AsyncRerankCalls):
    """Scores of pairs of query and document from one model.

    Services with equal models share one set of weights and one MLX thread. All methods may be called from any thread
    and any event loop; each has an async twin that does not block the loop. Use it as a context manager, or ``close``
    it, to free the weights when the last service that shares them is closed.

    Args:
        model_name: A registry name, a Hugging Face repository or a local folder; None for the configuration's.
        config: A whole configuration.
        config_path: A YAML file with one, in its section ``rerank:``; without both, the file that
            ``RerankConfig.from_yaml`` finds, or defaults.
        revision: Branch, tag or commit of the repository.
        max_tokens: Longest pair in tokens.
        truncate: "end" cuts and flags longer pairs, "error" rejects them.
        instruction: What makes a document relevant, for models that take an instruction.
        prompt_name: One of the model's prompts instead.
        batch_size: Most pairs in one micro-batch on a CPU.
        memory: "fast" or "compact".
        compute: "fast" or "strict".
        warm_up: Whether a GPU computes the shapes of short pairs after loading.
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
        config: RerankConfig | None = None,
        config_path: str | Path | None = None,
        revision: str | None = AS_CONFIGURED,
        max_tokens: int | None = AS_CONFIGURED,
        truncate: str = AS_CONFIGURED,
        instruction: str | None = AS_CONFIGURED,
        prompt_name: str | None = AS_CONFIGURED,
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

        The arguments after ``config_path`` are the fields of ``RerankConfig``, which explains them in full. One that is
        given counts more than the configuration, even None; AS_CONFIGURED stands for one that is not given.

        Raises:
            ArgumentError: An argument is unknown.
            ConfigurationError: A setting is not allowed, or the model cannot do it.
            ModelNotFoundError, DownloadError, CheckpointError, WorkerError: See ``akidb_embeddings.errors``.
        """
        values = locals()
        given = {name: values[name] for name in FIELDS if values[name] is not AS_CONFIGURED}
        if model_name is None:
            del given["model_name"]
        super().__init__(RerankResources.load(RerankConfig.resolve(config, config_path, **given)))

    @classmethod
    @same_arguments(__init__)
    async def acreate(cls, model_name: str | os.PathLike[str] | None = None, **arguments: Any) -> Self:
        """The constructor for event loops: the model is found, downloaded and loaded without blocking the loop.

        It takes the constructor's arguments.
        """
        return await asyncio.to_thread(cls, model_name, **arguments)

    @checked_names
    def with_options(self, *, truncate: str | None = None) -> "RerankService":
        """A service with other options on the same model and MLX thread. None keeps the current value.

        It costs next to nothing. Close it like any other.

        Raises:
            ConfigurationError: A value is not allowed.
            WorkerError: This service is closed.
        """
        self._check_open()
        changes = {} if truncate is None else {"truncate": truncate}
        other = RerankService.__new__(RerankService)
        LoadedReranker.__init__(other, self._resources.with_values(**changes))
        other._has_warned = self._has_warned
        return other
