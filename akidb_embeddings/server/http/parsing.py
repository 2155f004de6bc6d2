"""Reading the bodies of HTTP requests: strictly, and with errors that name the field."""

import asyncio
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, get_args, get_origin

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind
from akidb_embeddings.server.http.json_pieces import PIECE_BYTES, Member, members

_MAX_LISTED_PROBLEMS = 3
_MAX_PROBLEMS = 1000
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# More brackets, braces and commas than a field without a list has, and than the longest vector has.
_MAX_MARKS = 1000
_MAX_ITEM_MARKS = 1 << 16
# Two, so that a large body that is refused takes no thread from what texts are tokenized with.
_THREADS = ThreadPoolExecutor(2, "parsing")
Location = tuple[int | str, ...]
Body = TypeVar("Body", bound=BaseModel)
Result = TypeVar("Result")


class StrictBody(BaseModel):
    """The base class of requests' bodies.

    Strict: "5" is not a number, 1 not a boolean. A misspelled option must not be ignored silently.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


async def parse(body: bytes, schema: type[Body], max_items: int | None = None) -> Body:
    """Read a request's body. A large one is read on another thread and in pieces: no other request waits for it.

    Args:
        body: The body.
        schema: Its schema.
        max_items: The most items that a list of the body may have, as far as that is known before the body is read.

    Raises:
        ApiError: The body is not a JSON object (malformed), or has invalid fields, which the message names.
    """
    if len(body) <= PIECE_BYTES:
        return _parse_piece(body, schema)
    return await on_parsing_thread(_parse_large, body, schema, max_items)


async def on_parsing_thread(function: Callable[..., Result], *arguments: object) -> Result:
    """The function's result; it runs on one of the two threads that read large requests of any protocol."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)


def _parse_piece(body: bytes, schema: type[Body], first_index: int = 0) -> Body:
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        raise _lone_surrogate(body, schema, first_index) or _api_error(error, schema, first_index) from None


def _parse_large(body: bytes, schema: type[Body], max_items: int | None) -> Body:
    """Read the body with no more than the beginning of each list, and then the rest of each."""
    found = members(body)
    if found is None:
        reason = "its quotes or brackets do not match, or a field has no name, or an endless one"
        raise ApiError(ErrorKind.MALFORMED, f"The body is not a valid JSON object: {reason}.")
    lists = list_fields(schema)
    named = {_decoded(member.name): member for member in found}  # of a name that is given twice, the last one counts
    for name, member in named.items():
        if name in lists:
            _check_items(name, member)
    parts = [
        b'"%b":%b' % (member.name, _beginning(body, member, name in lists, name in schema.model_fields))
        for name, member in named.items()
    ]
    parsed = _parse_piece(b"{" + b",".join(parts) + b"}", schema)
    for name, member in named.items():
        if name not in lists:
            _check_values(name, member)
    for name, member in named.items():
        if max_items is not None and member.items > max_items:
            what = "embeddings" if name == "embeddings" else "texts"
            message = f"There are {member.items} {what}; max_texts is {max_items} per request."
            raise ApiError(ErrorKind.INVALID, message, field=name, limit=max_items)
    for name, member in named.items():
        for begin, end, index in itertools.islice(member.pieces(), 1, None):
            piece = b'{"%b":%b}' % (name.encode(), _as_list(body, member, begin, end))
            getattr(parsed, name).extend(getattr(_parse_piece(piece, _only(schema, name), index), name))
    return parsed


def _decoded(name: bytes) -> str:
    try:
        return str(orjson.loads(b'"%b"' % name))
    except orjson.JSONDecodeError:  # the schema's parser says why
        return name.decode(errors="replace")


def _beginning(body: bytes, member: Member, is_list: bool, is_known: bool) -> bytes:
    """What is read of a value at first: enough of a wrong one to know its type."""
    if not is_known:
        return b"null"
    value = body[member.begin : member.end]
    if member.items and is_list:
        begin, end, _ = next(member.pieces())
        return _as_list(body, member, begin, end)
    if int(member.marks_per_item.sum()) > _MAX_MARKS:
        return b"[]" if value.lstrip().startswith(b"[") else b"{}"
    return value


def _as_list(body: bytes, member: Member, begin: int, end: int) -> bytes:
    """Some items of a list as a list of their own.

    Raises:
        ApiError: It is an item of nothing, as in ``[1,,2]``; alone, it would be no item, and no error.
    """
    items = body[begin:end]
    if member.items > 1 and not items.strip(b" \t\n\r"):
        reason = f"the list {member.name.decode(errors='replace')[:100]!r} has a comma too many"
        raise ApiError(ErrorKind.MALFORMED, f"The body is not a valid JSON object: {reason}.")
    return b"[" + items + b"]"


def _check_values(name: str, member: Member) -> None:
    """Check that a field without a list has no countless values, of which only the type was read.

    Raises:
        ApiError: It has.
    """
    count = int(member.marks_per_item.sum())
    if count > _MAX_MARKS:
        reason = f"has about {count} values; at most {_MAX_MARKS} are read."
        raise ApiError(ErrorKind.INVALID, field=name, limit=_MAX_MARKS, reason=reason)


def _check_items(name: str, member: Member) -> None:
    """Check that no item of a list is itself a list, or an object, of countless values.

    Raises:
        ApiError: One is.
    """
    if member.items and member.marks_per_item.max() > _MAX_ITEM_MARKS:
        index = int(member.marks_per_item.argmax())
        reason = f"has about {member.marks_per_item[index]} values; at most {_MAX_ITEM_MARKS} are read."
        raise ApiError(ErrorKind.INVALID, field=name, index=index, limit=_MAX_ITEM_MARKS, reason=reason)


@functools.cache
def list_fields(schema: type[BaseModel]) -> frozenset[str]:
    """The names of the fields that may have a list."""
    return frozenset(name for name, field in schema.model_fields.items() if _may_be_list(field.annotation))


def _may_be_list(annotation: object) -> bool:
    return get_origin(annotation) is list or any(map(_may_be_list, get_args(annotation)))


@functools.cache
def _only(schema: type[BaseModel], name: str) -> type[BaseModel]:
    """A schema of one field of another, for the rest of a list."""
    field: Any = schema.model_fields[name]
    create: Any = create_model
    made: type[BaseModel] = create(schema.__name__, __base__=StrictBody, **{name: (field.annotation, field)})
    return made


def _lone_surrogate(body: bytes, schema: type[BaseModel], first_index: int) -> ApiError | None:
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
            place = None if index is None else first_index + index
            return ApiError(ErrorKind.INVALID, field=field, index=place, reason=reason, names={field: field})
    return None


def _strings(content: object, schema: type[BaseModel]) -> Iterator[tuple[str, int | None, str]]:
    """The strings in the fields of a body: alone (index None), in a list, or in the list's objects."""
    for field in schema.model_fields:
        value = content.get(field) if isinstance(content, dict) else None
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, item in items:
            found = item.values() if isinstance(item, dict) else [item]
            yield from ((field, index, text) for text in found if isinstance(text, str))


def _api_error(error: ValidationError, schema: type[BaseModel], first_index: int) -> ApiError:
    if error.error_count() > _MAX_PROBLEMS:
        return ApiError(ErrorKind.INVALID, f"The body has {error.error_count()} unknown fields.")
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    first = problems[0]
    if not first["loc"]:  # the body as a whole
        where = f" of the part that begins with item {first_index} of a list" if first_index else ""
        return ApiError(ErrorKind.MALFORMED, f"The body is not a valid JSON object: {first['msg']}{where}.")
    listed = [
        _describe(_moved(one["loc"], first_index), one["type"], one["msg"], schema)
        for one in problems[:_MAX_LISTED_PROBLEMS]
    ]
    more = f"; and {len(problems) - _MAX_LISTED_PROBLEMS} more" if len(problems) > _MAX_LISTED_PROBLEMS else ""
    field = _path(_moved(first["loc"], first_index))
    return ApiError(ErrorKind.INVALID, "; ".join(listed) + more, field=field, names={field: field})


def _moved(location: Location, first_index: int) -> Location:
    """The location in the whole list of what is in a piece of it."""
    for place, part in enumerate(location):
        if isinstance(part, int):
            return (*location[:place], part + first_index, *location[place + 1 :])
    return location


def _describe(location: Location, kind: str, message: str, schema: type[BaseModel]) -> str:
    if kind == "extra_forbidden" and len(location) > 1:
        return f"{_path(location)} has a field that is not known, {str(location[-1])[:100]!r}"
    if kind == "extra_forbidden":
        return f"{_path(location)} is not a known field; allowed: {', '.join(schema.model_fields)}"
    return f"{_path(location)}: {message}"


def _path(location: Location) -> str:
    """A location such as ``texts[3]``. Names are cut, since they come from the client and may be very long."""
    first, *rest = location
    return str(first)[:100] + "".join(f"[{part}]" for part in rest if isinstance(part, int))


def json_schema(schema: Any) -> dict[str, Any]:
    """The JSON schema of a body, for the OpenAPI document."""
    found: dict[str, Any] = schema.model_json_schema(ref_template="#/components/schemas/{model}")
    found.pop("$defs", None)  # responses have the same objects, and so they are among the components
    return found
