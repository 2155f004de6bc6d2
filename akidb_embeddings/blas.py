"""A fast BLAS for MLX on Linux CPUs, loaded before MLX is.

The Linux wheel of MLX links a reference BLAS, some eighty times slower than OpenBLAS. Its calls are bound by name, so
an OpenBLAS that is already in the process's global scope when ``mlx.core`` is imported answers them instead. Loaded
later it changes nothing; hence this module imports nothing of MLX, and ``runtime`` calls ``load`` before it does.
"""

import ctypes
import functools
import importlib.metadata
import os
import sys
from dataclasses import dataclass
from pathlib import Path

_INSTALL = "pip install 'akidb-embeddings[cpu]'"


@dataclass(frozen=True)
class Blas:
    """What became of the search: ``path`` of the library in use, or None and the ``problem`` with its cure."""

    path: str | None
    problem: str | None = None

    def set_threads(self, count: int) -> None:
        """Use ``count`` threads in the next matrix products."""
        if library := _library(self.path):
            library.openblas_set_num_threads(count)

    @property
    def description(self) -> str | None:
        """The library's own words on its version, kernels and threads."""
        if not (library := _library(self.path)):
            return None
        library.openblas_get_config.restype = ctypes.c_char_p
        return str(library.openblas_get_config().decode())


@functools.cache
def load() -> Blas:
    """Bring an OpenBLAS into the global scope, once a process. Linux only; elsewhere MLX has what it needs."""
    if sys.platform != "linux":
        return Blas(None)
    if "mlx.core" in sys.modules:
        return Blas(None, "MLX was imported before akidb_embeddings; import akidb_embeddings.runtime before mlx")
    problems = []
    for name in _candidates():
        try:
            _library(name)
        except OSError as error:
            problems.append(str(error))
        else:
            return Blas(name)
    return Blas(None, f"{'; '.join(problems)}; install one with: {_INSTALL}, or your system's libopenblas0 package")


@functools.cache
def _library(path: str | None) -> ctypes.CDLL | None:
    """The loaded library. OSError where it cannot be loaded or is not an OpenBLAS with plain symbol names."""
    if path is None:
        return None
    # OpenBLAS's idle threads spin for a long while before they sleep; beside other busy programs that costs a query
    # ten times its time, and a quiet machine does not notice the difference. Read when the library is loaded.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    if Path(path).is_absolute():
        _provide_fortran_runtime()
    library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    if not hasattr(library, "cblas_sgemm") or not hasattr(library, "openblas_set_num_threads"):
        raise OSError(f"{path} is not an OpenBLAS")
    return library


def _candidates() -> list[str]:
    """The wheel that the ``cpu`` extra installs, then the system's library."""
    packaged = _files_of("cmeel-openblas", "libopenblas.so.0")
    return [str(path) for path in packaged] + ["libopenblas.so.0"]


def _files_of(distribution: str, prefix: str) -> list[Path]:
    """Installed files of a distribution whose names begin with ``prefix``; none where it is not installed."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in files if file.name.startswith(prefix)]


def _provide_fortran_runtime() -> None:
    """Make ``libgfortran.so.5`` known to the loader where the system has none.

    OpenBLAS asks for it by that name. MLX's own CPU wheel brings the library under a name with a hash in it, and the
    loader goes by the name written inside the file. So a copy in memory gets the plain name: nothing is written to
    disk, and a machine without a Fortran runtime needs no system package. Where anything of this fails, loading
    OpenBLAS reports the missing library.
    """
    try:
        ctypes.CDLL("libgfortran.so.5")
        return
    except OSError:
        pass
    for source in _files_of("mlx-cpu", "libgfortran-"):
        for dependency in _files_of("mlx-cpu", "libquadmath-"):
            ctypes.CDLL(str(dependency))
        hashed, plain = source.name.encode() + b"\0", b"libgfortran.so.5\0"
        image = source.read_bytes().replace(hashed, plain.ljust(len(hashed), b"\0"))
        descriptor = os.memfd_create("libgfortran.so.5")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(image)
            ctypes.CDLL(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
