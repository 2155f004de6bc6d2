"""Tensors of a file that ``torch.save`` wrote, without torch, and without running code.

Such a file is a zip archive: ``data.pkl`` is a pickle of the dictionary, ``data/0`` and so on are the tensors' bytes. A
pickle names functions to call. This reader knows the few that make up a dictionary of tensors, as functions of its own;
any other name is an error before anything is called.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import CheckpointError

_LARGEST_PICKLE = 1 << 20
# The storages of torch, by the dtype of NumPy that has the bytes. bfloat16 is the upper half of a float32.
_STORAGES: Mapping[str, str] = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "BFloat16Storage": "<u2",
}
_BFLOAT16 = "BFloat16Storage"


def read_torch_file(file: Path, *, largest: int) -> dict[str, NDArray[np.float32]]:
    """The tensors of a ``state_dict``, as float32.

    Args:
        file: The file.
        largest: The largest number of bytes of a tensor.

    Raises:
        CheckpointError: The file cannot be read, is no dictionary of tensors, or asks for anything else.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            content = _Reader(archive, largest).load()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file} is not read: {error}.") from error
    except Exception as error:  # a pickle can raise anything
        raise CheckpointError(f"{file} is no dictionary of tensors as torch.save writes it: {error!r:.200}.") from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, np.ndarray) for name, tensor in content.items()
    ):
        raise CheckpointError(f"{file} is no dictionary of tensors.")
    return dict(content)


class _Reader:
    """The pickle of an archive, with the tensors' bytes from their own entries."""

    def __init__(self, archive: zipfile.ZipFile, largest: int) -> None:
        self._archive, self._largest = archive, largest
        [self._pickle] = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
        self._folder = self._pickle.filename.removesuffix("data.pkl")

    def load(self) -> Any:
        """The object of the pickle."""
        if self._pickle.file_size > _LARGEST_PICKLE:
            raise pickle.UnpicklingError(f"its pickle has {self._pickle.file_size} bytes")
        order = f"{self._folder}byteorder"
        if order in self._archive.namelist() and self._archive.read(order) != b"little":
            raise pickle.UnpicklingError("it is not little-endian")
        with self._archive.open(self._pickle) as stream:
            return _Unpickler(stream, self._storage).load()

    def _storage(self, key: str, kind: str) -> NDArray[np.float32]:
        """The numbers of one storage, float32 [n]."""
        entry = self._archive.getinfo(f"{self._folder}data/{key}")
        if entry.file_size > self._largest:
            raise pickle.UnpicklingError(f"its tensor {key} has {entry.file_size} bytes; {self._largest} are expected")
        numbers = np.frombuffer(self._archive.read(entry), dtype=_STORAGES[kind])
        if kind == _BFLOAT16:
            return (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.astype(np.float32)


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the names of ``_KNOWN`` and torch's storages alone."""

    def __init__(self, stream: Any, storage: Callable[[str, str], NDArray[np.float32]]) -> None:
        super().__init__(stream)
        self._read = storage

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and name in _STORAGES:
            return _Storage(name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, and may run code; only tensors are read")

    def persistent_load(self, pid: Any) -> NDArray[np.float32]:
        """The numbers that a persistent id stands for: ("storage", type, key, device, count)."""
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, _Storage) or not isinstance(key, str):
            raise pickle.UnpicklingError(f"it refers to {pid!r:.80}, which is no storage of floats")
        numbers = self._read(key, storage.name)
        if len(numbers) != count:
            raise pickle.UnpicklingError(f"its tensor {key} has {len(numbers)} numbers instead of {count}")
        return numbers


class _Storage:
    """The type of a storage, which is only named."""

    def __init__(self, name: str) -> None:
        self.name = name


def _rebuild_tensor(numbers: Any, offset: Any, size: Any, stride: Any, *_: Any) -> NDArray[np.float32]:
    """What ``torch._utils._rebuild_tensor_v2`` makes, of a contiguous tensor."""
    count, expected = 1, list[int]()
    for length in reversed(size):
        expected.insert(0, count)
        count *= length
    if any(one != other and length > 1 for one, other, length in zip(stride, expected, size, strict=True)):
        raise pickle.UnpicklingError("it has a tensor that is not contiguous")
    flat: NDArray[np.float32] = numbers[offset : offset + count]
    return flat.reshape(size)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    """What ``torch._utils._rebuild_parameter`` makes."""
    return tensor


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
