"""One query at a time: how long it takes hot, and after the device was idle."""

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from akidb_embeddings import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from bench.figures import Recorder
from bench.plots import LATENCIES
from bench.scale import FULL, Scale
from bench.texts import Texts
from bench.timing import timed

LENGTHS = (8, 16, 32, 128, 512)
_WARM_UP = 5
_LEAST = 5


def _texts(texts: Texts, tokenizer: Tokenizer, service: EmbeddingService, tokens: int, count: int) -> list[str]:
    """Texts of as many tokens, or of as many as the model takes."""
    return texts.exact(tokenizer, min(tokens, service.settings.max_tokens), count)


def _label(service: EmbeddingService, tokens: int) -> str:
    limit = service.settings.max_tokens
    return f"{tokens} tokens" if tokens <= limit else f"{limit} tokens (the limit; {tokens} wanted)"


@pytest.mark.parametrize("tokens", LENGTHS)
def test_hot(
    tokens: int,
    benchmark: BenchmarkFixture,
    service: EmbeddingService,
    texts: Texts,
    tokenizer: Tokenizer,
    record: Recorder,
    scale: Scale,
) -> None:
    """Every query is another text, right after the last one."""
    queries = _texts(texts, tokenizer, service, tokens, scale.latency_rounds + _WARM_UP)
    start = time.perf_counter()
    service.embed(queries[:1])
    rounds = scale.affordable(scale.latency_rounds, time.perf_counter() - start, _LEAST)
    for query in queries[1 : min(_WARM_UP, rounds // 2)]:
        service.embed([query])
    queries = queries[_WARM_UP : _WARM_UP + rounds]
    seconds = timed(benchmark, lambda query: service.embed([query]), queries, "latency, hot")
    milliseconds = [1e3 * value for value in seconds]
    record.figure("latency", f"hot, {_label(service, tokens)}", "ms", milliseconds)
    record.distribution(LATENCIES, _label(service, tokens), milliseconds)


@pytest.mark.parametrize("tokens", LENGTHS)
def test_cold(
    tokens: int,
    benchmark: BenchmarkFixture,
    service: EmbeddingService,
    texts: Texts,
    tokenizer: Tokenizer,
    record: Recorder,
    scale: Scale,
) -> None:
    """The first query after a pause: GPUs and CPUs lower their clocks, and caches belong to others."""
    if tokens not in scale.cold_lengths:
        pytest.skip(f"--quick measures {scale.cold_lengths} of {FULL.cold_lengths} tokens")
    queries = _texts(texts, tokenizer, service, tokens, scale.cold_rounds + _WARM_UP)
    for query in queries[:_WARM_UP]:
        service.embed([query])
    idleness = f"after {scale.idle_seconds:g} s of idleness"
    seconds = timed(
        benchmark,
        lambda query: service.embed([query]),
        queries[_WARM_UP:],
        f"latency, {idleness}",
        before=lambda: time.sleep(scale.idle_seconds),
    )
    record.figure("latency", f"{idleness}, {_label(service, tokens)}", "ms", [1e3 * value for value in seconds])
