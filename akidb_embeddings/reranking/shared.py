"""One shared rerank service per configuration and process, for objects that hold only a configuration."""

from collections.abc import Hashable

from akidb_embeddings.config.rerank import RerankConfig
from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.service.shared import folder_of
from akidb_embeddings.service.sharing import SharedServices

_services: SharedServices[RerankService] = SharedServices()


def shared_reranker(config: RerankConfig) -> RerankService:
    """This process's rerank service with this configuration, loaded by the first call. Do not close it.

    It stays loaded until ``close_shared_rerankers`` or the end of the process. If its MLX thread has died permanently,
    it is replaced.

    Raises:
        EmbeddingError: Loading failed, as in ``RerankService``; the next call tries again.
    """
    return _services.get(_key(config), lambda: RerankService(config=config))


async def ashared_reranker(config: RerankConfig) -> RerankService:
    """``shared_reranker`` for event loops: loading does not block the loop."""
    return await _services.aget(_key(config), lambda: RerankService(config=config))


def close_shared_rerankers() -> None:
    """Close all shared rerank services and free their weights. The next call for one loads it again."""
    _services.close()


def _key(config: RerankConfig) -> Hashable:
    return config, folder_of(config.model_name)
