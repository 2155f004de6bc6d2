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


def write(file: Path, content: object, storages: dict[str, bytes] | None = None, order: str = "little") -> Path:
    """A file as torch.save writes it, of another pickle."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, given: Any) -> Any:
            return given.pid if isinstance(given, _Reference) else None

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(content)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", order)
        for key, numbers in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", numbers)
    return file


class _Reference:
    def __init__(self, *pid: Any) -> None:
        self.pid = pid


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
        ({"weight": _Reference("module", "torch.nn")}, "as torch.save writes it"),
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


def test_a_layer_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: dict[str, Array] = {"weight": np.zeros((1, 16), np.float32)}
    monkeypatch.setattr("akidb_embeddings.conversion.torch_file.read_torch_file", lambda file, largest: wrong)
    with pytest.raises(CheckpointError, match=r"\(1, 16\).*a weight \(1, 32\) and a bias"):
        convert(bge_m3(tmp_path / "source", "sparse_linear.pt"), tmp_path / "converted")
    assert not (tmp_path / "converted").exists()
