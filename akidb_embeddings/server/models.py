"""The served models of both kinds by the names that clients use, and what clients are told of them."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from akidb_embeddings.reranking.service import RerankService
from akidb_embeddings.server.api_error import ApiError, ErrorKind
from akidb_embeddings.service.service import EmbeddingService

Service = EmbeddingService | RerankService
S = TypeVar("S", EmbeddingService, RerankService)

EMBEDDING, RERANKER = "embedding", "reranker"
_IN_WORDS = {EMBEDDING: "embedding model", RERANKER: "reranker"}


class Models:
    """The models of a server. The first of each kind is for requests that name none.

    Attributes:
        services: All of them by name.
        embedders: The embedding models.
        rerankers: The rerankers.
    """

    def __init__(self, services: Mapping[str, Service]) -> None:
        self.services = services
        self.embedders = {name: one for name, one in services.items() if isinstance(one, EmbeddingService)}
        self.rerankers = {name: one for name, one in services.items() if isinstance(one, RerankService)}

    def embedder(self, name: str | None) -> tuple[str, EmbeddingService]:
        """Find the embedding model called ``name``, None for the default.

        Raises:
            ApiError: There is none, or it is a reranker.
        """
        return self._find(self.embedders, EMBEDDING, name)

    def reranker(self, name: str | None) -> tuple[str, RerankService]:
        """Find the reranker called ``name``, None for the default.

        Raises:
            ApiError: There is none, or it is an embedding model.
        """
        return self._find(self.rerankers, RERANKER, name)

    def kind(self, name: str) -> str:
        """The kind of the model called ``name``: "embedding" or "reranker".

        Raises:
            ApiError: There is none.
        """
        if name in self.embedders:
            return EMBEDDING
        if name in self.rerankers:
            return RERANKER
        raise _not_found(f"No model is called {name[:200]!r} here; this server has {_listed(self.services)}.")

    def info(self) -> dict[str, list[dict[str, Any]]]:
        """Describe the models, as ``/info`` and the gRPC call ``Info`` do."""
        return {
            "models": [
                {"name": name, "default": not index, **_embedder_info(one)}
                for index, (name, one) in enumerate(self.embedders.items())
            ],
            "rerankers": [
                {"name": name, "default": not index, **_reranker_info(one)}
                for index, (name, one) in enumerate(self.rerankers.items())
            ],
        }

    def _find(self, models: dict[str, S], kind: str, name: str | None) -> tuple[str, S]:
        if not models:
            raise _not_found(f"This server has no {_IN_WORDS[kind]}, only {_listed(self.services)}.")
        chosen = next(iter(models)) if name is None else name
        if chosen not in models:
            found = self.kind(chosen)
            what = f"{'an' if found == EMBEDDING else 'a'} {_IN_WORDS[found]}"
            raise _not_found(f"{chosen!r} is {what}; the {_IN_WORDS[kind]}s here are {_listed(models)}.")
        return chosen, models[chosen]


def _not_found(message: str) -> ApiError:
    return ApiError(ErrorKind.NOT_FOUND, message, field="model")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _embedder_info(service: EmbeddingService) -> dict[str, Any]:
    settings = service.settings
    return {
        "architecture": service.checkpoint.config["model_type"],
        "dimension": settings.dimensions,
        "max_tokens": settings.max_tokens,
        "model_max_tokens": service.checkpoint.max_tokens,
        "pooling": settings.pooling,
        "normalize": settings.normalize,
        "truncate": service.config.truncate,
        "prompts": list(settings.prompts),
        "fingerprint": service.fingerprint(),
    }


def _reranker_info(service: RerankService) -> dict[str, Any]:
    return {
        "architecture": service.checkpoint.config["model_type"],
        "max_tokens": service.max_tokens,
        "model_max_tokens": service.checkpoint.max_tokens,
        "activation": service.activation,
        "truncate": service.config.truncate,
        "instruction": service.instruction,
        "fingerprint": service.fingerprint(),
    }
