"""Safetensors files: which a model folder has, whether they are whole, and where each tensor stands.

Only headers are read. The format: 8 bytes of header length, little-endian; a JSON header; the tensors' bytes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.errors import CheckpointError

_CURE = "Copy the model again, or download it again with: akidb-embed download NAME --force"


@dataclass(frozen=True)
class Location:
    """Where a tensor stands: the file, its key in there, and its shape as stored."""

    file: Path
    key: str
    shape: tuple[int, ...]


Tensors = Mapping[str, Location]


def locate_tensors(folder: Path, prefix: str, dense_folders: Sequence[Path]) -> Tensors:
    """Every tensor of a model by the name this library knows it by.

    ``prefix``, which some exporters put before all names, is left out. Dense layers' own files, where there are such,
    give ``dense.0.weight`` and so on.
    """
    found = {}
    for file in weight_files(folder):
        for key, location in read_header(file).items():
            found[key.removeprefix(prefix)] = location
    for index, dense in enumerate(dense_folders):
        file = dense / "model.safetensors"
        if file.is_file():
            for key, location in read_header(file).items():
                found[f"dense.{index}.{key.removeprefix('linear.')}"] = location
    return found


def weight_files(folder: Path) -> list[Path]:
    """The encoder's weight files, one or several shards; CheckpointError where one is missing."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if not index.is_file():
        if not single.is_file():
            raise CheckpointError(f"{folder} has no weights: neither {single.name} nor {index.name}. {_CURE}")
        return [single]
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is damaged ({error!r}). {_CURE}") from None
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{folder} lacks {', '.join(missing)}, which {index.name} names. {_CURE}")
    return files


def read_header(file: Path) -> dict[str, Location]:
    """The tensors of a safetensors file. CheckpointError, with the cure, unless the file is whole."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length + 8 > size:
                raise ValueError(f"its header should take {length} bytes, but the file has {size}")
            header: dict[str, Any] = json.loads(stream.read(length))
        tensors = {key: entry for key, entry in header.items() if key != "__metadata__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"it has {size} bytes instead of {8 + length + end}")
        return {key: Location(file, key, tuple(entry["shape"])) for key, entry in tensors.items()}
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing. {_CURE}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}. {_CURE}") from None
