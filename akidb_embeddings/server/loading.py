"""Which models a server has under which names, and the pool that they are in."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.pool.model import AnyConfig, PooledModel, Service
from akidb_embeddings.pool.opening import open_service
from akidb_embeddings.pool.pool import ModelPool
from akidb_embeddings.registry import SPECS
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.server.calls.describing import Known, describe
from akidb_embeddings.server.calls.models import Models
from akidb_embeddings.server.calls.output_call import probe_options

Announce = Callable[[AnyConfig], None]


class Settings(NamedTuple):
    """All that a server is told.

    Attributes:
        server: Its own settings.
        embedding: Those of all its embedding models.
        rerank: Those of all its rerankers.
    """

    server: ServerConfig
    embedding: EmbeddingConfig
    rerank: RerankConfig


def served_names(sources: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """The models by the names that clients use: a name in the registry or on the hub, or the last part of a folder.

    Args:
        sources: The models by the setting that has them, "models" or "rerankers".

    Raises:
        ConfigurationError: Two models have the same name.
    """
    names: dict[str, dict[str, str]] = {field: {} for field in sources}
    taken: dict[str, str] = {}
    for field, source in ((field, source) for field, listed in sources.items() for source in listed):
        is_folder = source not in SPECS and (source.startswith((".", "~", "/")) or Path(source).is_dir())
        name = Path(source).expanduser().resolve().name if is_folder else source
        if name in taken:
            where = "has" if taken[name] in names[field].values() else "and models have"
            raise ConfigurationError(
                field=field, reason=f"{where} {taken[name]!r} and {source!r}, which would both be called {name!r}."
            )
        taken[name] = names[field][name] = source
    return names


def pooled_models(settings: Settings) -> dict[str, PooledModel]:
    """The models by the names that clients use, and how long each stays loaded.

    Raises:
        ConfigurationError: Two models have the same name, or a setting names one that is not served.
    """
    server, embedding, rerank = settings
    models = server.models if server.models or server.rerankers else (embedding.model_name,)
    names = served_names({"models": models, "rerankers": server.rerankers})
    most = server.max_queued_tokens
    configs: dict[str, AnyConfig] = {
        name: EmbeddingConfig.resolve(embedding, model_name=source, max_queued_tokens=most)
        for name, source in names["models"].items()
    }
    for name, source in names["rerankers"].items():
        configs[name] = RerankConfig.resolve(rerank, model_name=source, max_queued_tokens=most)
    _check_named("pinned", server.pinned, configs)
    if isinstance(server.keep_alive, Mapping):
        _check_named("keep_alive", [name for name in server.keep_alive if name != "*"], configs)
    return {
        name: PooledModel(config, server.keep_alive_of(name), name in server.pinned) for name, config in configs.items()
    }


def _ignore(_: AnyConfig) -> None:
    """Announce no model."""


@contextlib.contextmanager
def open_models(settings: Settings, announce: Announce = _ignore) -> Iterator[Models]:
    """The models of a server, all of them loaded unless it loads lazily; closed at the end.

    Args:
        settings: Which models; without any, the embedding model of ``embedding``.
        announce: Called with each model before it is loaded.

    Raises:
        ConfigurationError: Two models have the same name, or a reranker has several labels.
        EmbeddingError: A model cannot be loaded.
    """
    opener, limit = Opener(), settings.server.memory_limit
    models = pooled_models(settings)
    with ModelPool(models, max_memory=limit, open_service=opener, announce=announce) as pool:
        if settings.server.load == "eager":
            load_all(pool)
        yield Models(pool, opener.known)


@contextlib.contextmanager
def loaded_models(services: Mapping[str, Service]) -> Iterator[Models]:
    """A server's models over services that are loaded already, by name; these stay open at the end."""
    known = {name: Known(service.config, describe(service)) for name, service in services.items()}
    told = {name: PooledModel(service.config) for name, service in services.items()}
    with ModelPool(told, open_service=lambda name, _: services[name].with_options()) as pool:
        load_all(pool)
        yield Models(pool, known)


def load_all(pool: ModelPool) -> None:
    """Load each model once, pinned ones first, so that one which does not fit beside them is found.

    Raises:
        EmbeddingError: A model cannot be loaded.
    """
    for name, _ in sorted(pool.models.items(), key=lambda item: not item[1].pinned):
        pool.load(name)


class Opener:
    """Loads a model of a server, and computes something: the first vector or score takes longer than others.

    Attributes:
        known: What clients are told of each model that was loaded.
    """

    def __init__(self) -> None:
        self.known: dict[str, Known] = {}

    def __call__(self, name: str, config: AnyConfig) -> Service:
        """Load the model called ``name``.

        Raises:
            ConfigurationError: It is a reranker with several labels.
            EmbeddingError: It cannot be loaded.
        """
        service = open_service(config)
        try:
            _warm_up(service)
            self.known[name] = Known(config, describe(service))
        except BaseException:  # whatever happens, its memory is not kept
            service.close()
            raise
        return service


def _warm_up(service: Service) -> None:
    if not isinstance(service, RerankService):
        service.encode(["The first vector takes longer than others."], **probe_options(service))
        return
    if len(service.labels) > 1:
        raise ConfigurationError(
            field="rerankers",
            reason=f"has {service.config.model_name!r}, a classifier that gives {len(service.labels)} scores to each "
            f"pair ({', '.join(service.labels)}): it does not say which document is better.",
        )
    service.score([("The first score", "takes longer than others.")])


def _check_named(field: str, given: Sequence[str], known: Mapping[str, object]) -> None:
    """Check that models which a setting names are served."""
    for name in given:
        if name not in known:
            raise ConfigurationError(field=field, reason=f"names {name!r}; the models here are {', '.join(known)}.")
