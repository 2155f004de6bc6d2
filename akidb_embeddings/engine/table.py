"""The engines of this process, shared between equal configurations, so that weights are loaded once."""

import atexit
import json
import os
import threading
from collections import deque
from collections.abc import Hashable

from akidb_embeddings.checkpoint.base import BaseCheckpoint, FileVersions
from akidb_embeddings.engine.engine import Engine
from akidb_embeddings.engine.pipeline import Model
from akidb_embeddings.errors import WorkerError

_lock = threading.Lock()
_engines: dict[Hashable, Engine] = {}
_users: dict[Engine, int] = {}
# The garbage collector may release an engine at any allocation, even while this thread holds the lock. So releases are
# queued here and processed as soon as a thread can acquire the lock.
_pending_releases: deque[Engine] = deque()
_used = False
_forked = False


def acquire_engine(checkpoint: BaseCheckpoint, memory: str, compute: str = "fast") -> Engine:
    """The engine for a checkpoint, loaded. It must be released once per call.

    Args:
        checkpoint: The checkpoint.
        memory: "fast" or "compact".
        compute: "fast" or "strict".

    Raises:
        ConfigurationError: The device cannot compute so.
        CheckpointError: The weights do not fit the architecture.
        WorkerError: MLX cannot be loaded, or this process was forked from one that runs MLX.
    """
    global _used
    if _forked:
        raise WorkerError(
            "This process was forked from one in which MLX runs, and MLX does not survive a fork. Start processes with "
            "multiprocessing's 'spawn' method instead."
        )
    versions = checkpoint.file_versions()
    key = _key(checkpoint, versions, memory, compute)

    def load() -> Model:
        checkpoint.check_versions(versions)  # the engine also calls this much later, if its thread has died
        return _load(checkpoint, memory, compute)

    with _lock:
        _used = True
        engine = _engines.get(key)
        if engine is None or not engine.alive:
            engine = _engines[key] = Engine(load)
        _users[engine] = _users.get(engine, 0) + 1
    _release_pending()
    try:
        engine.wait_until_loaded()
    except BaseException:
        release_engine(engine)
        raise
    return engine


def retain_engine(engine: Engine) -> Engine:
    """Add a user to an engine that is in use. It must be released once per call."""
    with _lock:
        _users[engine] = _users.get(engine, 0) + 1
    _release_pending()
    return engine


def release_engine(engine: Engine) -> None:
    """Release an engine. The last user's release stops it and frees its weights."""
    _pending_releases.append(engine)
    _release_pending()


def _release_pending() -> None:
    while _pending_releases and _lock.acquire(blocking=False):
        unused = []
        try:
            while _pending_releases:
                engine = _pending_releases.popleft()
                _users[engine] -= 1
                if not _users[engine]:
                    del _users[engine]
                    unused.append(engine)
            for key in [key for key, engine in _engines.items() if engine in unused]:
                del _engines[key]
        finally:
            _lock.release()
        for engine in unused:
            engine.close()


def expected_weight_bytes(checkpoint: BaseCheckpoint, memory: str, compute: str = "fast") -> int:
    """About how much memory an engine's weights will take.

    Raises:
        ConfigurationError: The device cannot compute so.
        WorkerError: MLX cannot be loaded.
    """
    try:
        from akidb_embeddings.compute.devices import select_backend
        from akidb_embeddings.compute.footprint import expected_weight_bytes
    except ImportError as error:
        raise WorkerError(str(error)) from error
    return expected_weight_bytes(checkpoint, select_backend(memory, compute))


def _load(checkpoint: BaseCheckpoint, memory: str, compute: str) -> Model:
    """Load the model. Called on the engine's thread, the only one that imports and uses MLX."""
    try:
        from akidb_embeddings.compute.devices import select_backend
        from akidb_embeddings.engine.model import MLXModel
    except ImportError as error:
        raise WorkerError(str(error)) from error
    return MLXModel(checkpoint, select_backend(memory, compute))


def _key(checkpoint: BaseCheckpoint, versions: FileVersions, memory: str, compute: str) -> Hashable:
    """What an engine computes. A folder whose weights or settings have been rewritten is another model."""
    config, steps = json.dumps(checkpoint.config), (type(checkpoint), checkpoint.after_encoder, checkpoint.adapter)
    return memory, compute, checkpoint.path.resolve(), versions, config, steps


def _close_all() -> None:
    """Stop the threads before the interpreter is finalized, because MLX must not run at that time."""
    for engine in list(_users):
        engine.close()


def _after_fork() -> None:
    global _forked, _lock
    _forked = _forked or _used
    _lock = threading.Lock()  # another thread may have held it during the fork


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
