"""Requests for scores: what a client asks for, and what it gets."""

import contextlib
from dataclasses import dataclass

from akidb_embeddings.errors import InputError
from akidb_embeddings.reranking.calls import about_documents
from akidb_embeddings.reranking.inputs import check_top_k
from akidb_embeddings.reranking.result import Hit, ScoreResult, ranked
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.server.calls.truncation import check_side


@dataclass(frozen=True)
class RerankCall:
    """What a client asks for. None means the server's configuration.

    Attributes:
        top_k: How many hits are wanted; None for all.
        activation: "model", "sigmoid" or "identity".
        max_over_passages: Whether the best passage of a long document counts.
        truncate: "end" or "error".
        truncation_direction: The side that pairs that are too long are to lose, "right" or "left".
        max_tokens_per_doc: The length in tokens to which a document is to be cut.
        keep_alive: For how many seconds after the request its model stays loaded; negative for ever.
    """

    query: str
    documents: list[str]
    model: str | None = None
    top_k: int | None = None
    activation: str = "model"
    instruction: str | None = None
    max_over_passages: bool = False
    truncate: str | None = None
    truncation_direction: str | None = None
    max_tokens_per_doc: int | None = None
    keep_alive: float | None = None


@dataclass(frozen=True)
class RerankOutcome:
    """The scores of a call.

    Attributes:
        model: The name of the model that computed them.
        result: The scores of all documents, in their order, and what became of each.
        hits: As many documents as are wanted, the best first.
    """

    model: str
    result: ScoreResult
    hits: list[Hit]


async def compute(name: str, service: RerankService, call: RerankCall, seconds: float) -> RerankOutcome:
    """Score the documents.

    Raises:
        EmbeddingError: The query or a document cannot be used, an option is not allowed, or the time is up.
    """
    top_k = check_top_k(call.top_k)
    _check_cuts(call, service)
    with _with_options(service, call) as chosen, about_documents():
        result = await chosen.ascore_details(
            [(call.query, document) for document in call.documents],
            instruction=call.instruction,
            activation=call.activation,
            max_over_passages=call.max_over_passages,
            timeout=seconds,
        )
    return RerankOutcome(name, result, ranked(result, top_k))


def _check_cuts(call: RerankCall, service: RerankService) -> None:
    """Refuse what other servers can cut and this one cannot, where it would change a score.

    Raises:
        InputError: The call asks for the other side, or for shorter documents.
    """
    check_side(call.truncation_direction, service.truncation_side, "pairs")
    length, limit = call.max_tokens_per_doc, service.max_tokens
    if length is not None and (length < limit or call.max_over_passages):
        raise InputError(
            field="max_tokens_per_doc",
            limit=limit,
            reason=f"is {length}; this server does not cut single documents, only pairs of more than {limit} tokens. "
            f"Leave it out, or give {limit} or more, without max_over_passages.",
        )


def _with_options(service: RerankService, call: RerankCall) -> contextlib.AbstractContextManager[RerankService]:
    """The service itself, or one with the call's options."""
    if call.truncate is None:
        return contextlib.nullcontext(service)
    return service.with_options(truncate=call.truncate)
