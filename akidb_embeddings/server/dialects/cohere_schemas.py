"""The schemas of Cohere's API for vectors, in both versions."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from akidb_embeddings.server.dialects.rerank_schemas import CohereMeta, Positive
from akidb_embeddings.server.http.parsing import StrictBody
from akidb_embeddings.server.http.schemas import ABOUT_INPUT_TYPE, Dimensions, InputType, Texts

_Number = float  # the class below has a field of that name
EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]


class CohereEmbedRequest(StrictBody):
    """The request of Cohere's API. What is missing or null has its default."""

    texts: Texts | None = Field(
        None, description="The texts, at least one; `/info` has the maximum number.", examples=[["Hello world"]]
    )
    model: str | None = Field(None, description="A model of `/v1/models`; the first by default.")
    input_type: InputType | Literal["image"] | None = Field(None, description=ABOUT_INPUT_TYPE)
    embedding_types: Annotated[list[EmbeddingType], Field(min_length=1)] | None = Field(
        None,
        description="float (the default), int8 (each vector scaled by its largest value), binary and ubinary (signs), "
        "base64 (of little-endian float32). uint8 is rejected: it needs ranges.",
    )
    truncate: Literal["NONE", "START", "END"] | None = Field(
        None,
        description="Longer texts: END or START cuts them, of which only the side that the model's tokenizer cuts is "
        "accepted; NONE rejects them; as the server is configured by default.",
    )
    output_dimension: Dimensions | None = Field(None, description="Cut vectors to this length (Matryoshka).")
    max_tokens: Positive | None = Field(
        None, description="Rejected if it is less than the model's `max_tokens`; from there on it has no effect."
    )
    priority: int | None = Field(None, description="Ignored: all requests are alike.")
    images: list[Any] | None = Field(None, description="Rejected: this server embeds texts.")
    inputs: list[Any] | None = Field(None, description="Rejected: this server embeds texts.")


class CohereVectors(BaseModel):
    """Vectors of each type that was asked for."""

    float: list[list[_Number]] | None = None
    int8: list[list[int]] | None = None
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None
    base64: list[str] | None = None


class CohereEmbedAnswer(BaseModel):
    """Vectors by type, or in the first version, if no type is asked for, a list of vectors."""

    response_type: Literal["embeddings_by_type", "embeddings_floats"]
    id: str
    embeddings: CohereVectors | list[list[float]]
    texts: list[str]
    meta: CohereMeta
