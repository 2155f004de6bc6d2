"""``EmbeddingService``: text embeddings from one model, with sync and async methods."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, Unpack

from numpy.typing import ArrayLike

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.service.inputs import check_text, check_texts, check_vectors
from akidb_embeddings.service.job import Job
from akidb_embeddings.service.loaded_model import LoadedModel
from akidb_embeddings.service.options import (
    Options,
    PromptOptions,
    QueryOptions,
    document_options,
    with_default_prompt,
)
from akidb_embeddings.service.resources import Resources
from akidb_embeddings.service.result import EmbeddingResult, warn_about_truncation
from akidb_embeddings.vectors.finish import Vectors, finish
from akidb_embeddings.vectors.precision import Quantized


class EmbeddingService(LoadedModel):
    """Text embeddings from one model.

    Services with equal models share one set of weights and one MLX thread. All methods may be called from any thread
    and any event loop; each has an async twin that does not block the loop. Use it as a context manager, or ``close``
    it, to free the weights when the last service that shares them is closed.
    """

    def __init__(
        self,
        model_name: str | os.PathLike[str] | None = None,
        *,
        config: EmbeddingConfig | None = None,
        config_path: str | Path | None = None,
        **overrides: Any,
    ) -> None:
        """Find the model, download it if necessary and allowed, and load it.

        Args:
            model_name: A registry name, a Hugging Face repository or a local folder; None for the configuration's.
            config: A whole configuration.
            config_path: A YAML file with one; without both, the file ``EmbeddingConfig.from_yaml`` finds, or defaults.
            **overrides: Fields of ``EmbeddingConfig``, over what the configuration says.

        Raises:
            ConfigurationError: A setting is not allowed, or the model cannot do it.
            ModelNotFoundError, DownloadError, CheckpointError, WorkerError: See ``akidb_embeddings.errors``.
        """
        if model_name is not None:
            overrides["model_name"] = model_name
        super().__init__(Resources.load(EmbeddingConfig.resolve(config, config_path, **overrides)))
        self._has_warned = False

    @classmethod
    async def acreate(cls, model_name: str | os.PathLike[str] | None = None, **arguments: Any) -> Self:
        """The constructor for event loops: the model is found, downloaded and loaded without blocking the loop."""
        return await asyncio.to_thread(cls, model_name, **arguments)

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

    def embed(self, texts: Iterable[str], **options: Unpack[QueryOptions]) -> Quantized:
        """Vectors of texts as they are, float32 ``[n, dimension]`` unless ``precision`` says otherwise.

        Options and errors of this method and the next three are those of ``encode``.
        """
        return self._vectors(self.encode(texts, **options))

    def embed_query(self, text: str, **options: Unpack[QueryOptions]) -> Quantized:
        """The vector of one query, ``[dimension]``; see ``embed_queries``."""
        vector: Quantized = self.embed_queries([check_text(text)], **options)[0]
        return vector

    def embed_queries(self, texts: Iterable[str], **options: Unpack[QueryOptions]) -> Quantized:
        """Vectors of queries, ``[n, dimension]``, with the query prompt, configured or the model's own.

        ``prompt_name``, ``prompt`` or ``task`` give another one, as in ``encode``.
        """
        return self._vectors(self.encode(texts, **with_default_prompt("query", options)))

    def embed_documents(self, texts: Iterable[str], **options: Unpack[PromptOptions]) -> Quantized:
        """Vectors of documents, ``[n, dimension]``, with the document prompt, configured or the model's own.

        ``prompt_name`` or ``prompt`` give another one, as in ``encode``; a ``task`` is for queries.
        """
        return self._vectors(self.encode(texts, **document_options(options)))

    def encode(
        self,
        texts: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        **options: Unpack[Options],
    ) -> EmbeddingResult:
        """Vectors with token counts, truncation flags and fingerprint.

        Args:
            texts: Any number of texts; an empty list gives vectors of shape ``[0, dimension]``.
            prompt_name: ``"query"``, ``"document"`` or another of the model's prompts, put before each text.
            prompt: A prompt of your own instead.
            task: An instruction instead, for models whose query prompt holds one: ``Instruct: {task}…``.
            timeout: Seconds after which the call fails with DeadlineError, and what still waits is dropped.
            progress: Called with a number of texts whenever that many more are done.
            wait: Wait for room where the engine's queue is full, instead of failing with OverloadError.
            first_index: The number that errors give the first text, where ``texts`` is part of a longer list.
            precision: ``"float32"``, or ``"float16"``, ``"int8"``, ``"binary"``, ``"ubinary"``: what ``quantize`` makes
                of the float32 vectors.
            alone: Share no micro-batch with other calls, so that equal lists give equal bits on one machine. Otherwise
                what is computed beside them may change the last bits.

        Raises:
            ConfigurationError: The model has no prompt of that name, or takes no task.
            InputError: A text is not a string, or too long with ``truncate: error``; ``index`` says which. Or the
                precision is unknown, or needs ranges.
            OverloadError, DeadlineError, WorkerError: See ``akidb_embeddings.errors``.
        """
        with self._start(texts, {"prompt_name": prompt_name, "prompt": prompt, "task": task, **options}) as job:
            job.run()
        return self._result(job)

    async def aencode(
        self,
        texts: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        **options: Unpack[Options],
    ) -> EmbeddingResult:
        """``encode`` for event loops. Cancelling the task takes its texts out of the queue."""
        with self._start(texts, {"prompt_name": prompt_name, "prompt": prompt, "task": task, **options}) as job:
            await job.arun()
        return self._result(job)

    async def aembed(self, texts: Iterable[str], **options: Unpack[QueryOptions]) -> Quantized:
        """``embed`` for event loops."""
        return self._vectors(await self.aencode(texts, **options))

    async def aembed_query(self, text: str, **options: Unpack[QueryOptions]) -> Quantized:
        """``embed_query`` for event loops."""
        vector: Quantized = (await self.aembed_queries([check_text(text)], **options))[0]
        return vector

    async def aembed_queries(self, texts: Iterable[str], **options: Unpack[QueryOptions]) -> Quantized:
        """``embed_queries`` for event loops."""
        return self._vectors(await self.aencode(texts, **with_default_prompt("query", options)))

    async def aembed_documents(self, texts: Iterable[str], **options: Unpack[PromptOptions]) -> Quantized:
        """``embed_documents`` for event loops."""
        return self._vectors(await self.aencode(texts, **document_options(options)))

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

    def _result(self, job: Job) -> EmbeddingResult:
        name = self.fingerprint(job.prompt, precision=job.precision)
        return EmbeddingResult(job.vectors, job.token_counts, job.truncated, name, job.timings)

    def _vectors(self, result: EmbeddingResult) -> Quantized:
        """The vectors alone. Warns at the first truncated text, since ``truncated`` is lost with the rest."""
        if any(result.truncated) and not self._has_warned:
            self._has_warned = True
            warn_about_truncation(result, self.settings.max_tokens)
        return result.vectors

    def _start(self, texts: Iterable[str], options: QueryOptions) -> Job:
        prompt, others = self._resources.prompter.take(options)
        self._check_open()
        return Job(self._resources, check_texts(texts), prompt, **others)
