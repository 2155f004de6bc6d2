"""One shared service per configuration and process, for objects that hold only a configuration.

An adapter must be picklable, copyable and comparable, and must not load a model before it is used. So it holds an
``EmbeddingConfig``, and gets the service from here whenever it computes.
"""

import asyncio
import functools
import hashlib
import json
import os
import threading
from collections.abc import Hashable
from pathlib import Path

from akidb_embeddings.checkpoint.checkpoint import Checkpoint, read_checkpoint
from akidb_embeddings.checkpoint.digest import deciding_files
from akidb_embeddings.checkpoint.folder import PROMPTS_FILE
from akidb_embeddings.checkpoint.modules import read_steps
from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.errors import WorkerError
from akidb_embeddings.hub.resolve import BUNDLE_ROOT
from akidb_embeddings.registry import MODELS
from akidb_embeddings.service.service import EmbeddingService

# Seconds between two checks whether another task or thread has loaded the service.
_POLL_SECONDS = 0.02

_lock = threading.Lock()
_services: dict[Hashable, "_Entry"] = {}


class _Entry:
    """One service.

    Attributes:
        service: The service; None until it is loaded.
        loading: The lock that is held during loading.
        is_scheduled: Whether a task is about to load it.
        failures: How many attempts to load it have failed.
        last_error: The error of the last failed attempt.
    """

    def __init__(self) -> None:
        self.service: EmbeddingService | None = None
        self.loading = threading.Lock()
        self.is_scheduled = False
        self.failures, self.last_error = 0, Exception()

    @property
    def usable(self) -> EmbeddingService | None:
        """The service, if it is loaded and its MLX thread has not died permanently."""
        service = self.service
        return service if service is not None and service.alive else None

    @property
    def is_loading(self) -> bool:
        """Whether the service is being loaded, or is about to be."""
        return self.is_scheduled or self.loading.locked()

    def load(self, config: EmbeddingConfig) -> EmbeddingService:
        """Load the service. If another thread's attempt fails meanwhile, raise its error instead of trying again."""
        failures = self.failures
        with self.loading:
            if service := self.usable:
                return service
            self.check(failures)
            try:
                self.service = service = EmbeddingService(config=config)
            except BaseException as error:
                # KeyboardInterrupt and the like are only for this thread; waiting threads get a WorkerError.
                interrupted = WorkerError(f"Loading the model was interrupted: {error!r}")
                self.last_error = error if isinstance(error, Exception) else interrupted
                self.failures += 1
                raise
            return service

    def check(self, failures: int) -> None:
        """Raise the error of the last attempt, if more attempts than ``failures`` have failed."""
        if self.failures > failures:
            raise self.last_error


def shared_service(config: EmbeddingConfig) -> EmbeddingService:
    """This process's service with this configuration, loaded by the first call. Do not close it.

    It stays loaded until ``close_shared_services`` or the end of the process. If its MLX thread has died permanently,
    it is replaced.

    Raises:
        EmbeddingError: Loading failed, as in ``EmbeddingService``; the next call tries again.
    """
    key = _key(config)
    while True:
        entry = _entry(key)
        if service := entry.usable:
            return service
        service = entry.load(config)
        with _lock:
            # After close_shared_services in the meantime, the entry is registered again, unless there is a new one.
            if _services.setdefault(key, entry) is entry:
                return service
        service.close()


async def ashared_service(config: EmbeddingConfig) -> EmbeddingService:
    """``shared_service`` for event loops: loading does not block the loop."""
    key = _key(config)
    while (service := (entry := _entry(key)).usable) is None:
        if not entry.is_loading:
            entry.is_scheduled = True
            try:
                return await asyncio.to_thread(shared_service, config)
            finally:
                entry.is_scheduled = False
        failures = entry.failures
        while entry.is_loading:  # not on a thread: many waiting tasks would exhaust the loop's thread pool
            await asyncio.sleep(_POLL_SECONDS)
        entry.check(failures)
    return service


def close_shared_services() -> None:
    """Close all shared services and free their weights. The next call for one loads it again."""
    with _lock:
        entries = list(_services.values())
        _services.clear()
    for entry in entries:
        if entry.service is not None:
            entry.service.close()


def model_version(config: EmbeddingConfig) -> str | None:
    """A digest of the files and prompts of a model in a folder or in this package.

    It changes whenever the folder would give other vectors. No weights are loaded, and a file is read again only after
    it has changed.

    Returns:
        The digest. None for a repository of the hub, whose versions ``revision`` names, and for a missing folder.
    """
    spec = MODELS.get(config.model_name)
    is_bundled = spec is not None and spec.bundled and not config.revision
    folder = str(BUNDLE_ROOT / config.model_name) if is_bundled else _folder(config.model_name)
    if folder is None or not os.path.isdir(folder):
        return None
    entry = _services.get(_key(config))
    if entry is not None and (service := entry.usable):  # its weights stay in use, even if the folder has changed
        return _version(service.checkpoint)
    path = Path(folder)
    watched = [*deciding_files(path, read_steps(path)), path / PROMPTS_FILE]
    stats = [(str(file), file.stat()) for file in watched if file.exists()]
    states = tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for name, stat in stats)
    return _version_of_folder(path, config.model_name, states)


def _key(config: EmbeddingConfig) -> Hashable:
    return config, _folder(config.model_name)


def _entry(key: Hashable) -> _Entry:
    with _lock:
        return _services.setdefault(key, _Entry())


def _folder(name: str) -> str | None:
    """The absolute folder that a name stands for in the current working directory; None if it is not a folder."""
    path = os.path.abspath(os.path.expanduser(name))
    is_path = name.startswith((".", "~", os.sep)) or (name not in MODELS and os.path.isdir(path))
    return path if is_path else None


@functools.lru_cache(maxsize=32)
def _version_of_folder(path: Path, name: str, _states: Hashable) -> str:
    return _version(read_checkpoint(path, MODELS.get(name)))


def _version(checkpoint: Checkpoint) -> str:
    facts = [checkpoint.digest, dict(checkpoint.prompts), checkpoint.default_prompt, checkpoint.truncate_dim]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def _after_fork() -> None:
    """A child cannot use its parent's services, and the lock may be held by a thread that only the parent has."""
    global _lock
    _lock = threading.Lock()
    _services.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
