"""Reading the bodies of HTTP requests: strictly, and with errors that name the field."""

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from akidb_embeddings.server.api_error import ApiError, ErrorKind

_MAX_LISTED_PROBLEMS = 3
_MAX_PROBLEMS = 1000
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
Body = TypeVar("Body", bound=BaseModel)


class StrictBody(BaseModel):
    """The base class of requests' bodies.

    Strict: "5" is not a number, 1 not a boolean. A misspelled option must not be ignored silently.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


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
            return ApiError(ErrorKind.INVALID, field=field, index=index, reason=reason, names={field: field})
    return None


def _strings(content: object, schema: type[BaseModel]) -> Iterator[tuple[str, int | None, str]]:
    """The strings in the fields of a body: alone (index None), in a list, or in the list's objects."""
    for field in schema.model_fields:
        value = content.get(field) if isinstance(content, dict) else None
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, item in items:
            found = item.values() if isinstance(item, dict) else [item]
            yield from ((field, index, text) for text in found if isinstance(text, str))


def _api_error(error: ValidationError, schema: type[BaseModel]) -> ApiError:
    if error.error_count() > _MAX_PROBLEMS:
        return ApiError(ErrorKind.INVALID, f"The body has {error.error_count()} unknown fields.")
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    if not first["loc"]:  # the body as a whole
        return ApiError(ErrorKind.MALFORMED, f"The body is not a valid JSON object: {first['msg']}.")
    listed = [_describe(one["loc"], one["type"], one["msg"], schema) for one in problems[:_MAX_LISTED_PROBLEMS]]
    more = f"; and {len(problems) - _MAX_LISTED_PROBLEMS} more" if len(problems) > _MAX_LISTED_PROBLEMS else ""
    field = _path(first["loc"])
    return ApiError(ErrorKind.INVALID, "; ".join(listed) + more, field=field, names={field: field})


def _describe(location: tuple[int | str, ...], kind: str, message: str, schema: type[BaseModel]) -> str:
    if kind == "extra_forbidden" and len(location) > 1:
        return f"{_path(location)} has a field that is not known, {str(location[-1])[:100]!r}"
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
    found.pop("$defs", None)  # responses have the same objects, and so they are among the components
    return found
