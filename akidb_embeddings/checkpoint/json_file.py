"""Reading JSON files of a model folder, with errors that name the file."""

import json
from pathlib import Path
from typing import Any

from akidb_embeddings.errors import CheckpointError


def read_json(path: Path, *, required: bool = False, default: Any = None) -> Any:
    """The JSON in ``path``; ``default`` (an empty object if not given) where there is no such file.

    CheckpointError: the file is required and missing, or it is not JSON.
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
        raise CheckpointError(f"{path} holds no JSON {'list' if kind is list else 'object'}.")
    return content
