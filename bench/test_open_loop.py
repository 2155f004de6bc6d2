"""Queries that arrive on a schedule: at 50 a second, and at ever more until the machine is saturated."""

import asyncio

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.tokenization.tokenizer import Tokenizer
from bench.figures import Recorder
from bench.open_loop import Call, Outcome, offer, precise_loop, rising, sweep
from bench.plots import AGAINST_RATE, LATENCIES
from bench.scale import Scale
from bench.summary import percentile
from bench.targets import AT_RATE, ERRORS, OPEN_LOOP, OPEN_LOOP_RATE, SATURATION
from bench.texts import Texts

# Seconds. Nobody waits longer for an answer, and a saturated machine must come to an end.
_TIMEOUT = 30
_HOPELESS = 1.0
_FIRST_RATE = 25
_QUERIES = 500
_WARM_UP = 50


@pytest.fixture(scope="module")
def call(service: EmbeddingService, texts: Texts, tokenizer: Tokenizer) -> Call:
    """Embed query number i, of 8 to 32 tokens."""
    queries = texts.queries(tokenizer, _QUERIES)

    async def embed(index: int) -> object:
        return await service.aembed([queries[index % len(queries)]], timeout=_TIMEOUT)

    return embed


def test_fixed_rate(call: Call, record: Recorder, scale: Scale) -> None:
    async def run() -> Outcome:
        for index in range(_WARM_UP):
            await call(index)
        return await offer(call, OPEN_LOOP_RATE, scale.open_loop_seconds)

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        outcome = runner.run(run())
    milliseconds = [1e3 * seconds for seconds in outcome.latencies]
    note = f"{outcome.answered_rate:.1f} answered a second, of {outcome.offered} in all"
    if milliseconds:
        record.figure(OPEN_LOOP, AT_RATE, "ms", milliseconds, note)
        record.distribution(LATENCIES, f"8-32 tokens, {AT_RATE}", milliseconds)
    else:
        record.absent(OPEN_LOOP, AT_RATE, f"no query was answered within {_TIMEOUT} s")
    record.figure(OPEN_LOOP, ERRORS, "errors", [len(outcome.errors)], (outcome.errors or [""])[0])


def test_sweep(call: Call, record: Recorder, scale: Scale) -> None:
    """Rates up to the one that is not answered as fast as it comes."""
    factor = 2**0.5 if scale.sweep_seconds > 5 else 2
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        outcomes = runner.run(sweep(call, rising(_FIRST_RATE, factor), scale.sweep_seconds, _HOPELESS))
    for outcome in outcomes:
        milliseconds = [1e3 * seconds for seconds in outcome.latencies]
        name = f"sweep, {outcome.rate:.0f} queries a second"
        note = f"{outcome.answered_rate:.1f} answered a second, {len(outcome.errors)} errors"
        if not milliseconds:
            record.absent(OPEN_LOOP, name, note)
            continue
        record.figure(OPEN_LOOP, name, "ms", milliseconds, note)
        for percent in (50, 95, 99):
            record.point(AGAINST_RATE, f"P{percent}", outcome.rate, percentile(milliseconds, percent))
    best = max(outcomes, key=lambda outcome: outcome.answered_rate)
    if best.latencies:
        note = f"reached with {best.rate:.0f} offered; samples are stretches of the run"
        record.figure(OPEN_LOOP, SATURATION, "queries/s", best.rates(), note)
