"""The methods of ``calls`` for event loops."""

from collections.abc import Callable, Iterable
from typing import Literal, Unpack, overload

from akidb_embeddings.service.arguments import checked_names, given_arguments
from akidb_embeddings.service.calls import Calls
from akidb_embeddings.service.inputs import check_text
from akidb_embeddings.service.options import EncodeOptions, with_default_prompt
from akidb_embeddings.service.result import EmbeddingResult, Result, SparseResult, TokensResult
from akidb_embeddings.vectors.precision import Quantized


class AsyncCalls(Calls):
    """``Calls``, and an async twin of each method, which does not block the event loop."""

    @overload
    async def aencode(
        self, texts: Iterable[str], *, output: Literal["dense"] = "dense", **options: Unpack[EncodeOptions]
    ) -> EmbeddingResult: ...

    @overload
    async def aencode(
        self, texts: Iterable[str], *, output: Literal["sparse"], **options: Unpack[EncodeOptions]
    ) -> SparseResult: ...

    @overload
    async def aencode(
        self, texts: Iterable[str], *, output: Literal["tokens"], **options: Unpack[EncodeOptions]
    ) -> TokensResult: ...

    @overload
    async def aencode(self, texts: Iterable[str], *, output: str, **options: Unpack[EncodeOptions]) -> Result: ...

    @checked_names
    async def aencode(
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
        """``encode`` for event loops. Cancelling the task takes its texts out of the queue."""
        with self._start(given_arguments(locals())) as job:
            await job.arun()
        return self._result(job)

    @checked_names
    async def aembed(
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
        """``embed`` for event loops."""
        return self._vectors(await self.aencode(**given_arguments(locals())))

    @checked_names
    async def aembed_query(
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
        """``embed_query`` for event loops."""
        options = given_arguments(locals())
        vector: Quantized = (await self.aembed_queries([check_text(options.pop("text"))], **options))[0]
        return vector

    @checked_names
    async def aembed_queries(
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
        """``embed_queries`` for event loops."""
        return self._vectors(await self.aencode(**with_default_prompt("query", given_arguments(locals()))))

    @checked_names
    async def aembed_documents(
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
        """``embed_documents`` for event loops."""
        return self._vectors(await self.aencode(**with_default_prompt("document", given_arguments(locals()))))
