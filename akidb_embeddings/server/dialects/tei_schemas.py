"""The schemas of Text Embeddings Inference: its body for vectors, its errors, and `/info` with its fields."""

from typing import Literal

from pydantic import BaseModel, Field

from akidb_embeddings.server.http.parsing import StrictBody
from akidb_embeddings.server.http.schemas import Dimensions, ErrorBody, Input, ModelInfo, PromptName, RerankerInfo

Direction = Literal["right", "left", "Right", "Left"]


class TeiEmbedRequest(StrictBody):
    """Text Embeddings Inference's request. What is missing or null has its default."""

    inputs: Input = Field(
        description="One text or several. Token ids are rejected: send texts.", examples=["Hello world"]
    )
    normalize: bool | None = Field(None, description="Whether vectors are scaled to length 1; true by default.")
    truncate: bool | None = Field(
        None, description="Longer texts: true cuts them, false rejects them; as `auto_truncate` of `/info` by default."
    )
    truncation_direction: Direction | None = Field(
        None, description="The side that is cut. Only the side that the model's tokenizer cuts is accepted."
    )
    prompt_name: PromptName | None = Field(None, description="The name of one of the model's prompts.")
    dimensions: Dimensions | None = Field(None, description="Cut vectors to this length (Matryoshka).")
    encoding_format: Literal["float"] | None = Field(None, description="Only float, which vectors always are.")
    model: str | None = Field(None, description="A model of `/info`; the first by default. Not in TEI's own API.")


class Info(BaseModel):
    """Version, limits, embedding models and rerankers.

    The fields from `model_id` on are Text Embeddings Inference's: of the first embedding model, or else of the first
    reranker.
    """

    version: str
    limits: dict[str, float]
    models: list[ModelInfo]
    rerankers: list[RerankerInfo]
    model_id: str
    model_sha: str | None
    model_type: dict[Literal["embedding", "reranker"], dict[str, str | None]]
    max_input_length: int | None = Field(description="The limit in force, in tokens.")
    max_client_batch_size: int = Field(description="The most texts in one request.")
    max_batch_tokens: int = Field(description="The most tokens that wait for the model.")
    max_concurrent_requests: int
    auto_truncate: bool | None = Field(description="Whether longer texts are cut, unless the request says otherwise.")


class TeiErrorBody(ErrorBody):
    """An error of the paths that are Text Embeddings Inference's, too: `error_type` is its word for `type`."""

    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation"]
