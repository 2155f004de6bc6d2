"""Reading of a model folder's JSON files, with errors that name the file."""

import json
from pathlib import Path
from typing import Any

from akidb_embeddings.errors import CheckpointError


def read_json(path: Path, *, required: bool = False, default: Any = None) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        required: Whether the file must exist.
        default: The result if it does not exist; None for an empty object. A list means that a list is expected.

    Raises:
        CheckpointError: The file is required and missing, or is not valid JSON of the expected type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise CheckpointError(f"{path.parent} is not a model folder: it has no {path.name}.") from None
        return {} if default is None else default
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}. Download or copy the model again.") from error
    kind = list if isinstance(default, list) else dict
    if not isinstance(content, kind):
        raise CheckpointError(f"{path} does not contain a JSON {'list' if kind is list else 'object'}.")
    return content
