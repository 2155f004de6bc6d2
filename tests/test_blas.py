"""The fast BLAS: found, loaded before MLX, really used, and its absence explained. Each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from akidb_embeddings import blas

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MLX brings a fast BLAS of its own")


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def library_of_matrix_products(first: str, folder: Path) -> str:
    """Which library MLX's products are bound to, by the loader's own account, in a process that imports ``first``."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {first}\nfrom akidb_embeddings import backend\nbackend.measure_matmul(64)"],
        env=os.environ | {"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(folder / "bindings")},
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = "".join(file.read_text(errors="replace") for file in folder.glob("bindings.*")).splitlines()
    [binding] = [line for line in lines if "libmlx" in line.partition(" to ")[0] and "`cblas_sgemm'" in line]
    return binding.partition(" to ")[2]


def test_it_is_loaded_before_mlx_and_answers_its_calls(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "mlx").mkdir()
    assert "libopenblas" in library_of_matrix_products("akidb_embeddings.runtime", tmp_path / "ours")
    assert "libopenblas" not in library_of_matrix_products("mlx.core", tmp_path / "mlx")


def test_any_module_of_ours_may_come_first() -> None:
    assert "OpenBLAS" in run("from akidb_embeddings import kernels, runtime; print(runtime.BLAS.description)")


def test_mlx_imported_first_gives_one_warning_with_the_cost_and_the_cure() -> None:
    output = run(
        "import logging, mlx.core; logging.basicConfig()\n"
        "from akidb_embeddings.backend import select_backend\n"
        "from akidb_embeddings.runtime import BLAS\n"
        "select_backend('fast'); select_backend('compact'); assert BLAS.path is None"
    )
    assert output.count("No fast BLAS") == 1
    assert "GFLOP/s" in output
    assert "MLX was imported before akidb_embeddings" in output


def test_no_library_names_the_extra() -> None:
    output = run(
        "import logging; logging.basicConfig()\n"
        "from akidb_embeddings import blas; blas._candidates = lambda: ['libopenblas-that-is-not-there.so']\n"
        "from akidb_embeddings.backend import select_backend; select_backend()"
    )
    assert "libopenblas-that-is-not-there.so" in output
    assert "pip install 'akidb-embeddings[cpu]'" in output


def test_another_library_is_not_taken_for_an_openblas() -> None:
    with pytest.raises(OSError, match="not an OpenBLAS"):
        blas._library("libm.so.6")


def test_the_fortran_runtime_comes_from_mlx_where_the_system_has_none() -> None:
    """The loader is told that there is none, whether this system has one or not."""
    run(
        "import ctypes\n"
        "from akidb_embeddings import blas\n"
        "real = ctypes.CDLL\n"
        "def without(name, *a, **k):\n"
        "    if name == 'libgfortran.so.5': raise OSError('not there')\n"
        "    return real(name, *a, **k)\n"
        "ctypes.CDLL = without\n"
        "blas._provide_fortran_runtime()\n"
        "assert 'memfd:libgfortran.so.5' in open('/proc/self/maps').read()\n"
        "ctypes.CDLL = real\n"
        "real('libgfortran.so.5')"
    )


def test_other_systems_need_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert blas.load.__wrapped__() == blas.Blas(None)


def test_packages_that_are_not_installed_have_no_files() -> None:
    assert blas._files_of("no-such-distribution", "lib") == []
    assert all(isinstance(path, Path) and path.exists() for path in blas._files_of("cmeel-openblas", "libopenblas"))
