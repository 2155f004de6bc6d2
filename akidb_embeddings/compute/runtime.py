"""MLX, with its matrix products redirected to a fast BLAS. Modules import ``mx`` from here, never from ``mlx``."""

import os
import threading
from typing import Any

from akidb_embeddings.compute import blas
from akidb_embeddings.compute.heap import limit_arenas
from akidb_embeddings.extras import install_command
from akidb_embeddings.hub.cache import get_cache_dir

__all__ = ["BLAS", "import_nn", "mx", "thread_streams"]

try:
    import mlx.core as mx
except ImportError as error:
    raise ImportError(
        f"MLX cannot be loaded: {error}. On Linux it needs a backend: {install_command('cpu')}, or with [cuda12] or "
        "[cuda13] for an NVIDIA GPU."
    ) from error


def _set_environment_defaults() -> None:
    """Set variables that MLX's CUDA backend reads when it first computes, unless the user has set them.

    It makes a plan of attention, and graphs of kernels, for each shape. Its caches hold 256 and 400, fewer than there
    are shapes here; after many misses in a row they would raise an error, which a server must not. Its compiled kernels
    are lost with the temporary files.
    """
    version: str = mx.__version__  # type: ignore[attr-defined]
    os.environ.setdefault("MLX_CUDA_SDPA_CACHE_SIZE", "2048")
    os.environ.setdefault("MLX_CUDA_GRAPH_CACHE_SIZE", "4096")
    os.environ.setdefault("MLX_ENABLE_CACHE_THRASHING_CHECK", "0")
    os.environ.setdefault("MLX_PTX_CACHE_DIR", str(get_cache_dir() / "kernels" / version))


_set_environment_defaults()
limit_arenas()  # before MLX's and the BLAS's threads
BLAS = blas.use_openblas()
_local = threading.local()


def thread_streams(device: mx.Device, count: int) -> list[mx.Stream]:
    """Streams of the current thread, the same ones for every model that it runs: MLX never frees those of a CPU."""
    made: dict[str, list[mx.Stream]] = _local.__dict__.setdefault("streams", {})
    streams = made.setdefault(str(device), [])
    streams += [mx.new_stream(device) for _ in range(count - len(streams))]
    return streams[:count]


def import_nn() -> tuple[Any, Any]:
    """``mlx.nn`` and ``mlx.utils``, which only mlx-lm's models need."""
    import mlx.nn
    import mlx.utils

    return mlx.nn, mlx.utils
