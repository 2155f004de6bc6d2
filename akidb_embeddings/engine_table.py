"""The engines of this process, shared between equal configurations: one set of weights however many ask for it."""

import atexit
import os
import threading
from collections.abc import Hashable

from akidb_embeddings.checkpoint import Checkpoint
from akidb_embeddings.engine import Engine, Model
from akidb_embeddings.errors import WorkerError

# Reentrant: the garbage collector may run a finalizer, which releases an engine, while this thread holds it.
_lock = threading.RLock()
_engines: dict[Hashable, Engine] = {}
_users: dict[Engine, int] = {}
_forked = False


def acquire_engine(checkpoint: Checkpoint, memory: str) -> Engine:
    """The engine that computes ``checkpoint`` with ``memory`` (``fast`` or ``compact``), loaded.

    Every acquired engine is to be released once. CheckpointError: the weights do not fit. WorkerError: this process
    was forked from one that runs MLX.
    """
    if _forked:
        raise WorkerError(
            "This process was forked from one in which MLX runs, and MLX does not survive a fork. Start processes with "
            "multiprocessing's 'spawn' method instead."
        )
    key = (memory, checkpoint.path.resolve(), *_versions(checkpoint))
    with _lock:
        engine = _engines.get(key)
        if engine is None or not engine.alive:
            engine = _engines[key] = Engine(lambda: _load(checkpoint, memory))
        _users[engine] = _users.get(engine, 0) + 1
    try:
        engine.wait_until_loaded()
    except BaseException:
        release_engine(engine)
        raise
    return engine


def release_engine(engine: Engine) -> None:
    """Give an engine back; the last user's release stops it and frees its weights."""
    with _lock:
        _users[engine] = _users.get(engine, 1) - 1
        if _users[engine] > 0:
            return
        del _users[engine]
        for key in [key for key, known in _engines.items() if known is engine]:
            del _engines[key]
    engine.close()


def _load(checkpoint: Checkpoint, memory: str) -> Model:
    """Called on the engine's thread: that thread, and no other, imports and uses MLX."""
    try:
        from akidb_embeddings.backend import select_backend
        from akidb_embeddings.model import MLXEmbeddingModel
    except ImportError as error:
        raise WorkerError(str(error)) from error
    return MLXEmbeddingModel(checkpoint, select_backend(memory))


def _versions(checkpoint: Checkpoint) -> list[tuple[str, int, int]]:
    """A folder that was written anew since is another model."""
    files = {location.file for location in checkpoint.tensors.values()}
    stats = [(str(file), file.stat()) for file in files]
    return sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _close_all() -> None:
    """Stop the threads before the interpreter goes: MLX must not run while it is torn down."""
    for engine in list(_users):
        engine.close()


def _after_fork() -> None:
    global _forked, _lock
    _forked = _forked or bool(_users)
    _lock = threading.RLock()  # another thread may have held it at the moment of the fork


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
