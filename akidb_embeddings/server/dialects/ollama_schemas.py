"""The schemas of Ollama's API, as far as clients that embed use it."""

from typing import Any

from pydantic import BaseModel, Field

from akidb_embeddings.server.http.parsing import StrictBody
from akidb_embeddings.server.http.schemas import ABOUT_KEEP_ALIVE, Count, Dimensions, Input, KeepAlive

ABOUT_MODEL = "A name that `/api/tags` lists, with `:latest` or without; the first by default."
ABOUT_OPTIONS = "Ignored: Ollama's options are for generating text, and a model's limit is the server's."


class OllamaEmbedRequest(StrictBody):
    """Ollama's request for vectors."""

    model: str | None = Field(None, description=ABOUT_MODEL)
    input: Input | None = Field(
        None,
        description="One text or several; none, or an empty list, only makes sure that the model is loaded.",
        examples=["Hello world"],
    )
    truncate: bool | None = Field(
        None, description="Longer texts: true cuts them, false rejects them; as the server is configured by default."
    )
    dimensions: Dimensions | None = Field(None, description="Cut vectors to this length (Matryoshka).")
    keep_alive: KeepAlive | None = Field(None, description=ABOUT_KEEP_ALIVE)
    options: dict[str, Any] | None = Field(None, description=ABOUT_OPTIONS)


class OllamaEmbedAnswer(BaseModel):
    """Vectors. Durations are in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: Count
    load_duration: Count
    prompt_eval_count: Count = Field(description="Tokens that the model saw, special tokens included.")


class OllamaPromptRequest(StrictBody):
    """Ollama's older request for one vector."""

    model: str | None = Field(None, description=ABOUT_MODEL)
    prompt: str = Field(description="The text.", examples=["Hello world"])
    keep_alive: KeepAlive | None = Field(None, description=ABOUT_KEEP_ALIVE)
    options: dict[str, Any] | None = Field(None, description=ABOUT_OPTIONS)


class OllamaPromptAnswer(BaseModel):
    """One vector."""

    embedding: list[float]


class OllamaShowRequest(StrictBody):
    """Which model to describe."""

    model: str | None = Field(None, description=ABOUT_MODEL)
    name: str | None = Field(None, description="The older name of `model`.")
    verbose: bool | None = Field(None, description="Ignored: all is told.")


class OllamaDetails(BaseModel):
    """The kind of a model."""

    format: str
    family: str | None = Field(description="Null until the model has been loaded once.")
    families: list[str]


class OllamaModel(BaseModel):
    """One embedding model. `digest` is its fingerprint."""

    name: str
    model: str
    modified_at: str = Field(description="When the server was started.")
    digest: str | None
    details: OllamaDetails


class OllamaModels(BaseModel):
    """The embedding models."""

    models: list[OllamaModel]


class OllamaDescription(BaseModel):
    """What is known of one model. `model_info` has its architecture, limit in tokens and dimension."""

    modified_at: str
    capabilities: list[str]
    details: OllamaDetails
    model_info: dict[str, str | int | None]


class OllamaVersion(BaseModel):
    """This server's version, not one of Ollama's."""

    version: str
