"""Reading the configuration again at SIGHUP: other models, without an interruption for those that stay."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from dataclasses import fields, replace

from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.pool.pool import ModelPool
from akidb_embeddings.server.loading import Settings, load_all, pooled_models
from akidb_embeddings.server.observability.logs import LOG

# What takes effect at once. All else is read at the start.
_OF_MODELS = {"models", "rerankers", "load", "keep_alive", "max_memory", "pinned"}
# Of the others, what is in the configurations of models, too.
_OF_CONFIGURATIONS = ("max_queued_tokens",)


class Reloading:
    """Puts a server's models in place of others.

    Args:
        pool: The models.
        settings: The settings in force.
        read_again: Reads the settings again.
    """

    def __init__(self, pool: ModelPool, settings: Settings, read_again: Callable[[], Settings]) -> None:
        self._pool, self._settings, self._read_again = pool, settings, read_again
        self._task: asyncio.Task[None] | None = None
        self._is_wanted = False

    def listen(self) -> None:
        """Reload at each SIGHUP from now on."""
        with contextlib.suppress(ValueError, RuntimeError, AttributeError):  # only the main thread can handle signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._start)

    def _start(self) -> None:
        self._is_wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while self._is_wanted:  # again, if the signal came meanwhile
            self._is_wanted = False
            await asyncio.to_thread(self.reload)

    def reload(self) -> None:
        """Read the settings again, and have their models. If something is wrong with them, nothing changes."""
        try:
            settings = self._read_again()
            kept = {name: getattr(self._settings.server, name) for name in _OF_CONFIGURATIONS}
            models = pooled_models(settings._replace(server=replace(settings.server, **kept)))
            before = set(self._pool.models)
            self._pool.replace(models, max_memory=settings.server.memory_limit)
        except EmbeddingError as error:
            LOG.error("SIGHUP: the configuration cannot be used, and nothing has changed: %s", error)
            return
        LOG.info(
            "SIGHUP: the models are %s now%s%s",
            ", ".join(models),
            _listed("; new: ", set(models) - before),
            _listed("; gone: ", before - set(models)),
        )
        if ignored := _changed(self._settings.server, settings.server):
            LOG.warning("SIGHUP: other settings need a restart: %s", ", ".join(ignored))
        if settings.server.load == "eager":
            try:
                load_all(self._pool)
            except EmbeddingError as error:
                LOG.error("SIGHUP: a model cannot be loaded, and is tried again when it is asked for: %s", error)


def ignore_sighup() -> None:
    """Ignore the signal until ``Reloading`` listens to it, instead of being ended by it."""
    with contextlib.suppress(ValueError):  # only the main thread can handle signals
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _listed(begin: str, names: set[str]) -> str:
    return begin + ", ".join(sorted(names)) if names else ""


def _changed(before: ServerConfig, after: ServerConfig) -> list[str]:
    """The settings that differ, and that are not about models."""
    names = [field.name for field in fields(ServerConfig) if field.name not in _OF_MODELS]
    return [name for name in names if getattr(before, name) != getattr(after, name)]
