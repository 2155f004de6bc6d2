"""More requests than can be answered: refusals that say when to come back, bounded waits, and a quick recovery."""

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import grpc
import numpy as np
import pytest

from akidb_embeddings import EmbeddingConfig, EmbeddingService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server import embedding_pb2 as pb
from bench.open_loop import Outcome, offer
from tests.conftest import LONG, FakeModel, at_once, background, eventually
from tests.golden.texts import counted_text
from tests.server.calls import Client, Reply, get, metric, post, stub
from tests.server.conftest import Running, server_here, server_process

_log = logging.getLogger(__name__)

_QUEUE = 1000  # tokens
_TOKENS = 102  # of a text of this module, special ones included
_ROUND = 1024  # tokens that the model may have begun, on two cores
_SECONDS = 5.0


class _RefusedError(Exception):
    """429, as it should be."""


@pytest.mark.long
def test_twice_what_can_be_answered(bundled: EmbeddingService) -> None:
    """The load is offered on a schedule, at twice the rate that eight clients in turns reached.

    An unlimited queue would be ``_SECONDS`` long at the end, half of it on average; with the limit, what is accepted
    waits for no more tokens than fit in. Times have room for a machine that others use; counts have none.
    """
    texts = [counted_text(_TOKENS - 2, seed) for seed in range(50)]
    expected = bundled.embed(texts)

    def ask(url: str, index: int) -> None:
        reply = post(url, [texts[index % len(texts)]])
        if reply.status == 429:
            check_refusal(reply)
            raise _RefusedError
        assert reply.status == 200, reply.body
        np.testing.assert_allclose(reply.body["embeddings"][0], expected[index % len(texts)], rtol=0, atol=1e-5)

    async def overload(url: str, rate: float) -> tuple[Outcome, float, float]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(256))
        offering = asyncio.ensure_future(offer(lambda index: asyncio.to_thread(ask, url, index), rate, _SECONDS))
        watching = asyncio.ensure_future(asyncio.to_thread(deepest, url, time.monotonic() + _SECONDS))
        await asyncio.sleep(_SECONDS)
        recovering = await asyncio.to_thread(seconds_until, url, texts[0], 3 * normal + 0.1)
        return await offering, await watching, recovering

    with server_process("--model", BUNDLED, "--max-queued-tokens", str(_QUEUE)) as server:
        normal = median(latency(server.url, texts[0]) or LONG for _ in range(20))
        saturation = saturated_rate(server.url, texts)
        outcome, queued, recovered = asyncio.run(overload(server.url, 2 * saturation))
        bound = (_QUEUE + _ROUND + _TOKENS) / (saturation * _TOKENS)
        waits = sorted(outcome.latencies)
        _log.info(
            f"{saturation:.0f} requests/s at most, {outcome.offered} offered at twice that: {len(waits)} accepted, "
            f"P50 {median(waits):.2f} s, P95 {waits[int(0.95 * len(waits))]:.2f} s where limits imply {bound:.2f} s; "
            f"{len(outcome.errors)} refused; {queued:.0f} tokens queued at most; normal latency {1e3 * normal:.0f} ms, "
            f"reached again after {recovered:.2f} s",
        )
        assert set(outcome.errors) == {"_RefusedError: "}, set(outcome.errors)
        assert len(waits) + len(outcome.errors) == outcome.offered
        assert len(outcome.errors) > 0.1 * outcome.offered
        assert len(waits) > 0.1 * outcome.offered
        assert queued <= _QUEUE
        assert waits[int(0.95 * len(waits))] < 3 * bound + 0.3
        assert recovered < 2
        assert eventually(lambda: metric(server.url, "akidb_queue_tokens") == 0)


def check_refusal(reply: Reply) -> None:
    assert reply.status == 429, reply.body
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.body["type"] == "overloaded"
    assert reply.body["retry_after"] == int(reply.headers["retry-after"])


def saturated_rate(url: str, texts: list[str], seconds: float = 2.0) -> float:
    """Requests a second that eight clients get answered, each asking again at once."""
    end = time.monotonic() + seconds

    def client(number: int) -> int:
        done = 0
        with Client(url) as connection:
            while time.monotonic() < end:
                done += connection.post("/embed", {"texts": [texts[number]]}).status == 200
        return done

    return sum(at_once(client, 8)) / seconds


def latency(url: str, text: str) -> float | None:
    """Seconds for one request; None where it is refused."""
    begin = time.monotonic()
    status = post(url, [text]).status
    return time.monotonic() - begin if status == 200 else None


def seconds_until(url: str, text: str, normal: float) -> float:
    """Seconds until a request is answered within ``normal``."""
    begin = time.monotonic()
    assert eventually(lambda: (latency(url, text) or LONG) <= normal)
    return time.monotonic() - begin


def deepest(url: str, end: float) -> float:
    """The most tokens that were seen to wait."""
    most = 0.0
    while time.monotonic() < end:
        most = max(most, metric(url, "akidb_queue_tokens"))
        time.sleep(0.05)
    return most


@pytest.fixture
def held(fake: FakeModel) -> Iterator[EmbeddingService]:
    """A model that stays within a forward pass until it is released."""
    with EmbeddingService(config=EmbeddingConfig(model_name=BUNDLED, max_queued_tokens=20)) as service:
        fake.hold()
        yield service
        fake.release()


def begun(server: Running, fake: FakeModel) -> None:
    """Ask for a text, and return when the model has it."""
    background(lambda: post(server.url, ["one"]))
    fake.entered()


def test_a_request_too_many_is_refused_over_both_protocols(held: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"model": held}, max_concurrent_requests=2) as server, stub(server.target) as calls:
        answers = [background(lambda: post(server.url, ["one"])) for _ in range(2)]
        assert server.handler
        handler = server.handler
        assert eventually(lambda: handler.in_flight == 2)
        reply = post(server.url, ["three"])
        check_refusal(reply)
        assert (reply.body["field"], reply.body["limit"]) == ("max_concurrent_requests", 2)
        with pytest.raises(grpc.RpcError) as caught:
            calls.Embed(pb.EmbedRequest(texts=["three"]), timeout=LONG)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(caught.value.trailing_metadata())["retry-after"] == "1"
        assert get(server.url, "/livez").status == 200
        fake.release()
        assert [answer.result(LONG).status for answer in answers] == [200, 200]
        assert post(server.url, ["four"]).status == 200


def test_a_full_queue_takes_no_more(held: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"model": held}) as server:
        begun(server, fake)
        waiting = background(lambda: post(server.url, ["two " * 15]))  # 17 of 20 tokens
        assert eventually(lambda: held.statistics.waiting_tokens == 17)
        reply = post(server.url, ["three " * 2])
        check_refusal(reply)
        assert "max_queued_tokens is 20" in reply.body["error"]
        fits = background(lambda: post(server.url, ["four"]))
        assert eventually(lambda: held.statistics.waiting_tokens == 20)
        fake.release()
        assert [waiting.result(LONG).status, fits.result(LONG).status] == [200, 200]


def test_requests_that_wait_long_let_no_others_in(held: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"model": held}, max_queue_seconds=0.2) as server:
        begun(server, fake)
        waiting = background(lambda: post(server.url, ["two"]))
        assert eventually(lambda: held.statistics.waiting_seconds > 0.2)
        reply = post(server.url, ["three"])
        check_refusal(reply)
        assert (reply.body["field"], reply.body["limit"]) == ("max_queue_seconds", 0.2)
        fake.release()
        assert waiting.result(LONG).status == 200
        assert eventually(lambda: post(server.url, ["four"]).status == 200)


@pytest.mark.long
def test_what_is_not_done_in_time_leaves_the_queue(held: EmbeddingService, fake: FakeModel) -> None:
    with server_here({"model": held}, request_seconds=0.3) as server, stub(server.target) as calls:
        begun(server, fake)
        reply = post(server.url, ["two"])
        assert (reply.status, reply.body["type"]) == (504, "deadline")
        with pytest.raises(grpc.RpcError) as caught:
            calls.Embed(pb.EmbedRequest(texts=["three"]), timeout=LONG)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.handler
        assert server.handler.in_flight == 0
        fake.release()
        assert eventually(lambda: held.statistics.waiting_tokens == 0)
        assert post(server.url, ["four"]).status == 200
        assert len(fake.rows) == 2  # "one" and "four": nobody waits for the others
