"""The C library's heap, where it is glibc: weights are kept apart from it, and freed memory is returned.

Weights are blocks of up to hundreds of megabytes that stay for long; a forward pass allocates and frees smaller ones
all the time. In one heap, each model that was loaded and closed would leave holes that are not returned.
"""

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator

# Parameters of mallopt, in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
# With one of these, the user has decided.
_VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
# Blocks of at least this size get a mapping of their own while weights are loaded: fewer bytes than a matrix has.
_WEIGHT = 1 << 18
# And at all other times, as glibc itself has it after the first large block was freed: mapping a block for each
# temporary array would halve the throughput.
_LARGEST_TEMPORARY = 1 << 25

_lock = threading.Lock()
_loading = 0


@contextlib.contextmanager
def weights_apart() -> Iterator[None]:
    """Give each block that is allocated meanwhile, if it is as large as a matrix, a mapping of its own.

    It is returned to the system as soon as it is freed.
    """
    global _loading
    with _lock:
        _loading += 1
        _set_threshold(_WEIGHT)
    try:
        yield
    finally:
        with _lock:
            _loading -= 1
            if not _loading:
                _set_threshold(_LARGEST_TEMPORARY)


def limit_arenas() -> None:
    """Have as many arenas of the heap as there are cores, instead of eight times as many.

    Each keeps freed memory for its threads. It must be called before the threads are started that should share them.
    """
    libc = _adjustable()
    if libc is not None:
        libc.mallopt(_ARENA_MAX, max(2, os.cpu_count() or 1))


def trim_heap() -> None:
    """Return freed memory to the system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _set_threshold(size: int) -> None:
    libc = _adjustable()
    if libc is not None:
        libc.mallopt(_MMAP_THRESHOLD, size)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_TEMPORARY)


def _adjustable() -> ctypes.CDLL | None:
    return None if any(name in os.environ for name in _VARIABLES) else _glibc()


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """glibc; None on other systems, whose libraries return memory by themselves."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
