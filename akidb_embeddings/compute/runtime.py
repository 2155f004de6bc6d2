"""MLX, with its matrix products redirected to a fast BLAS. Modules import ``mx`` from here, never from ``mlx``."""

from typing import Any

from akidb_embeddings.compute import blas
from akidb_embeddings.extras import install_command

__all__ = ["BLAS", "import_nn", "mx"]

try:
    import mlx.core as mx
except ImportError as error:
    raise ImportError(
        f"MLX cannot be loaded: {error}. On Linux it needs a backend: {install_command('cpu')}, or with [cuda12] or "
        "[cuda13] for an NVIDIA GPU."
    ) from error

BLAS = blas.use_openblas()


def import_nn() -> tuple[Any, Any]:
    """``mlx.nn`` and ``mlx.utils``, which only mlx-lm's models need."""
    import mlx.nn
    import mlx.utils

    return mlx.nn, mlx.utils
