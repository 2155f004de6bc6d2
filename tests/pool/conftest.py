"""Pools of tiny models, and a loader that can be held and that can fail."""

import threading
from collections.abc import Iterator

import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService, ModelPool, RerankConfig
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.pool.model import AnyConfig, Service
from akidb_embeddings.pool.opening import expected_bytes, open_service
from tests.conftest import LONG
from tests.fixtures import model_path

TEXTS = ["light", "the names of plants"]
NAMES = ("tiny-bert", "tiny-qwen3", "tiny-mpnet")


def config(name: str) -> EmbeddingConfig:
    return EmbeddingConfig(model_name=str(model_path(name)))


def reranker_config(name: str = "tiny-bert-reranker") -> RerankConfig:
    return RerankConfig(model_name=str(model_path(name)))


def configs(*names: str) -> dict[str, EmbeddingConfig]:
    return {name: config(name) for name in names or NAMES}


def sizes(*names: str) -> dict[str, int]:
    return {name: expected_bytes(config(name)) for name in names or NAMES}


def embed(service: Service) -> object:
    assert isinstance(service, EmbeddingService)
    return service.embed(TEXTS)


def state(pool: ModelPool, name: str = NAMES[0]) -> str:
    return pool.states()[name].state


class Opening:
    """Opens models for real. While ``gate`` is closed, it waits; models in ``broken`` fail."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.broken: set[str] = set()
        self.opened: list[str] = []

    def __call__(self, name: str, config: AnyConfig) -> Service:
        assert self.gate.wait(LONG)
        self.opened.append(name)
        if name in self.broken:
            raise CheckpointError(f"{name} is damaged")
        return open_service(config)


@pytest.fixture
def opening() -> Iterator[Opening]:
    made = Opening()
    yield made
    made.gate.set()


@pytest.fixture
def pool(opening: Opening) -> Iterator[ModelPool]:
    """Three models, none of them loaded, without a limit."""
    with ModelPool(configs(), open_service=opening) as made:
        yield made
        opening.gate.set()
