"""MLX's cache of freed buffers. It is the process's, so its limit is the largest that a loaded model asks for."""

import threading

from akidb_embeddings.compute.runtime import mx

_lock = threading.Lock()
_limits: dict[int, int] = {}


def limit_cache(owner: object, limit: int) -> None:
    """Let MLX keep at least so many bytes of freed buffers until ``release_cache``. A second call replaces the first.

    Args:
        owner: The model that asks.
        limit: What one of its micro-batches needs, in bytes; with less, each would be allocated anew.
    """
    with _lock:
        _limits[id(owner)] = limit
        mx.set_cache_limit(max(_limits.values()))


def release_cache(owner: object) -> None:
    """Give up what a model asked for, and free what MLX keeps."""
    with _lock:
        _limits.pop(id(owner), None)
        if _limits:
            mx.set_cache_limit(max(_limits.values()))
    mx.clear_cache()
