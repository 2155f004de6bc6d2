"""How long services and their engine live: until the last one is closed, forgotten or cancelled, or the engine dies."""

import asyncio
import copy
import gc
import hashlib
import pickle
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.engine import table as engine_table
from akidb_embeddings.errors import CheckpointError, WorkerError
from tests.conftest import LONG, FakeModel, background, eventually, in_any_way, service, submit
from tests.fixtures import BUNDLED, copy_model
from tests.reranking.models import XLM_ROBERTA, folder


def test_a_service_is_alive_until_it_is_closed(fake: FakeModel) -> None:
    first, second = service(), service(dimensions=8, untrained_dimensions=True)
    assert first.alive
    first.close()
    assert (first.alive, second.alive) == (False, True)
    second.close()
    assert not second.alive


def test_services_are_alive_while_their_engine_is(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A death that is followed by a restart is none; one that is not is the end of all services on that engine."""
    with service() as first, service(dimensions=8, untrained_dimensions=True) as second:
        fake.faults[13] = SystemExit()
        assert isinstance(submit(first._resources.engine, [13]).exception(LONG), WorkerError)
        assert (first.alive, second.alive) == (True, True)
        monkeypatch.setattr(engine_table, "_load", lambda checkpoint, memory, compute: 1 / 0)
        assert isinstance(submit(first._resources.engine, [13]).exception(LONG), WorkerError)
        assert eventually(lambda: not first.alive)
        assert not second.alive
        with pytest.raises(WorkerError, match="could not be restarted"):
            in_any_way(second, ["a"])


def test_equal_services_share_an_engine_until_the_last_is_closed(fake: FakeModel) -> None:
    first, second = service(), service(dimensions=8, untrained_dimensions=True, pooling="cls", batch_size=1)
    assert first._resources.engine is second._resources.engine
    first.close()
    first.close()
    assert second.embed(["a"]).shape == (1, 8)
    second.close()
    assert fake.closed == 1
    with pytest.raises(WorkerError, match="EmbeddingService is closed; make a new one"):
        in_any_way(second, ["a"])


def test_closing_fails_what_waits(fake: FakeModel) -> None:
    embedder = service()
    fake.hold()
    begun = background(lambda: embedder.embed(["a"]))
    fake.entered()
    waiting = background(lambda: embedder.embed(["b"]))
    assert eventually(lambda: embedder._resources.engine.waiting_tokens)
    closing = background(embedder.close)
    with pytest.raises(WorkerError, match="closed while this request waited"):
        waiting.result(LONG)
    fake.release()
    closing.result(LONG)
    assert begun.result(LONG).shape == (1, 384)


def test_a_forgotten_service_frees_its_engine(fake: FakeModel) -> None:
    embedder = service()
    embedder.embed(["a"])
    gone = weakref.ref(embedder)
    del embedder
    gc.collect()
    assert gone() is None
    assert fake.closed == 1


def test_a_service_that_cannot_be_made_leaves_no_engine(
    fake: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*arguments: object) -> None:
        raise OSError("unreadable")

    monkeypatch.setattr(hashlib, "file_digest", unreadable)
    with pytest.raises(CheckpointError, match="cannot be read: unreadable"):
        service(model_name=str(copy_model(BUNDLED, tmp_path / "model")))
    gc.collect()
    assert not engine_table._users


async def test_a_cancelled_acreate_leaves_no_engine(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(engine_table, "_load", lambda checkpoint, memory, compute: fake if go.wait(LONG) else None)
    creating = asyncio.create_task(EmbeddingService.acreate(str(BUNDLED)))
    assert await asyncio.to_thread(eventually, lambda: engine_table._users)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    go.set()

    def nobody_left() -> bool:
        gc.collect()
        return not engine_table._users

    assert await asyncio.to_thread(eventually, nobody_left, 5)
    assert fake.closed == 1


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps, lambda one: pickle.dumps([one], 0)])
def test_a_service_is_shared_and_not_copied(duplicate: Callable[[object], object]) -> None:
    with service() as embedder, RerankService(folder(XLM_ROBERTA)) as reranker:
        for one in (embedder, reranker):
            name = type(one).__name__
            with pytest.raises(WorkerError, match=rf"neither copied nor pickled.*: {name}\(config=service\.config\)"):
                duplicate(one)
        with EmbeddingService(config=embedder.config) as another:
            embedder.close()
            assert another.embed(["a"]).shape == (1, 384)
