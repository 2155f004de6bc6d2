"""Texts and tokens a second, in calls of one text to a whole corpus of mixed lengths."""

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from akidb_embeddings import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from bench import padding
from bench.arithmetic import needed_flops
from bench.figures import Recorder
from bench.gpu import find_gpu
from bench.plots import AGAINST_BATCH
from bench.scale import Scale
from bench.summary import percentile
from bench.targets import QUERY_BATCH, THROUGHPUT
from bench.texts import Texts, spread_evenly
from bench.timing import timed

# One sample is the time for so many texts at least, so that samples of every batch size have the same mix of lengths.
_BLOCK = 32
_QUERY_CALLS = 10
# Times the budget of a measurement: what takes longer for a single sample is left out.
_PATIENCE = 4


def _tokens(tokenizer: Tokenizer, service: EmbeddingService, texts: list[str]) -> int:
    """The tokens that the model sees of these texts."""
    return sum(min(count, service.settings.max_tokens) for count in tokenizer.encode(texts).counts)


@pytest.mark.parametrize("batch", [1, 8, 32, 128])
def test_batch(
    batch: int,
    benchmark: BenchmarkFixture,
    corpus_service: EmbeddingService,
    texts: Texts,
    tokenizer: Tokenizer,
    record: Recorder,
    scale: Scale,
    pace: float,
) -> None:
    size = max(batch, _BLOCK)
    if pace * size > _PATIENCE * scale.budget:
        record.absent(THROUGHPUT, f"batch {batch}", f"not measured: one sample would take {pace * size:.0f} s")
        return
    rounds = scale.affordable(max(2, scale.batched_texts // size), pace * size, least=1)
    mixed = spread_evenly(texts.passages(size * rounds))
    blocks = [mixed[begin : begin + size] for begin in range(0, len(mixed), size)]

    def embed(block: list[str]) -> None:
        for begin in range(0, len(block), batch):
            corpus_service.encode(block[begin : begin + batch])

    corpus_service.encode(blocks[0][:batch])
    seconds = timed(benchmark, embed, blocks, "throughput")
    rates = [len(block) / taken for block, taken in zip(blocks, seconds, strict=True)]
    tokens = [_tokens(tokenizer, corpus_service, block) for block in blocks]
    record.figure(THROUGHPUT, f"batch {batch}, texts", "texts/s", rates)
    token_rates = [count / taken for count, taken in zip(tokens, seconds, strict=True)]
    record.figure(THROUGHPUT, f"batch {batch}, tokens", "tokens/s", token_rates)
    record.point(AGAINST_BATCH, "texts of mixed lengths", batch, percentile(rates, 50))


def _record_arithmetic(
    service: EmbeddingService, tokenizer: Tokenizer, passages: list[str], seconds: list[float], record: Recorder
) -> None:
    """TFLOP/s that were needed, without padding, beside what the GPU's maker publishes."""
    limit, gpu = service.settings.max_tokens, find_gpu()
    if gpu is None:
        return
    flops = needed_flops(service.checkpoint, [min(count, limit) for count in tokenizer.encode(passages).counts])
    rates = [flops / taken / 1e12 for taken in seconds]
    note = f"{100 * max(rates) / gpu.peak:.1f} % of the published bfloat16 peak" if gpu.peak else ""
    record.figure(THROUGHPUT, "corpus, arithmetic", "TFLOP/s", rates, note)


def test_queries_in_one_call(
    benchmark: BenchmarkFixture,
    service: EmbeddingService,
    texts: Texts,
    tokenizer: Tokenizer,
    record: Recorder,
    scale: Scale,
) -> None:
    queries = texts.queries(tokenizer, 32 * _QUERY_CALLS)
    calls = [queries[begin : begin + 32] for begin in range(0, len(queries), 32)]
    service.encode(calls[0])
    start = time.perf_counter()
    service.encode(calls[0])
    count = scale.affordable(len(calls), time.perf_counter() - start, least=3)
    seconds = timed(benchmark, service.encode, calls[:count], "throughput")
    record.figure(THROUGHPUT, QUERY_BATCH, "queries/s", [32 / taken for taken in seconds], "of 8-32 tokens")
    record.figure(THROUGHPUT, f"{QUERY_BATCH}, time", "ms", [1e3 * taken for taken in seconds])


def test_corpus(
    benchmark: BenchmarkFixture,
    corpus_service: EmbeddingService,
    texts: Texts,
    tokenizer: Tokenizer,
    record: Recorder,
    scale: Scale,
    pace: float,
) -> None:
    count = scale.affordable(scale.corpus_texts, pace * scale.corpus_rounds, least=32)
    passages = spread_evenly(texts.passages(scale.corpus_texts))[:count]
    tokens = _tokens(tokenizer, corpus_service, passages)
    with padding.observed() as padded:
        seconds = timed(benchmark, corpus_service.encode, [passages] * scale.corpus_rounds, "throughput")
    note = f"{len(passages)} texts, {tokens / len(passages):.0f} tokens on average"
    record.figure(THROUGHPUT, "corpus, texts", "texts/s", [len(passages) / taken for taken in seconds], note)
    record.figure(THROUGHPUT, "corpus, tokens", "tokens/s", [tokens / taken for taken in seconds], note)
    record.figure(THROUGHPUT, "corpus, padding", "%", [padded.waste], "of the positions that were computed")
    _record_arithmetic(corpus_service, tokenizer, passages, seconds, record)
