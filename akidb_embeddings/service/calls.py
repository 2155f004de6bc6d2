"""The methods that embed. Every option is spelled out in each, for ``help``, editors and the reference."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, Unpack, overload

from akidb_embeddings.checkpoint.settings import check_output
from akidb_embeddings.errors import InputError
from akidb_embeddings.registry.outputs import DENSE, SPARSE, TOKENS
from akidb_embeddings.service.arguments import checked_names, given_arguments
from akidb_embeddings.service.inputs import check_text, check_texts
from akidb_embeddings.service.loaded_model import LoadedModel, role_of
from akidb_embeddings.service.options import EncodeOptions, with_default_prompt
from akidb_embeddings.service.result import EmbeddingResult, Result, SparseResult, TokensResult, warn_about_truncation
from akidb_embeddings.service.sparse_job import SparseJob
from akidb_embeddings.service.texts_job import TextsJob
from akidb_embeddings.service.tokens_job import TokensJob
from akidb_embeddings.service.vectors_job import VectorsJob
from akidb_embeddings.vectors.precision import Quantized


class Calls(LoadedModel):
    """A loaded model with the methods that embed, which may be called from any thread."""

    _has_warned = False

    @checked_names
    def embed(
        self,
        texts: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        precision: str = "float32",
        alone: bool = False,
    ) -> Quantized:
        """Vectors of texts as they are, float32 ``[n, dimension]`` unless ``precision`` says otherwise.

        Options and errors of this method and the next three are those of ``encode``.
        """
        return self._vectors(self.encode(**given_arguments(locals())))

    @checked_names
    def embed_query(
        self,
        text: str,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        precision: str = "float32",
        alone: bool = False,
    ) -> Quantized:
        """The vector of one query, ``[dimension]``; see ``embed_queries``."""
        options = given_arguments(locals())
        vector: Quantized = (self.embed_queries([check_text(options.pop("text"))], **options))[0]
        return vector

    @checked_names
    def embed_queries(
        self,
        texts: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        precision: str = "float32",
        alone: bool = False,
    ) -> Quantized:
        """Vectors of queries, ``[n, dimension]``, with the query prompt, configured or the model's own.

        ``prompt_name``, ``prompt`` or ``task`` give another one, as in ``encode``.
        """
        return self._vectors(self.encode(**with_default_prompt("query", given_arguments(locals()))))

    @checked_names
    def embed_documents(
        self,
        texts: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        precision: str = "float32",
        alone: bool = False,
    ) -> Quantized:
        """Vectors of documents, ``[n, dimension]``, with the document prompt, configured or the model's own.

        ``prompt_name`` or ``prompt`` give another one, as in ``encode``; a ``task`` is for queries.
        """
        return self._vectors(self.encode(**with_default_prompt("document", given_arguments(locals()))))

    @overload
    def encode(
        self, texts: Iterable[str], *, output: Literal["dense"] = "dense", **options: Unpack[EncodeOptions]
    ) -> EmbeddingResult: ...

    @overload
    def encode(
        self, texts: Iterable[str], *, output: Literal["sparse"], **options: Unpack[EncodeOptions]
    ) -> SparseResult: ...

    @overload
    def encode(
        self, texts: Iterable[str], *, output: Literal["tokens"], **options: Unpack[EncodeOptions]
    ) -> TokensResult: ...

    @overload
    def encode(self, texts: Iterable[str], *, output: str, **options: Unpack[EncodeOptions]) -> Result: ...

    @checked_names
    def encode(
        self,
        texts: Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        precision: str = "float32",
        alone: bool = False,
        output: str = "dense",
    ) -> Result:
        """Vectors with token counts, truncation flags and fingerprint.

        Args:
            texts: Any number of texts; an empty list gives vectors of shape ``[0, dimension]``.
            prompt_name: ``"query"``, ``"document"`` or another of the model's prompts, put before each text.
            prompt: A prompt of your own instead.
            task: An instruction instead, for models whose query prompt holds one: ``Instruct: {task}…``.
            timeout: Seconds after which the call fails with DeadlineError, and what still waits is dropped; infinity is
                no deadline.
            progress: Called with a number of texts whenever that many more are done.
            wait: Wait for room where the engine's queue is full, instead of failing with OverloadError.
            first_index: The number that errors give the first text, where ``texts`` is part of a longer list.
            precision: ``"float32"``, or ``"float16"``, ``"int8"``, ``"binary"``, ``"ubinary"``: what ``quantize`` makes
                of the float32 vectors.
            alone: Share no micro-batch with other calls, so that equal lists give equal bits on one machine. Otherwise
                what is computed beside them may change the last bits.
            output: ``"dense"``, one vector per text; or what else the model has (``outputs``), in float32:
                ``"sparse"``, weights of tokens, as a ``SparseResult``, or ``"tokens"``, a vector of each token, as a
                ``TokensResult``, for which ``prompt_name`` says whether texts are queries or documents.

        Raises:
            ArgumentError: An argument is unknown; it is also a TypeError.
            ConfigurationError: The model has no prompt of that name, takes no task, or does not have the output.
            InputError: A text is not a string, or too long with ``truncate: error``; ``index`` says which. Or the
                precision is unknown, or needs ranges.
            OverloadError, DeadlineError, WorkerError: See ``akidb_embeddings.errors``.
        """
        with self._start(given_arguments(locals())) as job:
            job.run()
        return self._result(job)

    def _result(self, job: TextsJob) -> Result:
        return job.result(self._fingerprint(job.prompt, job.precision, job.output, job.role))

    def _vectors(self, result: EmbeddingResult) -> Quantized:
        """The vectors alone. Warns at the first truncated text, since ``truncated`` is lost with the rest."""
        if any(result.truncated) and not self._has_warned:
            self._has_warned = True
            warn_about_truncation(result, self.settings.max_tokens)
        return result.vectors

    def _start(self, options: dict[str, Any]) -> TextsJob:
        """The job of a call, given the arguments of ``encode``."""
        texts, output = options.pop("texts"), options.pop("output", DENSE)
        check_output(self.checkpoint, output)
        role = {"role": role_of(options.get("prompt_name"))} if output == TOKENS else {}
        prompt, others = self._resources.prompter.take(options)
        self._check_open()
        if output == DENSE:
            return VectorsJob(self._resources, check_texts(texts), prompt, **others)
        if (precision := others.pop("precision", "float32")) != "float32":
            raise InputError(field="precision", reason=f"is {precision!r}; the output {output!r} is float32.")
        kind = SparseJob if output == SPARSE else TokensJob
        return kind(self._resources, check_texts(texts), prompt, **others, **role)
