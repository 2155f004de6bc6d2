"""Which models a server has under which names, and loading them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from akidb_embeddings.config.embedding import EmbeddingConfig
from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.config.server import ServerConfig
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry import SPECS
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.server.logs import LOG
from akidb_embeddings.server.models import Service
from akidb_embeddings.service.service import EmbeddingService

AnyConfig = EmbeddingConfig | RerankConfig
Announce = Callable[[AnyConfig], None]


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


def _ignore(_: AnyConfig) -> None:
    """Announce no model."""


@contextlib.contextmanager
def open_services(
    config: ServerConfig, embedding: EmbeddingConfig, rerank: RerankConfig, announce: Announce = _ignore
) -> Iterator[dict[str, Service]]:
    """The loaded models by the names that clients use; closed at the end.

    Args:
        config: Which models; without any, the embedding model of ``embedding``.
        embedding: The other settings of embedding models.
        rerank: The other settings of rerankers.
        announce: Called with each model before it is loaded.

    Raises:
        ConfigurationError: Two models have the same name, or a reranker has several labels.
        EmbeddingError: A model cannot be loaded.
    """
    models = config.models if config.models or config.rerankers else (embedding.model_name,)
    names = served_names({"models": models, "rerankers": config.rerankers})
    services: dict[str, Service] = {}
    most = config.max_queued_tokens
    with contextlib.ExitStack() as stack:
        for name, source in names["models"].items():
            model_config = EmbeddingConfig.resolve(embedding, model_name=source, max_queued_tokens=most)
            announce(model_config)
            services[name] = stack.enter_context(_embedder(name, model_config))
        for name, source in names["rerankers"].items():
            rerank_config = RerankConfig.resolve(rerank, model_name=source, max_queued_tokens=most)
            announce(rerank_config)
            services[name] = stack.enter_context(_reranker(name, rerank_config))
        yield services


@contextlib.contextmanager
def _embedder(name: str, config: EmbeddingConfig) -> Iterator[EmbeddingService]:
    with EmbeddingService(config=config) as service:
        service.embed(["The first vector takes longer than others."])
        LOG.info("Loaded %s, %d dimensions", name, service.dimension)
        yield service


@contextlib.contextmanager
def _reranker(name: str, config: RerankConfig) -> Iterator[RerankService]:
    with RerankService(config=config) as service:
        if len(service.labels) > 1:
            raise ConfigurationError(
                field="rerankers",
                reason=f"has {config.model_name!r}, a classifier that gives {len(service.labels)} scores to each pair "
                f"({', '.join(service.labels)}): it does not say which document is better.",
            )
        service.score([("The first score", "takes longer than others.")])
        LOG.info("Loaded %s, a reranker", name)
        yield service
