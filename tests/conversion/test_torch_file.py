"""A layer in torch's format becomes part of a converted folder, and nothing in such a file is ever called."""

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.conversion.convert import convert
from akidb_embeddings.conversion.torch_file import read_torch_file
from akidb_embeddings.errors import CheckpointError
from tests.fixtures import DATA, Array
from tests.golden.texts import QUERIES
from tests.outputs import bge_m3, check_sparse, golden_sparse

TORCH_FILE = DATA / "models" / "tiny-bge-m3" / "sparse_linear.pt"


def test_a_file_of_torch_has_the_same_tensors_as_the_one_of_safetensors() -> None:
    from akidb_embeddings.compute.runtime import mx

    expected: Any = mx.load(str(TORCH_FILE.with_suffix(".safetensors")))
    found = read_torch_file(TORCH_FILE, largest=1 << 10)
    assert found.keys() == expected.keys() == {"weight", "bias"}
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor, np.array(expected[name]))


@pytest.mark.parametrize("options", [{}, {"bits": 4, "group_size": 32}, {"dtype": "float16"}])
def test_a_converted_folder_has_the_weights(tmp_path: Path, options: dict[str, Any]) -> None:
    source = bge_m3(tmp_path / "source", "sparse_linear.pt")
    convert(source, tmp_path / "converted", measure=True, **options)
    with EmbeddingService(str(tmp_path / "converted")) as service:
        vectors = service.encode(QUERIES, output="sparse").vectors
        assert service.outputs == ("dense", "sparse")
    if not options:
        check_sparse(vectors, golden_sparse("tiny-bge-m3", "queries"))
    convert(bge_m3(tmp_path / "safetensors"), tmp_path / "again", **options)
    with EmbeddingService(str(tmp_path / "again")) as service:
        check_sparse(service.encode(QUERIES, output="sparse").vectors, vectors)


class _Harm:
    """What runs code where a pickle is trusted."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(_Harm.target),)

    target = Path()


def write(
    file: Path,
    content: object,
    storages: dict[str, bytes] | None = None,
    order: str = "little",
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A file as torch.save writes it, of another pickle: of bytes as they are, or of the object."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, given: Any) -> Any:
            return given.pid if isinstance(given, _Reference) else None

    stream = io.BytesIO(content if isinstance(content, bytes) else b"")
    if not isinstance(content, bytes):
        Pickler(stream, protocol=2).dump(content)
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", order)
        for key, numbers in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", numbers)
    return file


class _Reference:
    def __init__(self, *pid: Any) -> None:
        self.pid = pid


def plain(value: object) -> bytes:
    """A part of a pickle."""
    return pickle.dumps(value, protocol=2)[2:-1]


def tensor(
    size: object = (4,),
    stride: object = (1,),
    offset: object = 0,
    *,
    key: object = "0",
    count: object = 4,
    **other: str,
) -> bytes:
    """The part of a pickle that is a tensor, as torch writes it."""
    kind = b"ctorch\n%s\n" % other.get("kind", "FloatStorage").encode()
    storage = b"(" + plain("storage") + kind + plain(key) + plain("cpu") + plain(count) + b"tQ"
    view = plain(offset) + plain(size) + plain(stride) + plain(False) + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"


def state_dict(*tensors: bytes) -> bytes:
    """The pickle of a dictionary of tensors, whose names are "0", "1" and so on."""
    return b"\x80\x02}(" + b"".join(plain(str(name)) + one for name, one in enumerate(tensors)) + b"u."


NUMBERS = np.array([1, 2, 3, 4], "<f4")


def read(folder: Path, content: object, storages: int = 1, **options: Any) -> dict[str, Array]:
    """What is read of a file whose storages are ``NUMBERS``."""
    numbers = {str(key): NUMBERS.tobytes() for key in range(storages)}
    return read_torch_file(write(folder / "file.pt", content, numbers, **options), largest=16)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    _Harm.target = tmp_path / "harm"
    file = write(tmp_path / "sparse_linear.pt", collections.OrderedDict(weight=_Harm()))
    with pytest.raises(CheckpointError, match=r"names posix.mkdir, and may run code"):
        read_torch_file(file, largest=100)
    assert not _Harm.target.exists()
    pickle.loads(pickle.dumps(_Harm()))
    assert _Harm.target.exists(), "it would have run"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"weight": eval}, "eval, and may run code"),
        ({"weight": np.zeros(2)}, "numpy"),
        ({"weight": 3}, "no dictionary of tensors"),
        ([], "no dictionary of tensors"),
        ({"weight": _Reference("module", "torch.nn")}, "no storage"),
        ({"weight": _Reference("storage", "FloatStorage", "0", "cpu", 2)}, "no storage"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_torch_file(write(tmp_path / "file.pt", content), largest=100)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = TORCH_FILE.read_bytes()
    for count in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:count])
        with pytest.raises(CheckpointError):
            read_torch_file(tmp_path / "cut.pt", largest=1 << 10)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_torch_file(tmp_path / "missing.pt", largest=100)
    with pytest.raises(CheckpointError, match="128 bytes; 100 are expected"):
        read_torch_file(TORCH_FILE, largest=100)
    with pytest.raises(CheckpointError, match="not little-endian"):
        read_torch_file(write(tmp_path / "big.pt", {}, order="big"), largest=100)


def test_tensors_are_parts_of_storages(tmp_path: Path) -> None:
    found = read(tmp_path, state_dict(tensor((1, 4), (9, 1)), tensor((2,), (1,), 1), tensor((), (), 3)))
    assert {name: one.tolist() for name, one in found.items()} == {"0": [[1, 2, 3, 4]], "1": [2, 3], "2": 4}


def test_a_storage_is_read_once(tmp_path: Path) -> None:
    found = read(tmp_path, state_dict(tensor(), tensor()))
    assert np.shares_memory(found["0"], found["1"])
    other = read(tmp_path, state_dict(tensor(), tensor(count=8, kind="HalfStorage", size=(8,))))
    np.testing.assert_array_equal(other["1"], NUMBERS.view("<f2").astype(np.float32))


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (tensor((6, "a")), "no tensor of sizes, strides and an offset"),
        (tensor((-4,)), "no tensor of sizes, strides and an offset"),
        (tensor((True,)), "no tensor of sizes, strides and an offset"),
        (tensor("aaaa"), "no tensor of sizes, strides and an offset"),
        (tensor((4,), (1.0,)), "no tensor of sizes, strides and an offset"),
        (tensor((1, 4), (-1, 1)), "no tensor of sizes, strides and an offset"),
        (tensor((4,), (1,), -4), "no tensor of sizes, strides and an offset"),
        (tensor((4,), (1,), False), "no tensor of sizes, strides and an offset"),
        (tensor((4,), (1, 1)), "1 sizes and 2 strides"),
        (tensor((1,) * 9, (1,) * 9), "a tensor of 9 axes; 8 are expected"),
        (tensor((2, 4), (4, 1)), "reaches to 8 of a storage of 4 numbers"),
        (tensor((4,), (1,), 1), "reaches to 5 of a storage of 4 numbers"),
        (tensor((0, 2**31 - 1), (1, 1)), "reaches to .* of a storage of 4 numbers"),
        (tensor((2,), (2,)), "not contiguous"),
        (tensor(count=5), "tensor 0 has 4 numbers instead of 5"),
        (tensor(count=4.0), "no storage of floats"),
        (tensor(key=0), "no storage of floats"),
        (tensor(key="1"), "as torch.save writes it"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x05K\x00))tR", "no tensor of sizes, strides and an offset"),
    ],
)
def test_a_tensor_that_its_storage_does_not_hold_is_refused(tmp_path: Path, part: bytes, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read(tmp_path, state_dict(part))


def test_sizes_that_would_take_much_memory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="byteorder has 681000 bytes; 16 are expected"):
        read_torch_file(write(tmp_path / "file.pt", {}, order="a" * 681_000), largest=1 << 20)
    with pytest.raises(CheckpointError, match="byteorder is compressed"):
        read(tmp_path, {}, order="a" * 10**7, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"its data\.pkl has \d+ bytes; 4096 are expected"):
        read(tmp_path, {"a" * 5000: 1})
    with pytest.raises(CheckpointError, match=r"more than 8 storages"):
        read(tmp_path, state_dict(*(tensor(key=str(key)) for key in range(9))), storages=9)
    with pytest.raises(CheckpointError, match=r"it has \d+ bytes; at most \d+ are expected"):
        read(tmp_path, state_dict(tensor()), storages=2000)


NESTED = b"K\x01" + b"q\x00h\x00\x86" * 20  # a pair of one pair, and so on: a million numbers to hash or to print


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x80\x02}" + NESTED + b"K\x01s.", "a key that is no string"),
        (b"\x80\x02" + NESTED + b"Q.", "no storage of floats"),
        (b"\x80\x02ccollections\nOrderedDict\n" + NESTED + b"\x85R.", "no dictionary of tensors"),
        (b"\x80\x02K\x01)R.", "calls what is no function"),
        (b"\x80\x04(K\x01\x91.", "has FROZENSET, which no dictionary of tensors has"),
        (b"\x80\x02B\xff\xff\xff\x7f.", "as torch.save writes it"),
        (b"\x80\x02K\x01K\x02.", "as torch.save writes it"),
        (b"\x80\x02}", "as torch.save writes it"),
        (b"\x80\x02s.", "as torch.save writes it"),
        (b"\x80\x02}(K\x01u.", "as torch.save writes it"),
    ],
)
def test_a_pickle_of_other_operations_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read(tmp_path, content)


def test_a_file_of_protocol_4_is_read(tmp_path: Path) -> None:
    name = b"\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93)R"
    content = b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00" + name + b"\x8c\x01w\x94" + tensor() + b"s."
    assert read(tmp_path, content)["w"].tolist() == NUMBERS.tolist()
    with pytest.raises(CheckpointError, match=r"names os\.mkdir, and may run code"):
        read(tmp_path, b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93.")


def test_a_layer_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: dict[str, Array] = {"weight": np.zeros((1, 16), np.float32)}
    monkeypatch.setattr("akidb_embeddings.conversion.torch_file.read_torch_file", lambda file, largest: wrong)
    with pytest.raises(CheckpointError, match=r"\(1, 16\).*a weight \(1, 32\) and a bias"):
        convert(bge_m3(tmp_path / "source", "sparse_linear.pt"), tmp_path / "converted")
    assert not (tmp_path / "converted").exists()
