"""Services for those that hold a configuration only, such as adapters: one per configuration and process.

An adapter has to pickle, copy and compare, and to cost nothing until it is used. So it holds an ``EmbeddingConfig``,
and asks here for the service whenever it computes.
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

# Seconds between two looks at whether somebody else's load is over.
_TICK = 0.02

_lock = threading.Lock()
_services: dict[Hashable, "_Entry"] = {}


class _Entry:
    """The place of one service. ``loading`` is held while it is made; ``failures`` counts attempts that failed."""

    def __init__(self) -> None:
        self.service: EmbeddingService | None = None
        self.loading = threading.Lock()
        self.is_claimed = False  # a task is about to load
        self.failures, self.failure = 0, Exception()

    @property
    def usable(self) -> EmbeddingService | None:
        """The service, if it is there and its MLX thread did not die for good."""
        service = self.service
        return service if service is not None and service.alive else None

    @property
    def is_loading(self) -> bool:
        """Whether a service is being made, or about to be."""
        return self.is_claimed or self.loading.locked()

    def load(self, config: EmbeddingConfig) -> EmbeddingService:
        """Make the service. Who waited for an attempt that failed gets its error, and does not try once more."""
        failures = self.failures
        with self.loading:
            if service := self.usable:
                return service
            self.check(failures)
            try:
                self.service = service = EmbeddingService(config=config)
            except BaseException as error:
                # Ctrl-C is this thread's alone
                interrupted = WorkerError(f"Loading the model was interrupted: {error!r}")
                self.failure = error if isinstance(error, Exception) else interrupted
                self.failures += 1
                raise
            return service

    def check(self, failures: int) -> None:
        """Raise the error of the last attempt, if more failed than these."""
        if self.failures > failures:
            raise self.failure


def shared_service(config: EmbeddingConfig) -> EmbeddingService:
    """This process's service with this configuration, made at the first call; do not close it.

    It lives until ``close_shared_services`` or the end of the process. One whose MLX thread died for good is replaced.
    Errors are those of ``EmbeddingService``; after one, the next call tries again.
    """
    key = _key(config)
    while True:
        entry = _entry(key)
        if service := entry.usable:
            return service
        service = entry.load(config)
        with _lock:
            # All may have been closed meanwhile: then it takes its place again, unless somebody else's is there.
            if _services.setdefault(key, entry) is entry:
                return service
        service.close()


async def ashared_service(config: EmbeddingConfig) -> EmbeddingService:
    """``shared_service`` for event loops: loading, if any, does not block the loop."""
    key = _key(config)
    while (service := (entry := _entry(key)).usable) is None:
        if not entry.is_loading:
            entry.is_claimed = True
            try:
                return await asyncio.to_thread(shared_service, config)
            finally:
                entry.is_claimed = False
        failures = entry.failures
        while entry.is_loading:  # not on a thread: many that wait would take all that the loop has
            await asyncio.sleep(_TICK)
        entry.check(failures)
    return service


def close_shared_services() -> None:
    """Close every shared service and free its weights. The next call for one loads it again."""
    with _lock:
        entries = list(_services.values())
        _services.clear()
    for entry in entries:
        if entry.service is not None:
            entry.service.close()


def model_version(config: EmbeddingConfig) -> str | None:
    """A digest of the files and prompts of a model that lies in a folder or in this package.

    It is another one whenever the folder would give other vectors. None for a repository of the hub, whose versions
    ``revision`` names, and for a folder that is not there. Loads no weights; a file is read again only once it changed.
    """
    spec = MODELS.get(config.model_name)
    is_bundled = spec is not None and spec.bundled and not config.revision
    place = str(BUNDLE_ROOT / config.model_name) if is_bundled else _place(config.model_name)
    if place is None or not os.path.isdir(place):
        return None
    entry = _services.get(_key(config))
    if entry is not None and (service := entry.usable):  # its weights are in use, whatever the folder holds by now
        return _version(service.checkpoint)
    path = Path(place)
    watched = [*deciding_files(path, read_steps(path)), path / PROMPTS_FILE]
    stats = [(str(file), file.stat()) for file in watched if file.exists()]
    states = tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for name, stat in stats)
    return _version_of_folder(path, config.model_name, states)


def _key(config: EmbeddingConfig) -> Hashable:
    return config, _place(config.model_name)


def _entry(key: Hashable) -> _Entry:
    with _lock:
        return _services.setdefault(key, _Entry())


def _place(name: str) -> str | None:
    """The folder that a name means now: a relative one is another in another working directory. None: no folder."""
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
    """A child cannot use its parent's services, and locks may be held by threads that it does not have."""
    global _lock
    _lock = threading.Lock()
    _services.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
