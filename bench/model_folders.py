"""Writing model folders: whole or not at all, tensor by tensor."""

import contextlib
import itertools
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"uint32": "U32", "float16": "F16", "float32": "F32"}


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write into; it appears under its name when it is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        yield staging
        staging.rename(folder)
    except BaseException:
        shutil.rmtree(staging)
        if not folder.is_dir():  # else another process was faster, and its model is as good
            raise


def write_json(file: Path, content: object) -> None:
    """Write a JSON file, and its folder if that is not there."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def write_tensors(
    file: Path, parts: Iterable[tuple[str, str, tuple[int, ...]]], values: Iterator[NDArray[Any]]
) -> None:
    """The safetensors format, one tensor in memory at a time.

    Args:
        file: The file.
        parts: Name, type and shape of each tensor.
        values: The tensors; there may be more than ``parts`` asks for.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, kind, shape in parts:
        begin, end = end, end + math.prod(shape) * np.dtype(kind).itemsize
        header[name] = {"dtype": _TYPES[kind], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for array in itertools.islice(values, len(header)):
            stream.write(array.tobytes())
