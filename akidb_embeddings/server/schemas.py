"""The bodies of REST requests and responses: what a client may send, field by field, and what it gets."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from akidb_embeddings.registry.poolings import POOLINGS
from akidb_embeddings.server.api_error import ApiError, ErrorKind
from akidb_embeddings.vectors import WITHOUT_RANGES

_MOST_PROBLEMS = 3
_TOO_MANY_TO_LIST = 1000
Body = TypeVar("Body", bound=BaseModel)

if TYPE_CHECKING:  # type checkers take no literals from a list
    Precision = str
    Pooling = str
else:
    Precision = Literal[WITHOUT_RANGES]
    Pooling = Literal["auto", *POOLINGS]
Dimensions = Annotated[int, Field(ge=1, le=1_000_000)]
Count = Annotated[int, Field(ge=0)]
# One item that is wrong refuses a list: it may have millions, and to tell of each would take the server's memory.
Texts = Annotated[list[str], Field(fail_fast=True)]
Ids = Annotated[list[int], Field(fail_fast=True)]
Vector = Annotated[list[float], Field(fail_fast=True)]


class _Request(BaseModel):
    # Strict: "5" is no number, 1 no boolean. An option that is misspelled must not be left out without a word.
    model_config = ConfigDict(extra="forbid", strict=True)


class EmbedRequest(_Request):
    """Texts to embed. What is left out is as the server is configured; null is the same."""

    texts: Texts = Field(description="The texts; `/info` says how many at most.", examples=[["Hello world"]])
    model: str | None = Field(None, description="A model of `/info`; the first by default.")
    pooling: Pooling | None = Field(None, description="How hidden states become one vector; auto: as trained.")
    normalize: bool | None = Field(None, description="Whether vectors are scaled to length 1.")
    prompt: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="The name of one of the model's prompts: query, document, …"
    )
    dimensions: Dimensions | None = Field(None, description="Cut vectors to this length (Matryoshka).")
    truncate: Literal["end", "error"] | None = Field(None, description="Longer texts: cut and flag, or refuse.")
    embeddings: Annotated[list[Vector | None], Field(fail_fast=True)] | None = Field(
        None,
        description="Vectors you have already, one a text or null: those are checked and passed through, normalized "
        "and converted as asked, the others computed.",
    )
    precision: Precision | None = Field(
        None,
        description="The form of the vectors, float32 by default. int8: each scaled by its largest value; binary, "
        "ubinary: signs, eight a byte, signed or unsigned.",
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="Numbers (the default), or base64 of the precision's little-endian bytes."
    )


class TimingsBody(BaseModel):
    """Milliseconds."""

    tokenize_ms: float
    queue_ms: float
    compute_ms: float
    total_ms: float


class EmbedAnswer(BaseModel):
    """Vectors and what became of each text. Vectors of different fingerprints must not be compared."""

    model: str
    dimension: Count
    embeddings: list[list[float]] | list[str]
    precision: Precision
    token_counts: list[Count] = Field(description="Tokens the model saw, special ones included; 0 for given vectors.")
    truncated: list[bool]
    fingerprint: str
    timings: TimingsBody


class OpenAIRequest(_Request):
    """OpenAI's `embeddings.create`."""

    input: str | Texts | Ids | Annotated[list[Ids], Field(fail_fast=True)] = Field(
        description="One text or several. Token ids are refused, for they are of another vocabulary.",
        examples=["Hello world"],
    )
    model: str | None = Field(None, description="A model of `/v1/models`; the first by default.")
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="float (the default), or base64 of little-endian float32."
    )
    dimensions: Dimensions | None = Field(None, description="Cut vectors to this length (Matryoshka).")
    user: str | None = Field(None, description="Ignored.")


class OpenAIVector(BaseModel):
    """One text's vector."""

    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class OpenAIUsage(BaseModel):
    """Tokens the model saw."""

    prompt_tokens: Count
    total_tokens: Count


class OpenAIAnswer(BaseModel):
    """OpenAI's list of embeddings."""

    object: Literal["list"]
    model: str
    data: list[OpenAIVector]
    usage: OpenAIUsage


class OpenAIModel(BaseModel):
    """One model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"]
    data: list[OpenAIModel]


class ModelInfo(BaseModel):
    """What one model does without options. `prompts`: the names that `prompt` takes."""

    name: str
    default: bool
    dimension: int
    max_tokens: int
    pooling: str
    normalize: bool
    truncate: str
    prompts: list[str]
    fingerprint: str


class Info(BaseModel):
    """Version, limits, models."""

    version: str
    limits: dict[str, float]
    models: list[ModelInfo]


class Status(BaseModel):
    """Health."""

    status: str
    problems: list[str]


class ErrorBody(BaseModel):
    """An error. `field` and `limit` where one is at fault, `retry_after` in seconds."""

    error: str
    type: str
    request_id: str
    field: str | None = None
    limit: float | None = None
    retry_after: int | None = None


class OpenAIErrorDetail(BaseModel):
    """What OpenAI's clients read."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorBody(BaseModel):
    """An error in OpenAI's form."""

    error: OpenAIErrorDetail
    request_id: str


def parse(body: bytes, schema: type[Body]) -> Body:
    """Read a request's body.

    Raises:
        ApiError: The body is malformed, for it is not a JSON object, or invalid; then the error names the fields.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise _api_error(error, schema) from None


def _api_error(error: ValidationError, schema: type[BaseModel]) -> ApiError:
    if error.error_count() > _TOO_MANY_TO_LIST:
        return ApiError(ErrorKind.INVALID, f"The body has {error.error_count()} unknown fields.")
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    if not first["loc"]:  # the body as a whole
        return ApiError(ErrorKind.MALFORMED, f"The body is not the JSON object that is expected: {first['msg']}.")
    listed = [_describe(one["loc"], one["type"], one["msg"], schema) for one in problems[:_MOST_PROBLEMS]]
    more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
    return ApiError(ErrorKind.INVALID, "; ".join(listed) + more, field=_path(first["loc"]))


def _describe(place: tuple[int | str, ...], kind: str, message: str, schema: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return f"{_path(place)} is not a known field; allowed: {', '.join(schema.model_fields)}"
    return f"{_path(place)}: {message}"


def _path(place: tuple[int | str, ...]) -> str:
    """``texts[3]``; names come from the client, and no longer than it needs to find them."""
    first, *rest = place
    return str(first)[:100] + "".join(f"[{part}]" for part in rest if isinstance(part, int))


def json_schema(schema: Any) -> dict[str, Any]:
    """A body's JSON schema by itself, for the OpenAPI document."""
    found: dict[str, Any] = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    return found
