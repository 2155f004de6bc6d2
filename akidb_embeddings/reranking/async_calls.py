"""The methods of ``calls`` for event loops."""

from collections.abc import Callable, Iterable, Sequence

from akidb_embeddings.reranking.calls import RerankCalls, about_documents, checked_names, ranking_arguments
from akidb_embeddings.reranking.inputs import check_pairs
from akidb_embeddings.reranking.result import Hit, ScoreResult, Scores, ranked
from akidb_embeddings.service.arguments import given_arguments


class AsyncRerankCalls(RerankCalls):
    """``RerankCalls``, and an async twin of each method, which does not block the event loop."""

    @checked_names
    async def ascore(
        self,
        pairs: Iterable[Sequence[str]],
        *,
        instruction: str | None = None,
        prompt_name: str | None = None,
        activation: str = "model",
        all_labels: bool = False,
        max_over_passages: bool = False,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        alone: bool = False,
    ) -> Scores:
        """``score`` for event loops."""
        return self._scores(await self.ascore_details(**given_arguments(locals())))

    @checked_names
    async def ascore_details(
        self,
        pairs: Iterable[Sequence[str]],
        *,
        instruction: str | None = None,
        prompt_name: str | None = None,
        activation: str = "model",
        all_labels: bool = False,
        max_over_passages: bool = False,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        alone: bool = False,
    ) -> ScoreResult:
        """``score_details`` for event loops. Cancelling the task takes its pairs out of the queue."""
        options = given_arguments(locals())
        queries, documents = check_pairs(options.pop("pairs"))
        finish = self._finisher(options)
        with self._start(queries, documents, options) as job:
            await job.arun()
        return finish(job)

    @checked_names
    async def arerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_k: int | None = None,
        instruction: str | None = None,
        prompt_name: str | None = None,
        activation: str = "model",
        max_over_passages: bool = False,
        timeout: float | None = None,
        progress: Callable[[int], object] | None = None,
        wait: bool = False,
        first_index: int = 0,
        alone: bool = False,
    ) -> list[Hit]:
        """``rerank`` for event loops."""
        options = given_arguments(locals())
        queries, texts, wanted = ranking_arguments(options)
        finish = self._finisher(options)
        with about_documents(), self._start(queries, texts, options) as job:
            await job.arun()
        return ranked(finish(job), wanted)
