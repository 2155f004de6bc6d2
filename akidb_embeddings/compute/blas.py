"""A fast BLAS for MLX on Linux CPUs.

The Linux wheel of MLX links a reference BLAS, about eighty times slower than OpenBLAS. MLX calls the matrix product
through one entry of its library's global offset table (GOT). ``use_openblas`` redirects that entry to the OpenBLAS that
NumPy's and SciPy's maintainers build for x86-64 and ARM. Its functions have a prefix, so they do not conflict with
another BLAS in the process.
"""

import ctypes
import functools
import importlib.metadata
import mmap
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.extras import install_command

_LIBRARY = "libscipy_openblas.so"
_PRODUCT = "cblas_sgemm"
_READ, _WRITE = 1, 2  # mprotect's PROT_READ and PROT_WRITE


@dataclass(frozen=True)
class Blas:
    """The BLAS that MLX uses.

    Attributes:
        path: The OpenBLAS library; None for the BLAS that MLX brings.
        problem: Why OpenBLAS is not used where it would be faster; else None.
    """

    path: str | None
    problem: str | None = None

    def set_threads(self, count: int) -> None:
        """Use ``count`` threads in subsequent matrix products."""
        if self.path:
            _load_library(self.path).scipy_openblas_set_num_threads(count)

    @property
    def description(self) -> str | None:
        """The library's description of its version, kernels and threads; None without OpenBLAS."""
        if not self.path:
            return None
        describe = _load_library(self.path).scipy_openblas_get_config
        describe.restype = ctypes.c_char_p
        return str(describe().decode())


@functools.cache
def use_openblas() -> Blas:
    """Redirect MLX's matrix products to OpenBLAS, once per process and after MLX is imported.

    Linux only; on other systems MLX brings a fast BLAS. ``AKIDB_BLAS=mlx`` in the environment leaves MLX unchanged.

    Raises:
        ConfigurationError: AKIDB_BLAS has another value.
    """
    choice = os.environ.get("AKIDB_BLAS") or "auto"
    if choice not in ("auto", "mlx"):
        raise ConfigurationError(field="AKIDB_BLAS", reason=f"is {choice!r}; allowed: 'auto', 'mlx'.")
    if sys.platform != "linux":
        return Blas(None)
    if choice == "mlx":
        return Blas(None, "AKIDB_BLAS=mlx selects the BLAS that MLX brings")
    try:
        path = _find_openblas()
        product = ctypes.cast(getattr(_load_library(path), f"scipy_{_PRODUCT}"), ctypes.c_void_p).value
        assert product
        _redirect("libmlx.so", _PRODUCT, product)
    except (OSError, ImportError, LookupError) as error:
        return Blas(None, str(error))
    return Blas(path)


@functools.cache
def _load_library(path: str) -> ctypes.CDLL:
    _set_environment_defaults()
    return ctypes.CDLL(path)


def _set_environment_defaults() -> None:
    """Set variables that OpenBLAS reads when it is loaded, unless the user has set them."""
    # OpenBLAS's idle threads spin for 2^26 clock ticks before they sleep. Next to other busy programs that makes a
    # query ten times slower; on an idle machine a tenth slower, because it occupies the core that builds MLX's graph.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    # Zen 4 splits AVX-512 operations in two, so OpenBLAS's AVX2 kernels are faster: 5 % at 480 rows, 25 % at 16.
    processor = _first_processor()
    if (processor.get("vendor_id"), processor.get("cpu family")) == ("AuthenticAMD", "25"):
        os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")


def _find_openblas() -> str:
    """The OpenBLAS that the ``cpu`` extra installs."""
    try:
        files = importlib.metadata.files("scipy-openblas32") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _LIBRARY:
            return str(Path(str(file.locate())).resolve())
    raise LookupError(f"scipy-openblas32 is not installed: {install_command('cpu')}")


def _redirect(library: str, function: str, target: int) -> None:
    """Make the loaded ``library`` call the address ``target`` wherever it calls ``function``.

    Raises:
        LookupError: The library is not loaded, or does not call the function through its GOT.
        OSError: The system does not allow it.
    """
    base, path = _find_loaded_library(library)
    entry = base + _got_entry(path, function)
    # The page is read-only in libraries that were bound at load time.
    page = entry & -mmap.PAGESIZE
    _protect(page, _READ | _WRITE)
    ctypes.c_void_p.from_address(entry).value = target


def _find_loaded_library(library: str) -> tuple[int, str]:
    """The base address of the loaded library in this process's memory, and its file."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        fields = line.split(maxsplit=5)  # addresses, permissions, offset, device, inode, path
        if len(fields) == 6 and Path(fields[5]).name == library and int(fields[2], 16) == 0:
            return int(fields[0].partition("-")[0], 16), fields[5]
    raise LookupError(f"{library} is not loaded")


def _got_entry(path: str, function: str) -> int:
    """The offset of the function's GOT entry from the library's base address."""
    # Imported here, because only Linux with the ``cpu`` extra needs it.
    from elftools.elf.elffile import ELFFile
    from elftools.elf.relocation import RelocationSection
    from elftools.elf.sections import SymbolTableSection

    with open(path, "rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".rela.plt")
        if isinstance(table, RelocationSection):
            symbols = elf.get_section(table["sh_link"])
            assert isinstance(symbols, SymbolTableSection)
            for relocation in table.iter_relocations():
                if symbols.get_symbol(relocation["r_info_sym"]).name == function:
                    return int(relocation["r_offset"])
    raise LookupError(f"{path} does not call {function} through a jump table; was this MLX built from source?")


def _protect(page: int, protection: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), protection):
        number = ctypes.get_errno()
        raise OSError(number, f"MLX's jump table cannot be written: {os.strerror(number)}")


def _first_processor() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo; empty if it cannot be read."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
