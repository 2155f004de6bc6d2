"""Reading of a model folder's JSON files, within limits of size and nesting, with errors that name the file."""

import json
import re
from pathlib import Path
from typing import Any

from akidb_embeddings.errors import CheckpointError

# The largest that is known is an index of 91,991 tensors with 9 MB. Ten times as much is parsed into a gigabyte.
LARGEST_JSON = 16 * 2**20
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_DEEPEST = 32  # sentence-transformers' deepest file has 4 levels


def read_json(path: Path, *, required: bool = False, default: Any = None) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        required: Whether the file must exist.
        default: The result if it does not exist; None for an empty object. A list means that a list is expected.

    Raises:
        CheckpointError: The file is required and missing, is too large, or is not valid JSON of the expected type.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_JSON + 1)
        content = parse_json(text)
    except FileNotFoundError:
        if required:
            raise CheckpointError(f"{path.parent} is not a model folder: it has no {path.name}.") from None
        return {} if default is None else default
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror or error}. Download or copy the model again."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}. Download or copy the model again.") from error
    kind = list if isinstance(default, list) else dict
    if not isinstance(content, kind):
        raise CheckpointError(f"{path} does not contain a JSON {'list' if kind is list else 'object'}.")
    return content


def parse_json(text: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: It is not valid, has more than ``LARGEST_JSON`` bytes, is nested too deeply, or has a text that is
            not valid Unicode.
    """
    if len(text) > LARGEST_JSON:
        raise ValueError(f"it has more than {LARGEST_JSON} bytes")
    try:
        content = json.loads(text.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep") from None
    level, depth = [content], 0
    while level := [inner for value in level for inner in _items(value)]:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    if _SURROGATE.search(text):
        _check_unicode(content)
    return content


def _check_unicode(content: Any) -> None:
    """Raise ValueError for half a character, which JSON can write as an escape, and no tokenizer takes."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it has a lone surrogate, which is not valid Unicode") from None


def _items(value: Any) -> Any:
    """The lists and objects in a list or object."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [one for one in inner if isinstance(one, dict | list)]
