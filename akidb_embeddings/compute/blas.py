"""A fast BLAS for MLX on Linux CPUs.

The Linux wheel of MLX links a reference BLAS, some eighty times slower than OpenBLAS. MLX calls its matrix product
through one entry of its library's jump table. ``take_over`` points that entry at the product of the OpenBLAS that
NumPy's and SciPy's maintainers build for every x86-64 and ARM processor, whose functions have names of their own and
so meet no other BLAS in the process.
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
    """Whose products MLX uses: ``path`` of the library that answers, or None and, if that is slow, the ``problem``."""

    path: str | None
    problem: str | None = None

    def set_threads(self, count: int) -> None:
        """Use ``count`` threads in the next matrix products."""
        if self.path:
            _library(self.path).scipy_openblas_set_num_threads(count)

    @property
    def description(self) -> str | None:
        """The library's own words on its version, kernels and threads."""
        if not self.path:
            return None
        describe = _library(self.path).scipy_openblas_get_config
        describe.restype = ctypes.c_char_p
        return str(describe().decode())


@functools.cache
def take_over() -> Blas:
    """Have OpenBLAS answer MLX's matrix products, once a process and after MLX is imported.

    Linux only; elsewhere MLX has what it needs. ``AKIDB_BLAS=mlx`` in the environment leaves MLX as it comes.
    ConfigurationError: AKIDB_BLAS is something else.
    """
    choice = os.environ.get("AKIDB_BLAS") or "auto"
    if choice not in ("auto", "mlx"):
        raise ConfigurationError(f"AKIDB_BLAS is {choice!r}; allowed: 'auto', 'mlx'.")
    if sys.platform != "linux":
        return Blas(None)
    if choice == "mlx":
        return Blas(None, "AKIDB_BLAS=mlx asks for the BLAS that MLX brings")
    try:
        path = _installed()
        product = ctypes.cast(getattr(_library(path), f"scipy_{_PRODUCT}"), ctypes.c_void_p).value
        assert product
        _redirect("libmlx.so", _PRODUCT, product)
    except (OSError, ImportError, LookupError) as error:
        return Blas(None, str(error))
    return Blas(path)


@functools.cache
def _library(path: str) -> ctypes.CDLL:
    _choose_settings()
    return ctypes.CDLL(path)


def _choose_settings() -> None:
    """What OpenBLAS reads from the environment when it is loaded, unless the user has set it."""
    # OpenBLAS's idle threads spin for 2^26 clock ticks before they sleep. Beside other busy programs that costs a query
    # ten times its time; on a quiet machine a tenth, for the spinning takes the core on which MLX plans ahead.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    # Zen 4 runs AVX-512 in halves, and OpenBLAS's AVX2 kernels are faster there: 5 % at 480 rows, 25 % at 16.
    processor = _first_processor()
    if (processor.get("vendor_id"), processor.get("cpu family")) == ("AuthenticAMD", "25"):
        os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")


def _installed() -> str:
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
    """Let the loaded ``library`` call what is at the address ``target`` wherever it calls ``function``.

    LookupError: no such library is loaded, or it does not call the function by name. OSError: the system forbids it.
    """
    base, path = _place_of(library)
    entry = base + _jump_table_entry(path, function)
    # The page may be read-only, as loaders leave it in libraries that are bound at once.
    page = entry & -mmap.PAGESIZE
    _protect(page, _READ | _WRITE)
    ctypes.c_void_p.from_address(entry).value = target


def _place_of(library: str) -> tuple[int, str]:
    """Where the loaded library begins in this process's memory, and its file."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        fields = line.split(maxsplit=5)  # addresses, permissions, offset, device, inode, path
        if len(fields) == 6 and Path(fields[5]).name == library and int(fields[2], 16) == 0:
            return int(fields[0].partition("-")[0], 16), fields[5]
    raise LookupError(f"{library} is not loaded")


def _jump_table_entry(path: str, function: str) -> int:
    """The entry's offset from where the library begins."""
    # Imported here, for nothing but Linux with the ``cpu`` extra needs it.
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
    """The first processor's entries in /proc/cpuinfo; none where it cannot be read."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
