"""Tensors of a file that ``torch.save`` wrote, without torch, and without running code.

Such a file is a zip archive: ``data.pkl`` is a pickle of the dictionary, ``data/0`` and so on are the tensors' bytes. A
pickle is a list of operations on a stack, and names functions to call. This reader knows the few operations and names
that make up a dictionary of tensors, as functions of its own; any other one is an error before anything is called.

Whoever wrote the file may have meant harm, so what is read has limits, and the time and memory that it takes, too:
entries are not compressed, each has a largest size, and no operation takes more than the objects that it is given.
"""

import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb_embeddings.errors import CheckpointError

_LARGEST_PICKLE = 1 << 12  # bytes; of a weight and a bias: 290
_LARGEST_WORD = 16  # bytes of "little" or "big"
_LARGEST_REST = 1 << 16  # bytes of a file besides its storages: the pickle, names, and gaps that align
_MOST_STORAGES = 8
_MOST_AXES = 8
_LONGEST_NAME = 80  # characters of a message
# The storages of torch, by the dtype of NumPy that has the bytes. bfloat16 is the upper half of a float32.
_STORAGES: Mapping[str, str] = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "BFloat16Storage": "<u2",
}
_BFLOAT16 = "BFloat16Storage"
Numbers = NDArray[np.float32]


def read_torch_file(file: Path, *, largest: int) -> dict[str, Numbers]:
    """The tensors of a ``state_dict``, as float32. Those of one storage share its memory.

    Args:
        file: The file.
        largest: The largest number of bytes of a storage, which are the numbers of one tensor or of several.

    Raises:
        CheckpointError: The file cannot be read, is no dictionary of tensors, is larger than such a dictionary, or asks
            for anything else.
    """
    try:
        _check_size(file.stat().st_size, _MOST_STORAGES * largest + _LARGEST_REST)
        with zipfile.ZipFile(file) as archive:
            content = _Reader(archive, largest).load()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file} is not read: {error}.") from error
    except Exception as error:  # zipfile and pickletools raise a dozen kinds, and say of none which they raise
        raise CheckpointError(f"{file} is no dictionary of tensors as torch.save writes it: {error!r:.200}.") from error
    if not isinstance(content, dict) or not all(isinstance(tensor, np.ndarray) for tensor in content.values()):
        raise CheckpointError(f"{file} is no dictionary of tensors.")
    return content


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise pickle.UnpicklingError(f"it has {size} bytes; at most {most} are expected")


class _Reader:
    """The pickle of an archive, with the tensors' bytes from their own entries."""

    def __init__(self, archive: zipfile.ZipFile, largest: int) -> None:
        self._archive, self._largest = archive, largest
        [entry] = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
        self._folder = entry.filename.removesuffix("data.pkl")
        self._storages: dict[tuple[str, str], Numbers] = {}

    def load(self) -> Any:
        """The object of the pickle."""
        has_order = f"{self._folder}byteorder" in self._archive.namelist()
        if has_order and self._bytes("byteorder", _LARGEST_WORD) != b"little":
            raise pickle.UnpicklingError("it is not little-endian")
        return _Machine(self._storage).run(self._bytes("data.pkl", _LARGEST_PICKLE))

    def _bytes(self, name: str, most: int, what: str = "") -> bytes:
        """An entry, which errors call ``what``. No more is read than the size that it declares."""
        what = what or name
        entry = self._archive.getinfo(self._folder + name)
        if entry.compress_type != zipfile.ZIP_STORED:  # a few bytes may stand for very many
            raise pickle.UnpicklingError(f"its {what} is compressed, which torch.save never does")
        if entry.file_size > most:
            raise pickle.UnpicklingError(f"its {what} has {entry.file_size} bytes; {most} are expected")
        return self._archive.read(entry)

    def _storage(self, key: str, kind: str) -> Numbers:
        """The numbers of one storage, float32 [n], which is read once."""
        if (key, kind) not in self._storages:
            if len(self._storages) == _MOST_STORAGES:
                raise pickle.UnpicklingError(f"it has more than {_MOST_STORAGES} storages")
            content = self._bytes(f"data/{key}", self._largest, f"tensor {key:.{_LONGEST_NAME}}")
            self._storages[key, kind] = _float32(np.frombuffer(content, dtype=_STORAGES[kind]), kind)
        return self._storages[key, kind]


def _float32(numbers: NDArray[Any], kind: str) -> Numbers:
    if kind == _BFLOAT16:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32)


class _Storage:
    """The type of a storage, which is only named."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Machine:
    """Runs the operations of pickle's protocols 2 to 4 that make up a dictionary of tensors.

    pickle's own Unpickler knows all operations. A few bytes of them can make it reserve gigabytes, or hash or print
    tuples of tuples for years.
    """

    def __init__(self, storage: Callable[[str, str], Numbers]) -> None:
        self._read = storage
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[Any, Any] = {}

    def run(self, content: bytes) -> Any:
        """The object that a pickle makes."""
        for operation, argument, _ in pickletools.genops(content):
            self._step(operation.name, argument)
        [made] = self._stack
        return made

    def _step(self, operation: str, argument: Any) -> None:
        match operation:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self._stack.append(argument)
            case "NONE" | "NEWFALSE" | "NEWTRUE" | "EMPTY_DICT" | "EMPTY_TUPLE":
                self._stack.append(_MADE[operation]())
            case "MARK":
                self._marks.append(len(self._stack))
            case "GLOBAL":
                self._stack.append(_named(*argument.split(" ", 1)))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case _:
                self._combine(operation)

    def _combine(self, operation: str) -> None:
        """An operation that takes objects off the stack."""
        match operation:
            case "TUPLE":
                self._stack.append(tuple(self._taken(self._marks.pop())))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._stack.append(tuple(self._last(int(operation[-1]))))
            case "SETITEM":
                self._set_items(self._last(2))
            case "SETITEMS":
                self._set_items(self._taken(self._marks.pop()))
            case "STACK_GLOBAL":
                self._stack.append(_named(*self._last(2)))
            case "BINPERSID":
                self._stack.append(self._numbers(self._stack.pop()))
            case "REDUCE":
                self._stack.append(_called(*self._last(2)))
            case "BUILD":  # attributes of the dictionary, such as _metadata, which nothing needs
                self._stack.pop()
            case _:
                raise pickle.UnpicklingError(f"its pickle has {operation}, which no dictionary of tensors has")

    def _last(self, count: int) -> list[Any]:
        """Take objects off the stack."""
        if len(self._stack) < count:
            raise ValueError("the stack has too few objects")
        return self._taken(len(self._stack) - count)

    def _taken(self, start: int) -> list[Any]:
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _set_items(self, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) or not isinstance(self._stack[-1], dict):
                raise pickle.UnpicklingError("it has a key that is no string, or is of no dictionary")
            self._stack[-1][key] = value

    def _numbers(self, pid: Any) -> Numbers:
        """The numbers that a persistent id stands for: ("storage", type, key, device, count)."""
        kinds = (str, _Storage, str, str, int)
        if not isinstance(pid, tuple) or tuple(map(type, pid)) != kinds or pid[0] != "storage":
            raise pickle.UnpicklingError("it refers to what is no storage of floats")
        _, storage, key, _, count = pid
        numbers = self._read(key, storage.name)
        if len(numbers) != count:
            raise pickle.UnpicklingError(
                f"its tensor {key:.{_LONGEST_NAME}} has {len(numbers)} numbers instead of {count}"
            )
        return numbers


def _named(module: Any, name: Any) -> Any:
    """What a name stands for."""
    if isinstance(module, str) and isinstance(name, str):
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and name in _STORAGES:
            return _Storage(name)
        named = f"{module}.{name}"
        raise pickle.UnpicklingError(f"it names {named:.{_LONGEST_NAME}}, and may run code; only tensors are read")
    raise pickle.UnpicklingError("it has a name that is no string")


def _called(function: Any, arguments: Any) -> Any:
    """The result of one of the functions of ``_KNOWN``: nothing else that can be called is ever on the stack."""
    if not callable(function) or not isinstance(arguments, tuple):
        raise pickle.UnpicklingError("it calls what is no function")
    return function(*arguments)


def _new_dictionary(*arguments: Any) -> dict[str, Any]:
    """What ``OrderedDict`` makes; its items follow as operations."""
    if arguments:
        raise pickle.UnpicklingError("it is no dictionary of tensors")
    return {}


def _rebuild_tensor(numbers: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Numbers:
    """What ``torch._utils._rebuild_tensor_v2`` makes, of a contiguous tensor: a part of its storage."""
    if not isinstance(numbers, np.ndarray) or not _are_counts((offset,)) or not _are_counts(size, stride):
        raise pickle.UnpicklingError("it has no tensor of sizes, strides and an offset, which are integers from 0")
    if len(size) != len(stride):
        raise pickle.UnpicklingError(f"it has a tensor with {len(size)} sizes and {len(stride)} strides")
    if len(size) > _MOST_AXES:
        raise pickle.UnpicklingError(f"it has a tensor of {len(size)} axes; {_MOST_AXES} are expected")
    count = math.prod(size)
    if (end := max(offset + count, *size, 0)) > numbers.size:
        raise pickle.UnpicklingError(f"it has a tensor that reaches to {end} of a storage of {numbers.size} numbers")
    expected = [math.prod(size[axis + 1 :]) for axis in range(len(size))]
    if any(one != other and length > 1 for one, other, length in zip(stride, expected, size, strict=True)):
        raise pickle.UnpicklingError("it has a tensor that is not contiguous")
    flat: Numbers = numbers.reshape(-1)[offset : offset + count]
    return flat.reshape(size)


def _are_counts(*tuples: Any) -> bool:
    """Whether all are tuples of integers from 0; True and False are none."""
    return all(isinstance(one, tuple) and all(type(item) is int and item >= 0 for item in one) for one in tuples)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    """What ``torch._utils._rebuild_parameter`` makes."""
    return tensor


_MADE: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWFALSE": lambda: False,
    "NEWTRUE": lambda: True,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _new_dictionary,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
