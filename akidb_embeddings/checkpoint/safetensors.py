"""A model folder's safetensors files: whether they are complete, and where each tensor is.

Only headers are read. The format: 8 bytes with the header's length, little-endian; a JSON header; the tensors' bytes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from akidb_embeddings.checkpoint.json_file import LARGEST_JSON, parse_json, read_json
from akidb_embeddings.errors import CheckpointError

_REMEDY = "copy the model again, or download it again"
_MOST_TENSORS = 100_000  # the largest mixture of experts that is known has 91,991
_MOST_AXES = 8
_LARGEST_SIZE = 2**31 - 1  # of an axis in MLX
_LONGEST_NAME = 255  # bytes, of a file on most file systems
# Bits per number of each of the format's dtypes.
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I8": 8, "U8": 8,
    "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
# What the first BERT checkpoints call the parameters of a LayerNorm; transformers renames them, too.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True)
class Location:
    """Where a tensor is stored.

    Attributes:
        file: The safetensors file.
        key: The tensor's name in the file.
        shape: The shape as stored.
        dtype: The format's name of the dtype (``F32``).
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The number of bytes that it has in the file."""
        return math.prod(self.shape) * _BITS[self.dtype] // 8


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
        if len(found) == _MOST_TENSORS:
            raise CheckpointError(f"{folder} has more than {_MOST_TENSORS} tensors, more than any model.")
        found[name] = location

    for file in weight_files(folder):
        for key, location in read_header(file).items():
            add(_modern_name(key.removeprefix(prefix)), location)
    for index, dense in enumerate(dense_folders):
        file = dense / "model.safetensors"
        if file.is_file():
            for key, location in read_header(file).items():
                add(f"dense.{index}.{key.removeprefix('linear.')}", location)
    return found


def _modern_name(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


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
    if wrong := [name for name in names if not is_file_name(name)]:
        raise CheckpointError(f"{index} names the weight file {wrong[0]!r:.80}, which is no name of a file; {_REMEDY}")
    return [folder / name for name in sorted(names)]


def pickle_hint(folder: Path, model: Path) -> str:
    """How to convert weights in PyTorch's format; "" if the folder has none.

    That format is Python's pickle, which may run any code while it is read. This library never reads it.

    Args:
        folder: The folder that lacks model.safetensors.
        model: The model's folder.
    """
    pickles = sorted(file.name for file in folder.glob("*.bin"))
    if not pickles:
        return ""
    return (
        f" There is {pickles[0]}, which is not read, because PyTorch's format may run code. If you trust it, convert "
        f"it once, with sentence-transformers: SentenceTransformer({str(model)!r}).save_pretrained('NEW_FOLDER')."
    )


def is_file_name(name: str) -> bool:
    """Whether ``name`` can be a file's, on any system."""
    return bool(name) and name.isprintable() and len(name.encode()) <= _LONGEST_NAME


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
            header = stream.read(length) if length <= LARGEST_JSON else b""
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing; {remedy}{pickle_hint(file.parent, file.parent)}") from None
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror}; {remedy}") from error
    if start == b"version ":
        raise CheckpointError(f"{file} is a Git LFS pointer, not the weights: run `git lfs pull`, or {remedy}")
    try:
        end, located = _parse_header(file, header)
    except (ValueError, AttributeError, LookupError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged: its header cannot be read ({error}); {remedy}") from error
    if 8 + length + end != size:
        raise CheckpointError(f"{file} is damaged: it has {size} bytes instead of {8 + length + end}; {remedy}")
    return located


def _parse_header(file: Path, header: bytes) -> tuple[int, dict[str, Location]]:
    """The number of the tensors' bytes, and where each is.

    MLX trusts dtypes, shapes and offsets, so they must agree here: the tensors lie one after the other, without gaps.

    Raises:
        ValueError, AttributeError, LookupError, TypeError: The header is damaged.
    """
    entries = {key: entry for key, entry in parse_json(header).items() if key != "__metadata__"}
    if len(entries) > _MOST_TENSORS:
        raise ValueError(f"it lists more than {_MOST_TENSORS} tensors")
    ranges, located = [], {}
    for key, entry in entries.items():
        begin, end = entry["data_offsets"]
        location = Location(file, key, _shape(key, entry["shape"]), entry["dtype"])
        if type(begin) is not int or type(end) is not int:
            raise ValueError(f"the offsets of {key!r:.80} are no integers")
        if end - begin != math.prod(location.shape) * _BITS[location.dtype] / 8:
            raise ValueError(f"the size of {key!r:.80} does not fit its shape and dtype")
        ranges.append((begin, end))
        located[key] = location
    position = 0
    for begin, end in sorted(ranges):
        if begin != position:
            raise ValueError(f"its tensors overlap or leave gaps at byte {begin}")
        position = end
    return position, located


def _shape(key: str, shape: Any) -> tuple[int, ...]:
    sizes = tuple(shape)
    if len(sizes) > _MOST_AXES or not all(type(size) is int and 0 <= size <= _LARGEST_SIZE for size in sizes):
        raise ValueError(f"the shape of {key!r:.80} is {sizes!r:.80}")
    return sizes
