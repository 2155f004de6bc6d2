"""The schemas of the bodies of requests for scores, and of their responses."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from akidb_embeddings.server.http.parsing import StrictBody
from akidb_embeddings.server.http.schemas import ABOUT_KEEP_ALIVE, Count, KeepAlive, Texts

Positive = Annotated[int, Field(ge=1)]


class TeiRerankRequest(StrictBody):
    """The request of Hugging Face's Text Embeddings Inference. What is missing or null has its default."""

    query: str = Field(description="The query.", examples=["Where do foxes live?"])
    texts: Texts = Field(
        description="The texts, at least one; `/info` has the maximum number.",
        min_length=1,
        examples=[["Foxes live in dens.", "Snow is cold."]],
    )
    raw_scores: bool | None = Field(None, description="Logits instead of their sigmoid (the default).")
    return_text: bool | None = Field(None, description="Whether each hit has its text, too.")
    truncate: bool | None = Field(
        None, description="Longer pairs: true cuts them, false rejects them; as configured by default."
    )
    truncation_direction: Literal["right", "left", "Right", "Left"] | None = Field(
        None, description="The side that is cut. Only the side that the model's tokenizer cuts is accepted."
    )
    model: str | None = Field(None, description="A reranker of `/info`; the first by default. Not in TEI's own API.")
    keep_alive: KeepAlive | None = Field(None, description=ABOUT_KEEP_ALIVE)


class TeiHit(BaseModel):
    """A text, and how well it answers the query."""

    index: Count
    score: float
    text: str | None = None


class RerankDocument(StrictBody):
    """A document as an object."""

    text: str


Document = str | RerankDocument


class CohereRerankRequest(StrictBody):
    """The request of Cohere's and Jina's APIs. What is missing or null has its default."""

    query: str = Field(description="The query.", examples=["Where do foxes live?"])
    documents: Annotated[list[Document], Field(fail_fast=True)] = Field(
        description="The documents, at least one, as strings or objects with a text; `/info` has the maximum number.",
        min_length=1,
        examples=[["Foxes live in dens.", "Snow is cold."]],
    )
    model: str | None = Field(None, description="A reranker of `/v1/models`; the first by default.")
    top_n: Positive | None = Field(None, description="How many results are wanted; all by default.")
    return_documents: bool | None = Field(None, description="Whether each result has its document; false by default.")
    max_tokens_per_doc: Positive | None = Field(
        None,
        description="Rejected if it is less than the model's `max_tokens`; from there on it has no effect.",
    )
    priority: int | None = Field(None, description="Ignored: all requests are alike.")
    raw_scores: bool | None = Field(None, description="Logits instead of scores from 0 to 1. Only in this API.")
    truncate: Literal["end", "error"] | None = Field(
        None, description="Longer pairs: end cuts them, error rejects them; as configured by default. Only in this API."
    )
    instruction: str | None = Field(
        None, description="What makes a document relevant, for models that take an instruction. Only in this API."
    )
    max_over_passages: bool | None = Field(
        None,
        description="Divide documents that are too long into passages, of which the best counts. Only in this API.",
    )
    keep_alive: KeepAlive | None = Field(None, description=ABOUT_KEEP_ALIVE)


class CohereResult(BaseModel):
    """A document, and how relevant it is to the query."""

    index: Count
    relevance_score: float
    document: RerankDocument | None = None


class CohereTokens(BaseModel):
    """Tokens that the model saw."""

    input_tokens: Count
    output_tokens: Count


class CohereMeta(BaseModel):
    """Cohere's figures. `warnings` is present if documents were truncated."""

    tokens: CohereTokens
    warnings: list[str] | None = None


class RerankUsage(BaseModel):
    """Tokens that the model saw, in Jina's form."""

    prompt_tokens: Count
    total_tokens: Count


class CohereAnswer(BaseModel):
    """The best documents first."""

    id: str
    model: str
    results: list[CohereResult]
    usage: RerankUsage
    meta: CohereMeta


class CohereErrorBody(BaseModel):
    """An error in Cohere's form. `field` and `limit` are present if it is about one; `retry_after` is in seconds."""

    message: str
    type: str
    request_id: str
    field: str | None = None
    limit: float | None = None
    retry_after: int | None = None
