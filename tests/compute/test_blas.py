"""The fast BLAS: found, used whoever imports MLX first, its absence explained. Mostly in processes of their own."""

import os
import subprocess
import sys

import pytest

from akidb_embeddings.compute import blas
from akidb_embeddings.errors import ConfigurationError
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MLX brings a fast BLAS of its own")

_LIBRARY_THAT_ANSWERS = """
import ctypes
from pathlib import Path
from akidb_embeddings.compute import blas
from akidb_embeddings.compute.runtime import mx
base, path = blas._find_loaded_library("libmlx.so")
target = ctypes.c_void_p.from_address(base + blas._got_entry(path, "cblas_sgemm")).value
for line in Path("/proc/self/maps").read_text().splitlines():
    begin, end = (int(address, 16) for address in line.split()[0].split("-"))
    if begin <= target < end:
        print(Path(line.split()[5]).name)
"""


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_call_goes_where_it_is_sent() -> None:
    """A function of ours in the place of MLX's product: MLX's answer is what that function writes."""
    program = """
import ctypes
from akidb_embeddings.compute import blas
import mlx.core as mx
integers, numbers, pointers = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
@ctypes.CFUNCTYPE(None, *[integers] * 6, numbers, pointers, integers, pointers, integers, numbers, pointers, integers)
def product(order, left, right, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc):
    ctypes.c_float.from_address(c).value = 100 * M + 10 * N + K
blas._redirect("libmlx.so", "cblas_sgemm", ctypes.cast(product, ctypes.c_void_p).value)
with mx.stream(mx.cpu):
    print((mx.ones((3, 4)) @ mx.ones((4, 2))).tolist()[0][0])
"""
    assert run(program) == "324.0\n"


@pytest.mark.parametrize(
    "first", ["akidb_embeddings.compute.runtime", "mlx.core", "akidb_embeddings.compute.kernels", "numpy"]
)
def test_openblas_answers_whatever_is_imported_first(first: str) -> None:
    assert run(f"import {first}" + _LIBRARY_THAT_ANSWERS) == "libscipy_openblas.so\n"


def test_products_are_those_of_numpy() -> None:
    program = """
import numpy as np
from akidb_embeddings.compute.runtime import BLAS, mx
assert "OpenBLAS" in BLAS.description
random = np.random.default_rng(0)
for m, k, n in [(1, 1, 1), (3, 5, 7), (16, 384, 1152), (130, 257, 65)]:
    a, b = (random.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
    with mx.stream(mx.cpu):
        for left, right in [(mx.array(a), mx.array(b)), (mx.array(a.T.copy()).T, mx.array(b.T.copy()).T)]:
            np.testing.assert_allclose(np.array(left @ right), a @ b, rtol=1e-4, atol=1e-4)
"""
    run(program)


def test_mlx_keeps_its_own_where_asked_to() -> None:
    output = run(
        "import logging; logging.basicConfig()\n"
        "from akidb_embeddings.compute.devices import select_backend\n"
        "select_backend('fast'); select_backend('compact')" + _LIBRARY_THAT_ANSWERS,
        AKIDB_BLAS="mlx",
    )
    assert "openblas" not in output
    assert output.count("No fast BLAS") == 1
    assert "GFLOP/s" in output
    assert "AKIDB_BLAS=mlx" in output


def test_no_library_names_the_extra() -> None:
    output = run(
        "import importlib.metadata, logging; logging.basicConfig()\n"
        "real = importlib.metadata.files\n"
        "def files(name):\n"
        "    if name == 'scipy-openblas32': raise importlib.metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "importlib.metadata.files = files\n"
        "from akidb_embeddings.compute.devices import select_backend; select_backend()"
    )
    assert "scipy-openblas32 is not installed" in output
    assert f"-m pip install -e '{REPOSITORY}[cpu]'" in output


def test_a_setting_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_BLAS", "fast")
    with pytest.raises(ConfigurationError, match="AKIDB_BLAS is 'fast'; allowed: 'auto', 'mlx'"):
        blas.use_openblas.__wrapped__()


@pytest.mark.parametrize(
    ("library", "function", "reason"),
    [
        ("libnothing.so", "cblas_sgemm", "libnothing.so is not loaded"),
        ("libmlx.so", "no_such_function", "libmlx.so does not call no_such_function through a jump table"),
    ],
)
def test_what_cannot_be_redirected_says_why(library: str, function: str, reason: str) -> None:
    from akidb_embeddings.compute.runtime import mx

    assert mx
    with pytest.raises(LookupError, match=reason):
        blas._redirect(library, function, 0)


def test_memory_that_may_not_be_written_is_an_error() -> None:
    with pytest.raises(OSError, match="MLX's jump table cannot be written: "):
        blas._protect(0, 3)


@pytest.mark.parametrize(
    ("vendor", "family", "kernels"),
    [("AuthenticAMD", "25", "Haswell"), ("AuthenticAMD", "26", None), ("GenuineIntel", "6", None)],
)
def test_kernels_that_suit_the_processor(
    vendor: str, family: str, kernels: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "_first_processor", lambda: {"vendor_id": vendor, "cpu family": family})
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    blas._set_environment_defaults()
    assert os.environ.get("OPENBLAS_CORETYPE") == kernels
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    blas._set_environment_defaults()
    assert os.environ["OPENBLAS_CORETYPE"] == "Zen"


def test_the_processor_is_read() -> None:
    assert {"processor"} <= set(blas._first_processor())


def test_other_systems_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert blas.use_openblas.__wrapped__() == blas.Blas(None)
