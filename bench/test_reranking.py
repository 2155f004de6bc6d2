"""Scores of pairs: how many a second, and how long the documents of one query take; beside CrossEncoder, in turns."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from akidb_embeddings import RerankService
from bench.figures import Recorder
from bench.models import Model, wrong_usage
from bench.peers import CROSS_ENCODER, AbsentError, Peer, PeerError, alternate
from bench.rerankers import (
    DOCUMENT_TOKENS,
    PAIR_TOKENS,
    Pair,
    Reranker,
    SideCounter,
    choose_reranker,
    difference,
    mixed_pairs,
    ranking,
)
from bench.scale import Scale
from bench.targets import BESIDE_CROSS_ENCODER, PAIRS, RERANKING, RERANKING_PEER
from bench.texts import Texts
from bench.timing import timed

_DOCUMENTS = (20, 100)
_TOP = 10
_ROUNDS, _FEWEST_ROUNDS, _FEWEST_PAIRS = 30, 3, 32
_GPU_DTYPE = "bfloat16"


@pytest.fixture(scope="module")
def reranker(pytestconfig: pytest.Config, model: Model) -> Reranker:
    """What is measured; ``model`` is only for the report's head."""
    with wrong_usage():
        return choose_reranker(pytestconfig.option.reranker)


@pytest.fixture(scope="module")
def ours(reranker: Reranker) -> Iterator[RerankService]:
    """Our service, warm, with the limit that peers get, too."""
    with wrong_usage(), RerankService(config=reranker.config) as whole:
        limit = min(PAIR_TOKENS, whole.checkpoint.max_tokens)
        with RerankService(config=reranker.config.with_values(max_tokens=limit)) as service:
            service.score([("warm", "up")] * 8)
            yield service


@pytest.fixture(scope="module")
def counter(ours: RerankService) -> SideCounter:
    return SideCounter(ours.checkpoint)


@pytest.fixture(scope="module")
def pairs(ours: RerankService, counter: SideCounter, texts: Texts, scale: Scale) -> list[Pair]:
    """As many pairs of mixed lengths as the budget allows."""
    many = mixed_pairs(texts, counter, scale.corpus_texts)
    sample = many[:8]
    seconds = _clock(lambda: ours.score(sample)) / len(sample)
    return many[: scale.affordable(len(many), seconds * scale.corpus_rounds, _FEWEST_PAIRS)]


def _clock(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _what(documents: int) -> str:
    return f"{documents} documents of {DOCUMENT_TOKENS} tokens"


def test_pairs(
    benchmark: BenchmarkFixture,
    ours: RerankService,
    reranker: Reranker,
    pairs: list[Pair],
    record: Recorder,
    scale: Scale,
) -> None:
    counts = ours.score_details(pairs).token_counts
    seconds = timed(benchmark, ours.score, [pairs] * scale.corpus_rounds, RERANKING)
    note = f"{reranker.label}: {len(pairs)} pairs, {sum(counts) / len(counts):.0f} tokens on average"
    record.figure(RERANKING, PAIRS, "pairs/s", [len(pairs) / taken for taken in seconds], note)
    record.figure(RERANKING, f"{PAIRS}, tokens", "tokens/s", [sum(counts) / taken for taken in seconds], note)


@pytest.mark.parametrize("documents", _DOCUMENTS)
def test_ranking(
    documents: int,
    benchmark: BenchmarkFixture,
    ours: RerankService,
    counter: SideCounter,
    reranker: Reranker,
    texts: Texts,
    record: Recorder,
    scale: Scale,
) -> None:
    query, found = ranking(texts, counter, documents)
    cost = _clock(lambda: ours.rerank(query, found))
    rounds = scale.affordable(_ROUNDS, cost, _FEWEST_ROUNDS)
    calls = [found[at:] + found[:at] for at in range(rounds)]
    seconds = timed(benchmark, lambda texts: ours.rerank(query, texts, top_k=_TOP), calls, RERANKING)
    record.figure(RERANKING, _what(documents), "ms", [1e3 * taken for taken in seconds], reranker.label)


def test_peer(
    pytestconfig: pytest.Config,
    ours: RerankService,
    reranker: Reranker,
    counter: SideCounter,
    pairs: list[Pair],
    texts: Texts,
    record: Recorder,
    scale: Scale,
) -> None:
    from akidb_embeddings.compute.cores import available_cores
    from akidb_embeddings.compute.devices import select_backend

    if not pytestconfig.option.peers:
        pytest.skip("--peers was not given")
    gpu = CROSS_ENCODER.gpus.get(select_backend().name)
    place = {"device": gpu, "dtype": _GPU_DTYPE} if gpu else {}
    try:
        with Peer(CROSS_ENCODER, pytestconfig.option.peers_python or sys.executable) as peer:
            version = peer.load(reranker.folder, ours.max_tokens, available_cores(), **place)
            name = f"sentence-transformers {version}{f', {_GPU_DTYPE} on {gpu}' if gpu else ''}"
            for documents in _DOCUMENTS:
                query, found = ranking(texts, counter, documents)
                asked = [(query, text) for text in found]
                _compare(_what(documents), asked, name, ours, peer, record, scale, is_latency=True)
            pace = peer.score(pairs[:8])[0] / 8
            some = pairs[: max(_FEWEST_PAIRS, int(scale.peer_seconds / scale.peer_pairs / pace))]
            _compare(PAIRS, some, name, ours, peer, record, scale, is_latency=False)
    except AbsentError:
        record.absent(RERANKING_PEER, CROSS_ENCODER.name, f"absent; to compare: {CROSS_ENCODER.install}")
    except PeerError as error:
        record.absent(RERANKING_PEER, CROSS_ENCODER.name, f"failed: {error}")


def _compare(
    what: str,
    pairs: Sequence[Pair],
    name: str,
    ours: RerankService,
    peer: Peer,
    record: Recorder,
    scale: Scale,
    *,
    is_latency: bool,
) -> None:
    """The same pairs in turns, after both have scored them once."""
    remark = f"{name}; {len(pairs)} pairs; {difference(ours.score(pairs), peer.score(pairs)[1], bfloat16=',' in name)}"
    found = alternate(lambda: _clock(lambda: ours.score(pairs)), lambda: peer.score(pairs)[0], scale.peer_pairs)
    for label, seconds in (("akidb-embeddings", found.ours), (CROSS_ENCODER.name, found.theirs)):
        samples = [1e3 * taken if is_latency else len(pairs) / taken for taken in seconds]
        record.figure(RERANKING_PEER, f"{what}, {label}", "ms" if is_latency else "pairs/s", samples, remark)
    ratio = f"{what}, their time to ours" if is_latency else BESIDE_CROSS_ENCODER
    record.figure(RERANKING_PEER, ratio, "times", found.ratios, remark)
