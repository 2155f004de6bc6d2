"""EmbeddingService: the face that people, adapters, the command line and servers use, sync and async."""

import asyncio
import copy
import logging
import os
import weakref
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, Unpack

from numpy.typing import ArrayLike

from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.checkpoint.settings import Settings, apply_config, fingerprint, warn_about_normalization
from akidb_embeddings.checkpoint.tokenizer import Tokenizer
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.engine.statistics import Statistics
from akidb_embeddings.engine.table import acquire_engine, release_engine, retain_engine
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.hub.download import resolve_model
from akidb_embeddings.service.inputs import check_text, check_texts, check_vectors
from akidb_embeddings.service.job import EmbeddingResult, Job, Options, Resources
from akidb_embeddings.service.prompter import Prompter, PromptOptions, QueryOptions, for_documents, or_prompt
from akidb_embeddings.vectors.finish import Vectors, finish
from akidb_embeddings.vectors.precision import Quantized, check_precision

__all__ = ["EmbeddingResult", "EmbeddingService"]

_log = logging.getLogger(__name__)


class EmbeddingService:
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
        """Find the model, download it if need be and allowed, and load it.

        Args:
            model_name: A registry name, a Hugging Face repository or a local folder; None for the configuration's.
            config: A whole configuration.
            config_path: A YAML file with one; without both, the file ``EmbeddingConfig.from_yaml`` finds, or defaults.
            **overrides: Fields of ``EmbeddingConfig``, over what the configuration says.

        Raises:
            ConfigurationError, ModelNotFoundError, DownloadError, CheckpointError: see ``akidb_embeddings.errors``.
        """
        if model_name is not None:
            overrides["model_name"] = model_name
        self._config = EmbeddingConfig.resolve(config, config_path, **overrides)
        files = resolve_model(
            self._config.model_name,
            revision=self._config.revision,
            cache_dir=self._config.cache_dir,
            auto_download=self._config.auto_download,
        )
        self._checkpoint = read_checkpoint(files.path, files.spec)
        self._settings = apply_config(self._config, self._checkpoint)
        warn_about_normalization(self._config, self._checkpoint)
        self._prompter = Prompter(self._config, self._checkpoint, self._settings)
        self._has_told = False
        tokenizer = Tokenizer(self._checkpoint, self._settings.max_tokens)
        with ThreadPoolExecutor(1) as pool:
            digest = pool.submit(lambda: self._checkpoint.digest)  # reads all files: here, not in the first call
            engine = acquire_engine(self._checkpoint, self._config.memory)
            self._release = weakref.finalize(self, release_engine, engine)
            try:
                digest.result()
            except BaseException:
                self.close()
                raise
        self._resources = Resources(self._config, self._settings, tokenizer, engine)

    @classmethod
    async def acreate(cls, model_name: str | os.PathLike[str] | None = None, **arguments: Any) -> Self:
        """The constructor for event loops: the model is found, downloaded and loaded without blocking the loop."""
        return await asyncio.to_thread(cls, model_name, **arguments)

    @property
    def config(self) -> EmbeddingConfig:
        """The configuration this service was made with."""
        return self._config

    @property
    def settings(self) -> Settings:
        """What the configuration means for this model: pooling, dimensions, limit and prompts in force."""
        return self._settings

    @property
    def checkpoint(self) -> Checkpoint:
        """What the model's folder says."""
        return self._checkpoint

    @property
    def dimension(self) -> int:
        """The length of the vectors."""
        return self._settings.dimensions

    def fingerprint(self, prompt: str | None = None, *, precision: str = "float32") -> str:
        """The fingerprint of vectors of texts with this prompt, or as ``embed`` makes them; see ``EmbeddingResult``.

        A precision other than float32 is appended, for vectors of two precisions must not be mixed.
        """
        check_precision(precision)
        name = fingerprint(self._checkpoint, self._settings, self.resolve_prompt(prompt=prompt))
        return name if precision == "float32" else f"{name}-{precision}"

    def resolve_prompt(
        self, *, prompt_name: str | None = None, prompt: str | None = None, task: str | None = None
    ) -> str:
        """The text that ``encode`` with these arguments puts before each text."""
        return self._prompter.resolve(prompt_name=prompt_name, prompt=prompt, task=task)

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Begin and end of each of the text's tokens, in characters, without prompt, special tokens and limit.

        InputError: the text is no valid Unicode.
        """
        return self._resources.tokenizer.offsets(check_text(text))

    def count_tokens(self, texts: Iterable[str], *, prompt: str = "") -> list[int]:
        """The tokens each text has with the prompt and special tokens: more than ``settings.max_tokens`` are cut.

        InputError names the index of what is no string, or cannot be tokenized.
        """
        return self._resources.tokenizer.encode(check_texts(texts), prompt).counts

    def with_options(
        self,
        *,
        pooling: str | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        truncate: str | None = None,
    ) -> "EmbeddingService":
        """A service with the same model, tokenizer and MLX thread that makes other vectors; None: as this one does.

        It costs next to nothing, and is to be closed like any other. ConfigurationError: a value is not allowed.
        """
        asked = {"pooling": pooling, "normalize": normalize, "dimensions": dimensions, "truncate": truncate}
        changes = {name: value for name, value in asked.items() if value is not None}
        if not self._release.alive:
            raise WorkerError("This EmbeddingService is closed; make a new one.")
        other = copy.copy(self)
        other._config = self._config.with_values(**changes)
        other._settings = apply_config(other._config, self._checkpoint)
        engine = retain_engine(self._resources.engine)
        other._release = weakref.finalize(other, release_engine, engine)
        other._resources = Resources(other._config, other._settings, self._resources.tokenizer, engine)
        return other

    @property
    def statistics(self) -> Statistics:
        """What the MLX thread did so far and what waits for it; services that share the thread share the figures."""
        return self._resources.engine.statistics

    @property
    def alive(self) -> bool:
        """Whether it takes texts: not closed, its MLX thread not dead for good, and in the process that made it."""
        return self._release.alive and self._resources.engine.alive

    def embed(self, texts: Iterable[str], **options: Unpack[QueryOptions]) -> Quantized:
        """Vectors of texts as they are, float32 ``[n, dimension]`` unless ``precision`` says otherwise.

        Options and errors of this and the next three are those of ``encode``.
        """
        return self._told(self.encode(texts, **options))

    def embed_query(self, text: str, **options: Unpack[QueryOptions]) -> Quantized:
        """The vector of one query, ``[dimension]``; see ``embed_queries``."""
        vector: Quantized = self.embed_queries([check_text(text)], **options)[0]
        return vector

    def embed_queries(self, texts: Iterable[str], **options: Unpack[QueryOptions]) -> Quantized:
        """Vectors of queries, ``[n, dimension]``, with the query prompt, configured or the model's own.

        ``prompt_name``, ``prompt`` or ``task`` give another one, as in ``encode``.
        """
        return self._told(self.encode(texts, **or_prompt("query", options)))

    def embed_documents(self, texts: Iterable[str], **options: Unpack[PromptOptions]) -> Quantized:
        """Vectors of documents, ``[n, dimension]``, with the document prompt, configured or the model's own.

        ``prompt_name`` or ``prompt`` give another one, as in ``encode``; a ``task`` is for queries.
        """
        return self._told(self.encode(texts, **for_documents(options)))

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
            progress: Called with a number of texts whenever so many more are done.
            wait: Wait for room where the engine's queue is full, instead of failing with OverloadError.
            first_index: What errors call the first text, where ``texts`` is part of a longer list.
            precision: ``"float32"``, or ``"float16"``, ``"int8"``, ``"binary"``, ``"ubinary"``: what ``quantize`` makes
                of the float32 vectors.
            alone: Share no micro-batch with other calls, so that equal lists give equal bits on one machine. Otherwise
                what is computed beside them may change the last bits.

        Raises:
            ConfigurationError: the model has no prompt of that name, or takes no task.
            InputError: a text is no string, or too long with ``truncate: error``; it names the index. Or there is no
                such precision, or not without ranges.
            OverloadError, DeadlineError, WorkerError: see ``akidb_embeddings.errors``.
        """
        text = self._prompter.resolve(prompt_name=prompt_name, prompt=prompt, task=task)
        with self._start(texts, text, options) as job:
            for begin, end in job.windows():
                tokens = job.tokenize(begin, end)
                while job.full or not job.submit(begin, tokens):
                    job.collect()
            while job.pending:
                job.collect()
        return self._result(job, text)

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
        text = self._prompter.resolve(prompt_name=prompt_name, prompt=prompt, task=task)
        with self._start(texts, text, options) as job:
            for begin, end in job.windows():
                if job.is_short(begin, end):
                    tokens = job.tokenize(begin, end)
                else:
                    tokens = await asyncio.to_thread(job.tokenize, begin, end)
                while job.full or not job.submit(begin, tokens):
                    await job.acollect()
            while job.pending:
                await job.acollect()
        return self._result(job, text)

    async def aembed(self, texts: Iterable[str], **options: Unpack[QueryOptions]) -> Quantized:
        """``embed`` for event loops."""
        return self._told(await self.aencode(texts, **options))

    async def aembed_query(self, text: str, **options: Unpack[QueryOptions]) -> Quantized:
        """``embed_query`` for event loops."""
        vector: Quantized = (await self.aembed_queries([check_text(text)], **options))[0]
        return vector

    async def aembed_queries(self, texts: Iterable[str], **options: Unpack[QueryOptions]) -> Quantized:
        """``embed_queries`` for event loops."""
        return self._told(await self.aencode(texts, **or_prompt("query", options)))

    async def aembed_documents(self, texts: Iterable[str], **options: Unpack[PromptOptions]) -> Quantized:
        """``embed_documents`` for event loops."""
        return self._told(await self.aencode(texts, **for_documents(options)))

    def accept(self, vectors: ArrayLike, count: int | None = None, first_index: int = 0) -> Vectors:
        """Check vectors that come from elsewhere, to be mixed with this service's: float32 ``[n, dimension]``.

        They are normalized if this service's are. InputError names the row and what is wrong with it: its length, a
        NaN, an infinity, a zero vector; or the number of vectors, if it is not ``count``. Rows count from
        ``first_index``.
        """
        return finish(check_vectors(vectors, self.dimension, count, first_index), None, self._settings.normalize)

    def close(self) -> None:
        """Give the engine back; the last service that shares it frees the weights. Closing twice does nothing."""
        self._release()

    async def aclose(self) -> None:
        """``close`` for event loops."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def _result(self, job: Job, prompt: str) -> EmbeddingResult:
        name = self.fingerprint(prompt, precision=job.precision)
        return EmbeddingResult(job.vectors, job.token_counts, job.truncated, name, job.timings)

    def _told(self, result: EmbeddingResult) -> Quantized:
        """The vectors alone. The flags are lost with the rest, so the first time a text was cut, a warning says so."""
        if any(result.truncated) and not self._has_told:
            self._has_told = True
            _log.warning(
                "%d of %d texts were cut at %d tokens. encode() tells which; truncate='error' refuses such texts. "
                "Further ones are cut without a word.",
                sum(result.truncated),
                len(result.truncated),
                self._settings.max_tokens,
            )
        return result.vectors

    def _start(self, texts: Iterable[str], prompt: str, options: Options) -> Job:
        if not self._release.alive:
            raise WorkerError("This EmbeddingService is closed; make a new one.")
        return Job(self._resources, check_texts(texts), prompt, **options)
