"""A model folder's safetensors files: whether they are complete, and where each tensor is.

Only headers are read. The format: 8 bytes with the header's length, little-endian; a JSON header; the tensors' bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.json_file import read_json
from akidb_embeddings.errors import CheckpointError

_REMEDY = "copy the model again, or download it again"
_LARGEST_HEADER = 100_000_000  # bytes; the format's limit


@dataclass(frozen=True)
class Location:
    """Where a tensor is stored.

    Attributes:
        file: The safetensors file.
        key: The tensor's name in the file.
        shape: The shape as stored.
    """

    file: Path
    key: str
    shape: tuple[int, ...]


Tensors = Mapping[str, Location]


def locate_tensors(folder: Path, prefix: str, dense_folders: Sequence[Path]) -> Tensors:
    """The locations of a model's tensors, by this library's names.

    Args:
        folder: The model folder.
        prefix: A prefix that some exporters add to all names; it is removed.
        dense_folders: The folders of dense layers, whose tensors are named ``dense.0.weight`` and so on.

    Raises:
        CheckpointError: A file is missing or damaged, or two tensors have the same name.
    """
    found: dict[str, Location] = {}

    def add(name: str, location: Location) -> None:
        if name in found:
            raise CheckpointError(f"{folder} has the tensor {name} twice: {found[name].key} and {location.key}.")
        found[name] = location

    for file in weight_files(folder):
        for key, location in read_header(file).items():
            add(key.removeprefix(prefix), location)
    for index, dense in enumerate(dense_folders):
        file = dense / "model.safetensors"
        if file.is_file():
            for key, location in read_header(file).items():
                add(f"dense.{index}.{key.removeprefix('linear.')}", location)
    return found


def weight_files(folder: Path) -> list[Path]:
    """The files that should contain the encoder's weights, existing or not: one file, or the shards in the index.

    Raises:
        CheckpointError: The index is damaged.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file() or not index.is_file():
        return [single]
    try:
        names = {Path(name).name for name in read_json(index)["weight_map"].values()}
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{index} has no 'weight_map' that names the weight files; {_REMEDY}") from error
    return [folder / name for name in sorted(names)]


def read_header(file: Path, remedy: str = _REMEDY) -> dict[str, Location]:
    """The tensors of a safetensors file, by the names in the file.

    Args:
        file: The file.
        remedy: What to do about a damaged file, the end of error messages.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(8)
            length = int.from_bytes(start, "little")
            header = stream.read(length) if length <= _LARGEST_HEADER else b""
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing; {remedy}") from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}; {remedy}") from error
    if start == b"version ":
        raise CheckpointError(f"{file} is a Git LFS pointer, not the weights: run `git lfs pull`, or {remedy}")
    try:
        tensors = _entries(header)
        end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
        located = {key: Location(file, key, tuple(entry["shape"])) for key, entry in tensors.items()}
    except (ValueError, AttributeError, LookupError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged: its header cannot be read; {remedy}") from error
    if 8 + length + end != size:
        raise CheckpointError(f"{file} is damaged: it has {size} bytes instead of {8 + length + end}; {remedy}")
    return located


def _entries(header: bytes) -> dict[str, Any]:
    return {key: entry for key, entry in json.loads(header).items() if key != "__metadata__"}
