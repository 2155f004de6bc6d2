"""Many callers at once, each waiting for its answer before it asks again: threads, and tasks of one event loop."""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from bench.figures import Recorder
from bench.open_loop import precise_loop
from bench.scale import Scale
from bench.texts import Texts

_QUERIES = 500


def _threads(service: EmbeddingService, queries: Iterator[str], callers: int, seconds: float) -> list[float]:
    together = threading.Barrier(callers)

    def ask() -> list[float]:
        together.wait()
        latencies, end = [], time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            service.embed([next(queries)])
            latencies.append(time.perf_counter() - start)
        return latencies

    with ThreadPoolExecutor(callers) as pool:
        asking = [pool.submit(ask) for _ in range(callers)]
        return [latency for one in asking for latency in one.result()]


def _tasks(service: EmbeddingService, queries: Iterator[str], callers: int, seconds: float) -> list[float]:
    async def ask() -> list[float]:
        latencies, end = [], time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            await service.aembed([next(queries)])
            latencies.append(time.perf_counter() - start)
        return latencies

    async def all_of_them() -> list[list[float]]:
        return await asyncio.gather(*(ask() for _ in range(callers)))

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        return [latency for one in runner.run(all_of_them()) for latency in one]


@pytest.mark.parametrize("callers", [1, 4, 16, 64])
@pytest.mark.parametrize(("way", "run"), [("threads", _threads), ("tasks", _tasks)], ids=["sync", "async"])
def test_callers(
    way: str,
    run: Callable[[EmbeddingService, Iterator[str], int, float], list[float]],
    callers: int,
    service: EmbeddingService,
    texts: Texts,
    tokenizer: Tokenizer,
    record: Recorder,
    scale: Scale,
) -> None:
    queries = itertools.cycle(texts.queries(tokenizer, _QUERIES))
    run(service, queries, callers, 0.1)
    start = time.perf_counter()
    latencies = run(service, queries, callers, scale.concurrency_seconds)
    rate = len(latencies) / (time.perf_counter() - start)
    note = f"{rate:.1f} queries of 8-32 tokens a second in all"
    record.figure("concurrency", f"{callers} {way}", "ms", [1e3 * latency for latency in latencies], note)
