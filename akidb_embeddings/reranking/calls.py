"""The methods that score. Every option is spelled out in each, for ``help``, editors and the reference."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from akidb_embeddings.config.rerank import FIELDS
from akidb_embeddings.errors import EmbeddingError, InputError
from akidb_embeddings.reranking.activation import activate
from akidb_embeddings.reranking.inputs import check_documents, check_pairs, check_top_k
from akidb_embeddings.reranking.job import PassagesJob, ScoresJob
from akidb_embeddings.reranking.loaded import LoadedReranker
from akidb_embeddings.reranking.result import Hit, ScoreResult, Scores, ranked, warn_about_truncation
from akidb_embeddings.service.arguments import given_arguments, names_checker
from akidb_embeddings.service.elsewhere import CROSS_ENCODER
from akidb_embeddings.service.inputs import check_task, check_text

checked_names = names_checker("RerankService", FIELDS, CROSS_ENCODER)


class RerankCalls(LoadedReranker):
    """A loaded reranker with the methods that score, which may be called from any thread."""

    _has_warned = False

    @checked_names
    def score(
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
        """Scores of pairs (query, document), float32 ``[n]``; options and errors are those of ``score_details``."""
        return self._scores(self.score_details(**given_arguments(locals())))

    @checked_names
    def score_details(
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
        """Scores with token counts, truncation flags and fingerprint.

        Args:
            pairs: Any number of pairs (query, document); an empty list gives scores of shape ``[0]``.
            instruction: What makes a document relevant, for models that take an instruction.
            prompt_name: One of the model's prompts instead.
            activation: What is applied to the model's logits: ``"model"``, as trained; ``"sigmoid"``, scores from 0 to
                1; ``"identity"``, the logits.
            all_labels: Return all scores of a model with several labels, float32 ``[n, labels]``; ``labels`` has their
                names. Without it, such a model is an error.
            max_over_passages: Divide a document that is too long into passages, and take the largest score of them.
                Otherwise its end is cut, and flagged, or it is rejected with ``truncate: error``.
            timeout: Seconds after which the call fails with DeadlineError, and what still waits is dropped.
            progress: Called with a number of pairs, or passages, whenever that many more are done.
            wait: Wait for room where the engine's queue is full, instead of failing with OverloadError.
            first_index: The number that errors give the first pair, where ``pairs`` is part of a longer list.
            alone: Share no micro-batch with other calls, so that equal lists give equal bits on one machine.

        Raises:
            ArgumentError: An argument is unknown; it is also a TypeError.
            ConfigurationError: The model takes no instruction, or has no prompt of that name.
            InputError: A pair is not two strings, or is too long with ``truncate: error``; ``index`` says which. Or the
                model has several labels, and ``all_labels`` is not set.
            OverloadError, DeadlineError, WorkerError: See ``akidb_embeddings.errors``.
        """
        options = given_arguments(locals())
        queries, documents = check_pairs(options.pop("pairs"))
        finish = self._finisher(options)
        with self._start(queries, documents, options) as job:
            job.run()
        return finish(job)

    @checked_names
    def rerank(
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
        """The documents by their relevance to the query, the best first.

        Args:
            query: The query.
            documents: Any number of documents.
            top_k: How many are wanted; None for all.
            instruction: See ``score_details``, as for the arguments below.
            prompt_name: See there.
            activation: See there.
            max_over_passages: See there.
            timeout: See there.
            progress: See there.
            wait: See there.
            first_index: The number that errors give the first document.
            alone: See there.

        Raises:
            InputError: The query or a document is not a string, ``top_k`` is not a positive integer, or the model has
                several labels.
            ArgumentError, ConfigurationError, OverloadError, DeadlineError, WorkerError: As ``score_details``.
        """
        options = given_arguments(locals())
        queries, texts, wanted = ranking_arguments(options)
        finish = self._finisher(options)
        with about_documents(), self._start(queries, texts, options) as job:
            job.run()
        return ranked(finish(job), wanted)

    def _start(self, queries: Sequence[str], documents: Sequence[str], options: dict[str, Any]) -> ScoresJob:
        """The job of a call, given its other options."""
        self._check_open()
        instruction = options.pop("instruction")
        if instruction is not None:
            check_task(instruction, "instruction")
        prompt = self._prompt(instruction, options.pop("prompt_name"))
        kind = PassagesJob if options.pop("max_over_passages") else ScoresJob
        return kind(self._resources, queries, documents, prompt, **options)

    def _finisher(self, options: dict[str, Any]) -> Callable[[ScoresJob], ScoreResult]:
        """What makes a call's result of its job, given its options, of which some are taken.

        Raises:
            InputError: An option is not allowed for this model.
        """
        activation, all_labels = self._activation(options.pop("activation")), options.pop("all_labels", False)
        if len(self.labels) > 1 and not all_labels:
            raise InputError(
                f"This model gives {len(self.labels)} scores to each pair ({', '.join(self.labels)}), so it does not "
                "say which document is better. score(pairs, all_labels=True) returns them all.",
                field="all_labels",
            )

        def finish(job: ScoresJob) -> ScoreResult:
            job.settle()
            logits = job.logits if all_labels else job.logits[:, 0]
            name = self._resources.fingerprint(job.prompt, activation)
            return ScoreResult(activate(logits, activation), logits, job.token_counts, job.truncated, name, job.timings)

        return finish

    def _scores(self, result: ScoreResult) -> Scores:
        """The scores alone. Warns at the first truncated pair, since ``truncated`` is lost with the rest."""
        if any(result.truncated) and not self._has_warned:
            self._has_warned = True
            warn_about_truncation(result, self.max_tokens)
        return result.scores


@contextlib.contextmanager
def about_documents() -> Iterator[None]:
    """Make errors about a pair be about its document, or about the query that all pairs have."""
    try:
        yield
    except EmbeddingError as error:
        if error.field == "queries":
            raise error.changed(field="query", index=None) from None
        if error.field == "pairs":
            raise error.changed(field="documents") from None
        raise


def ranking_arguments(options: dict[str, Any]) -> tuple[list[str], list[str], int | None]:
    """The query, once for each document, the documents, and how many are wanted, taken from a call's options."""
    try:
        query = check_text(options.pop("query"))
    except InputError as error:
        raise error.changed(field="query") from None
    documents = check_documents(options.pop("documents"))
    return [query] * len(documents), documents, check_top_k(options.pop("top_k"))
