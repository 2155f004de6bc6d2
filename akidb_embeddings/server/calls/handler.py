"""Handles a request of any protocol: limits, model, options, vectors or scores; and counts what became of it."""

from typing import Any

from akidb_embeddings import __version__
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.registry.outputs import DENSE
from akidb_embeddings.server.calls import embed_call, rerank_call
from akidb_embeddings.server.calls.admission import Admission
from akidb_embeddings.server.calls.embed_call import EmbedCall, EmbedOutcome
from akidb_embeddings.server.calls.models import Models
from akidb_embeddings.server.calls.output_call import answer_output
from akidb_embeddings.server.calls.rerank_call import RerankCall, RerankOutcome
from akidb_embeddings.server.calls.truncation import TruncationLog
from akidb_embeddings.server.observability.metrics import Metrics


class Handler(Admission):
    """Computes what clients ask for, within the limits that hold for all of them together.

    Attributes:
        models: The models.
    """

    def __init__(self, config: ServerConfig, models: Models, metrics: Metrics) -> None:
        super().__init__(config, metrics)
        self.models = models
        self._truncation_log = TruncationLog()

    def info(self) -> dict[str, Any]:
        """Describe version, limits and models, as ``/info`` and the gRPC call ``Info`` do."""
        return {"version": __version__, "limits": self.config.limits, **self.models.info()}

    async def embed(self, call: EmbedCall, protocol: str, seconds: float | None = None) -> EmbedOutcome:
        """Compute the vectors within ``seconds``, or within the configured time if that is less.

        Cancelling takes the texts out of the queue.

        Raises:
            ApiError: The request failed, for any reason.
        """
        with self.handling(protocol), embed_call.named(call):
            name = self.models.embedder(call.model)
            self.check_count("texts", len(call.texts))
            self.check_characters("texts", call.texts)
            self.check_repeated("prompt", call.prompt or call.task or "", len(call.texts))
            embed_call.check_vectors_given(call)
            left = self.seconds(seconds)
            async with self.models.use(name, left, call.keep_alive) as (service, load_seconds):
                self.check_queue(service.statistics)
                compute = embed_call.answer if call.kind == DENSE else answer_output
                outcome = await compute(name, service, call, left - load_seconds, load_seconds)
                self._truncation_log.tell(name, outcome.limit, outcome.truncated)
        self.metrics.count_texts(name, outcome.token_counts, outcome.truncated)
        return outcome

    async def rerank(self, call: RerankCall, protocol: str, seconds: float | None = None) -> RerankOutcome:
        """Compute the scores within ``seconds``, or within the configured time if that is less.

        Cancelling takes the pairs out of the queue.

        Raises:
            ApiError: The request failed, for any reason; documents are called "documents" in it.
        """
        with self.handling(protocol):
            name = self.models.reranker(call.model)
            self.check_count("documents", len(call.documents))
            self.check_characters("query", [call.query])
            self.check_characters("documents", call.documents)
            self.check_repeated("query", (call.instruction or "") + call.query, len(call.documents))
            left = self.seconds(seconds)
            async with self.models.use(name, left, call.keep_alive) as (service, load_seconds):
                self.check_queue(service.statistics)
                outcome = await rerank_call.compute(name, service, call, left - load_seconds)
                self._truncation_log.tell(name, service.max_tokens, outcome.result.truncated)
        self.metrics.count_texts(name, outcome.result.token_counts, outcome.result.truncated)
        return outcome
