"""The schemas of HTTP request and response bodies."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field

from akidb_embeddings.registry.outputs import OUTPUTS
from akidb_embeddings.registry.poolings import POOLINGS
from akidb_embeddings.server.calls.prompting import INPUT_TYPES
from akidb_embeddings.server.http.parsing import StrictBody
from akidb_embeddings.vectors import WITHOUT_RANGES

if TYPE_CHECKING:  # type checkers take no literals from a list
    Precision = str
    Output = str
    Pooling = str
    InputType = str
else:
    Precision = Literal[WITHOUT_RANGES]
    Output = Literal[OUTPUTS]
    Pooling = Literal["auto", *POOLINGS]
    InputType = Literal[INPUT_TYPES]
Truncate = Literal["end", "error"]
PromptName = Annotated[str, Field(max_length=200)]
KeepAlive = float | str
ABOUT_INPUT_TYPE = "What the texts are for, instead of the prompt's name."
ABOUT_KEEP_ALIVE = (
    "For how long after the request its model stays loaded: seconds, or a duration such as `5m`; negative for ever."
)
Dimensions = Annotated[int, Field(ge=1, le=1_000_000)]
Count = Annotated[int, Field(ge=0)]
State = Literal["unloaded", "loading", "loaded", "unloading"]
# Validation stops at a list's first invalid item: a list may have millions, and their errors would exhaust the memory.
Texts = Annotated[list[str], Field(fail_fast=True)]
Ids = Annotated[list[int], Field(fail_fast=True)]
Vector = Annotated[list[float], Field(fail_fast=True)]


class EmbedRequest(StrictBody):
    """Texts to embed. Options that are missing or null are as the server is configured."""

    texts: Texts = Field(description="The texts; `/info` has the maximum number.", examples=[["Hello world"]])
    model: str | None = Field(None, description="A model of `/info`; the first by default.")
    pooling: Pooling | None = Field(
        None, description="How hidden states become one vector; auto: as the model was trained."
    )
    normalize: bool | None = Field(None, description="Whether vectors are scaled to length 1.")
    prompt_name: PromptName | None = Field(
        None, description="The name of one of the model's prompts: query, document, …"
    )
    prompt: PromptName | None = Field(None, description="The older name of `prompt_name`.")
    prompt_text: str | None = Field(None, description="A text to put before each text instead.")
    task: str | None = Field(None, description="An instruction instead, for models whose query prompt has one.")
    input_type: InputType | None = Field(None, description=ABOUT_INPUT_TYPE)
    dimensions: Dimensions | None = Field(None, description="Cut vectors to this length (Matryoshka).")
    truncate: Truncate | None = Field(None, description="Longer texts: end cuts and flags them, error rejects them.")
    keep_alive: KeepAlive | None = Field(None, description=ABOUT_KEEP_ALIVE)
    embeddings: Annotated[list[Vector | None], Field(fail_fast=True)] | None = Field(
        None,
        description="Vectors that you already have, one per text, or null where it is to be computed. Given vectors "
        "are checked, normalized and converted like computed ones.",
    )
    precision: Precision | None = Field(
        None,
        description="The form of the vectors, float32 by default. int8: each vector scaled by its largest value; "
        "binary, ubinary: signs, eight per byte, signed or unsigned.",
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="Numbers (the default), or base64 of the precision's little-endian bytes."
    )
    output: Output | None = Field(
        None,
        description="dense (the default): one vector per text; sparse: weights of tokens; tokens: a vector of each "
        "token, for which `prompt_name` or `input_type` says whether texts are queries or documents. A model has some "
        "of them.",
    )


class TimingsBody(BaseModel):
    """Milliseconds."""

    tokenize_ms: float
    queue_ms: float
    compute_ms: float
    total_ms: float


class SparseBody(BaseModel):
    """A text's weights: the ids of tokens, ascending, and the weight of each."""

    indices: list[int]
    values: list[float]


class EmbedAnswer(BaseModel):
    """Vectors, and the tokens of each text. Vectors with different fingerprints must not be compared."""

    model: str
    dimension: Count
    output: Output
    embeddings: list[list[float]] | list[str] | list[SparseBody] | list[list[list[float]]]
    precision: Precision
    token_counts: list[Count] = Field(
        description="Tokens that the model saw, special tokens included; 0 for given vectors."
    )
    truncated: list[bool]
    fingerprint: str
    timings: TimingsBody


# One text or several. Token ids, which many clients send, are accepted by the schemas so that the error can say more.
Input = str | Texts | Ids | Annotated[list[Ids], Field(fail_fast=True)]


class OpenAIRequest(StrictBody):
    """OpenAI's `embeddings.create`. The fields after `user` are not in OpenAI's own API."""

    input: Input = Field(
        description="One text or several. Token ids are rejected: their vocabulary is another one.",
        examples=["Hello world"],
    )
    model: str | None = Field(None, description="A model of `/v1/models`; the first by default.")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="float (the default), or base64 of little-endian float32."
    )
    dimensions: Dimensions | None = Field(None, description="Cut vectors to this length (Matryoshka).")
    user: str | None = Field(None, description="Ignored.")
    prompt_name: PromptName | None = Field(
        None, description="The name of one of the model's prompts: query, document, …"
    )
    prompt: str | None = Field(None, description="A text to put before each text instead.")
    task: str | None = Field(None, description="An instruction instead, for models whose query prompt has one.")
    input_type: InputType | None = Field(None, description=ABOUT_INPUT_TYPE)
    truncate: Truncate | None = Field(None, description="Longer texts: end cuts them, error rejects them.")
    keep_alive: KeepAlive | None = Field(None, description=ABOUT_KEEP_ALIVE)


class OpenAIVector(BaseModel):
    """One text's vector."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class OpenAIUsage(BaseModel):
    """Tokens that the model saw."""

    prompt_tokens: Count
    total_tokens: Count


class OpenAIAnswer(BaseModel):
    """OpenAI's list of embeddings."""

    object: Literal["list"]
    model: str
    data: list[OpenAIVector]
    usage: OpenAIUsage


class Residence(BaseModel):
    """Whether a model is loaded. Times are in seconds since 1970."""

    state: State
    pinned: bool = Field(description="Whether it stays loaded whatever other models need.")
    memory_bytes: Count | None = Field(description="What it takes, or took when it was loaded last.")
    loaded_at: float | None
    last_used: float | None
    expires_at: float | None = Field(description="When it will leave, unless it is used again.")
    keep_alive: float | None = Field(description="Seconds that it stays loaded after a request; null for ever.")
    requests: Count = Field(description="How many requests use it now.")
    loads: Count = Field(description="How often it was loaded.")
    failed: bool = Field(description="Whether the last attempt to load it failed; the server's log says why.")


class ModelState(Residence):
    """A model after it was loaded or unloaded."""

    id: str


class OpenAIModel(Residence):
    """One model. The fields after `owned_by` are not in OpenAI's own API."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: Literal["embedding", "reranker"]


class OpenAIModels(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"]
    data: list[OpenAIModel]


class ModelInfo(BaseModel):
    """The default options of one model. What follows `state` is null until the model has been loaded once."""

    name: str
    default: bool
    state: State
    architecture: str | None
    dimension: int | None
    max_tokens: int | None = Field(description="The limit in force, at which texts are cut.")
    model_max_tokens: int | None = Field(description="The limit that the model was trained for.")
    pooling: str | None
    normalize: bool | None
    truncate: str | None
    prompts: list[str] | None = Field(description="The allowed values of `prompt_name`.")
    fingerprint: str | None


class RerankerInfo(BaseModel):
    """The default options of one reranker. What follows `state` is null until the model has been loaded once."""

    name: str
    default: bool
    state: State
    architecture: str | None
    max_tokens: int | None = Field(description="The limit in force, at which pairs are cut.")
    model_max_tokens: int | None = Field(description="The limit that the model was trained for.")
    activation: Literal["sigmoid", "identity"] | None
    truncate: str | None
    instruction: str | None = Field(description="Null, too, for models that take none.")
    fingerprint: str | None


class Status(BaseModel):
    """Health."""

    status: str
    problems: list[str]


class ErrorBody(BaseModel):
    """An error. `field` and `limit` are present if the error is about one; `retry_after` is in seconds."""

    error: str
    type: str
    request_id: str
    field: str | None = None
    limit: float | None = None
    retry_after: int | None = None


class OpenAIErrorDetail(BaseModel):
    """The error in OpenAI's form."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorBody(BaseModel):
    """An error in OpenAI's form."""

    error: OpenAIErrorDetail
    request_id: str
