"""The schemas of HTTP request and response bodies."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from akidb_embeddings.registry.poolings import POOLINGS
from akidb_embeddings.server.api_error import ApiError, ErrorKind
from akidb_embeddings.vectors import WITHOUT_RANGES

_MAX_LISTED_PROBLEMS = 3
_MAX_PROBLEMS = 1000
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
Body = TypeVar("Body", bound=BaseModel)

if TYPE_CHECKING:  # type checkers take no literals from a list
    Precision = str
    Pooling = str
else:
    Precision = Literal[WITHOUT_RANGES]
    Pooling = Literal["auto", *POOLINGS]
Dimensions = Annotated[int, Field(ge=1, le=1_000_000)]
Count = Annotated[int, Field(ge=0)]
# Validation stops at a list's first invalid item: a list may have millions, and their errors would exhaust the memory.
Texts = Annotated[list[str], Field(fail_fast=True)]
Ids = Annotated[list[int], Field(fail_fast=True)]
Vector = Annotated[list[float], Field(fail_fast=True)]


class _Request(BaseModel):
    # Strict: "5" is not a number, 1 not a boolean. A misspelled option must not be ignored silently.
    model_config = ConfigDict(extra="forbid", strict=True)


class EmbedRequest(_Request):
    """Texts to embed. Options that are missing or null are as the server is configured."""

    texts: Texts = Field(description="The texts; `/info` has the maximum number.", examples=[["Hello world"]])
    model: str | None = Field(None, description="A model of `/info`; the first by default.")
    pooling: Pooling | None = Field(
        None, description="How hidden states become one vector; auto: as the model was trained."
    )
    normalize: bool | None = Field(None, description="Whether vectors are scaled to length 1.")
    prompt: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="The name of one of the model's prompts: query, document, …"
    )
    dimensions: Dimensions | None = Field(None, description="Cut vectors to this length (Matryoshka).")
    truncate: Literal["end", "error"] | None = Field(
        None, description="Longer texts: end cuts and flags them, error rejects them."
    )
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


class TimingsBody(BaseModel):
    """Milliseconds."""

    tokenize_ms: float
    queue_ms: float
    compute_ms: float
    total_ms: float


class EmbedAnswer(BaseModel):
    """Vectors, and the tokens of each text. Vectors with different fingerprints must not be compared."""

    model: str
    dimension: Count
    embeddings: list[list[float]] | list[str]
    precision: Precision
    token_counts: list[Count] = Field(
        description="Tokens that the model saw, special tokens included; 0 for given vectors."
    )
    truncated: list[bool]
    fingerprint: str
    timings: TimingsBody


class OpenAIRequest(_Request):
    """OpenAI's `embeddings.create`."""

    input: str | Texts | Ids | Annotated[list[Ids], Field(fail_fast=True)] = Field(
        description="One text or several. Token ids are rejected: their vocabulary is another one.",
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
    """Tokens that the model saw."""

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
    """The default options of one model. `prompts`: the allowed values of `prompt`."""

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


def parse(body: bytes, schema: type[Body]) -> Body:
    """Read a request's body.

    Raises:
        ApiError: The body is not a JSON object (malformed), or has invalid fields, which the message names.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise _lone_surrogate(body, schema) or _api_error(error, schema) from None


def _lone_surrogate(body: bytes, schema: type[BaseModel]) -> ApiError | None:
    """The error for a text with half a character, which JSON can write as an escape; None if there is none.

    pydantic's parser only knows the place in the body, not the field.
    """
    if not _SURROGATE.search(body):
        return None
    try:
        content = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    for field, index, text in _strings(content, schema):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            reason = f"has a lone surrogate at character {error.start + 1}, which is not valid Unicode."
            return ApiError(ErrorKind.INVALID, field=field, index=index, reason=reason)
    return None


def _strings(content: object, schema: type[BaseModel]) -> Iterator[tuple[str, int | None, str]]:
    """The strings in the fields of a body, alone (index None) or in a list."""
    for field in schema.model_fields:
        value = content.get(field) if isinstance(content, dict) else None
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        yield from ((field, index, item) for index, item in items if isinstance(item, str))


def _api_error(error: ValidationError, schema: type[BaseModel]) -> ApiError:
    if error.error_count() > _MAX_PROBLEMS:
        return ApiError(ErrorKind.INVALID, f"The body has {error.error_count()} unknown fields.")
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    if not first["loc"]:  # the body as a whole
        return ApiError(ErrorKind.MALFORMED, f"The body is not a valid JSON object: {first['msg']}.")
    listed = [_describe(one["loc"], one["type"], one["msg"], schema) for one in problems[:_MAX_LISTED_PROBLEMS]]
    more = f"; and {len(problems) - _MAX_LISTED_PROBLEMS} more" if len(problems) > _MAX_LISTED_PROBLEMS else ""
    return ApiError(ErrorKind.INVALID, "; ".join(listed) + more, field=_path(first["loc"]))


def _describe(location: tuple[int | str, ...], kind: str, message: str, schema: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return f"{_path(location)} is not a known field; allowed: {', '.join(schema.model_fields)}"
    return f"{_path(location)}: {message}"


def _path(location: tuple[int | str, ...]) -> str:
    """A location such as ``texts[3]``. Names are cut, since they come from the client and may be very long."""
    first, *rest = location
    return str(first)[:100] + "".join(f"[{part}]" for part in rest if isinstance(part, int))


def json_schema(schema: Any) -> dict[str, Any]:
    """The JSON schema of a body, for the OpenAPI document."""
    found: dict[str, Any] = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    return found
