"""Everything at once: calls, cancelled calls, unloading, other models and limits, from threads and event loops."""

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, ModelPool, PooledModel
from akidb_embeddings.errors import DeadlineError, MemoryLimitError, ModelNotFoundError
from akidb_embeddings.pool.model import Service
from akidb_embeddings.vectors.finish import Vectors
from tests.conftest import LONG
from tests.pool.conftest import NAMES, TEXTS, config, sizes

pytestmark = pytest.mark.long

_SECONDS = 8.0
_LARGEST, _ALL = max(sizes().values()), sum(sizes().values())
_TOLD = (DeadlineError, MemoryLimitError, ModelNotFoundError)


class Stress:
    """What threads do to a pool until ``end``, and what came of it."""

    def __init__(self, pool: ModelPool, expected: dict[str, Vectors]) -> None:
        self.pool, self.expected = pool, expected
        self.end = time.monotonic() + _SECONDS
        self.right = 0
        self.failures: list[BaseException | str] = []

    def run(self, do: Callable[[random.Random], None], seed: int) -> None:
        chance = random.Random(seed)
        try:
            while time.monotonic() < self.end:
                do(chance)
        except BaseException as error:  # or the thread would end in silence
            self.failures.append(error)

    def call(self, chance: random.Random) -> None:
        name, keep_alive = chance.choice(NAMES), chance.choice((None, 0, 1))
        timeout = chance.choice((None, 0.0, 0.05))
        with contextlib.suppress(*_TOLD), self.pool.use(name, keep_alive=keep_alive, timeout=timeout) as service:
            self.check(name, embedder(service).embed(TEXTS, alone=True))

    async def acall(self, chance: random.Random) -> None:
        name = chance.choice(NAMES)
        with contextlib.suppress(*_TOLD):
            async with self.pool.ause(name, timeout=chance.choice((None, 0.05))) as service:
                self.check(name, await embedder(service).aembed(TEXTS, alone=True))

    def cancel(self, chance: random.Random) -> None:
        async def main() -> None:
            task = asyncio.ensure_future(self.acall(chance))
            await asyncio.sleep(chance.random() * 0.02)
            if chance.random() < 0.5:
                task.cancel()
            await asyncio.wait([task])

        asyncio.run(main())

    def disturb(self, chance: random.Random) -> None:
        time.sleep(chance.random() * 0.1)
        with contextlib.suppress(ModelNotFoundError):
            self.pool.unload(chance.choice(NAMES))
        names = chance.sample(NAMES, chance.randrange(2, 4))
        models = {name: PooledModel(config(name), chance.choice((0, 0.01, 5)), chance.random() < 0.2) for name in names}
        self.pool.replace(models, max_memory=chance.choice((None, _LARGEST, _ALL - 1)))
        self.pool.states()

    def check(self, name: str, vectors: Vectors) -> None:
        if np.array_equal(vectors, self.expected[name]):
            self.right += 1
        else:
            self.failures.append(f"another vector of {name}")


def embedder(service: Service) -> EmbeddingService:
    assert isinstance(service, EmbeddingService)
    return service


def alone(name: str) -> Vectors:
    with EmbeddingService(config=config(name)) as service:
        return service.embed(TEXTS)


def test_every_vector_is_right_and_nothing_is_left() -> None:
    expected = {name: alone(name) for name in NAMES}
    with ModelPool({name: config(name) for name in NAMES}) as pool:
        stress = Stress(pool, expected)
        work = [stress.call] * 6 + [stress.cancel] * 2 + [stress.disturb]
        threads = [threading.Thread(target=stress.run, args=[do, seed]) for seed, do in enumerate(work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert not any(thread.is_alive() for thread in threads)
        assert not stress.failures
        assert stress.right > 100
        pool.replace({name: config(name) for name in NAMES})
        for name in NAMES:
            pool.unload(name)
            assert (pool.states()[name].state, pool.states()[name].users) == ("unloaded", 0)
            pool.load(name)
        assert {state.state for state in pool.states().values()} == {"loaded"}
