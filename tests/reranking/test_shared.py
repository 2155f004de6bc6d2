"""Shared rerank services: one per configuration and process, apart from those that embed."""

import asyncio

import pytest

from akidb_embeddings import (
    RerankConfig,
    RerankService,
    ashared_reranker,
    close_shared_rerankers,
    close_shared_services,
    shared_reranker,
)
from akidb_embeddings.errors import CheckpointError
from akidb_embeddings.reranking import shared
from akidb_embeddings.service.sharing import SharedServices
from tests.conftest import at_once
from tests.reranking.models import BERT, folder


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_services", SharedServices())


def config(max_tokens: int | None = None) -> RerankConfig:
    return RerankConfig(model_name=str(folder(BERT)), max_tokens=max_tokens)


def test_equal_configurations_have_one_service() -> None:
    found: set[RerankService] = set()
    at_once(lambda caller: found.add(shared_reranker(config(max_tokens=64 + caller % 2))), 8)
    assert len(found) == 2
    one = shared_reranker(config(max_tokens=64))
    close_shared_services()  # those that embed
    assert one.alive
    close_shared_rerankers()
    assert not any(service.alive for service in found)
    assert shared_reranker(config(max_tokens=64)).score([("a", "b")]).shape == (1,)
    close_shared_rerankers()


async def test_event_loops_share_it_too() -> None:
    one, other = await asyncio.gather(ashared_reranker(config()), ashared_reranker(config()))
    assert one is other is shared_reranker(config())
    close_shared_rerankers()


async def test_a_failed_load_is_told_and_tried_anew() -> None:
    bad = RerankConfig(model_name=str(folder("tiny-bert")))
    for _ in range(2):
        with pytest.raises(CheckpointError, match="is no reranker"):
            await ashared_reranker(bad)
