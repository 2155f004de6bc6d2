"""gRPC's stream: order, refusals in between, how far the server reads ahead, and what is left of a client that went."""

import asyncio
import itertools
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.embedding_pb2_grpc import EmbeddingServiceStub
from akidb_embeddings.server.rpc.servicer import SERVICE
from tests.conftest import LONG, REPOSITORY, FakeModel, eventually, service
from tests.server.calls import stub
from tests.server.conftest import Running, server_here
from tests.server.test_rpc import CODE, refused, unpacked

DEPTH = 8  # of one stream's requests are worked on at once


@pytest.fixture
def held(fake: FakeModel) -> Iterator[Running]:
    """A server whose model stays inside its first forward pass until it is released."""
    with service() as one, server_here({"minilm-l6-v2": one}) as running:
        fake.hold()
        yield running
        fake.release()


def asks(*texts: str) -> list[pb.EmbedRequest]:
    return [pb.EmbedRequest(texts=[text], request_id=f"n{number}") for number, text in enumerate(texts)]


def nothing_is_left(running: Running) -> bool:
    """Whether no request is worked on, and nothing runs for a call. The queue forgets cancelled ones by itself."""
    assert running.handler
    assert running.loop
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks(running.loop)]
    return not running.handler.in_flight and not [name for name in names if "Servicer" in name]


def is_full(running: Running) -> bool:
    assert running.handler
    return running.handler.in_flight == DEPTH


def test_answers_come_in_the_order_of_the_requests(server: Running, bundled: EmbeddingService) -> None:
    # Long ones in between, which take longer than those behind them.
    texts = [f"text {number} " + "word " * (100 if number % 5 == 0 else 1) for number in range(20)]
    with stub(server.target) as client:
        answers = list(client.EmbedStream(iter(asks(*texts))))
    assert [answer.response.request_id for answer in answers] == [f"n{number}" for number in range(20)]
    vectors = np.concatenate([unpacked(answer.response) for answer in answers])
    np.testing.assert_allclose(vectors, bundled.embed(texts), atol=1e-6)


def test_a_refused_request_does_not_end_the_stream(server: Running) -> None:
    requests = asks("a", "b", "c", "d")
    requests[1].pooling, requests[2].model = "max", "gpt-5"
    with grpc.insecure_channel(server.target) as channel:
        call = channel.stream_stream(f"/{SERVICE}/EmbedStream", response_deserializer=pb.EmbedStreamResponse.FromString)
        messages = [request.SerializeToString() for request in requests]
        answers = list(call(iter([*messages[:3], b"\x0a\x02\xff\xfe", messages[3]])))
    assert [answer.WhichOneof("result") for answer in answers] == ["response", "error", "error", "error", "response"]
    invalid, missing, malformed = [answer.error for answer in answers[1:4]]
    assert (invalid.type, invalid.code, invalid.field, invalid.request_id) == ("invalid", 3, "pooling", "n1")
    assert (missing.type, missing.code, missing.field, missing.request_id) == ("not_found", 5, "model", "n2")
    assert (malformed.type, malformed.code) == ("malformed", 3)
    assert "minilm-l6-v2" in missing.message


def test_a_stream_without_requests_ends_well(server: Running) -> None:
    with stub(server.target) as client:
        assert list(client.EmbedStream(iter([]))) == []


async def test_a_client_may_ask_when_it_has_the_answer_to_the_last(server: Running) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        call = EmbeddingServiceStub(channel).EmbedStream()
        for request in asks("a", "b", "c"):
            await call.write(request)
            answer = await asyncio.wait_for(call.read(), LONG)
            assert answer.response.request_id == request.request_id
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is CODE.OK


def test_eight_requests_are_worked_on_at_once(held: Running, fake: FakeModel) -> None:
    assert held.handler
    with stub(held.target) as client:
        answers = client.EmbedStream(iter(asks(*"abcdefghijklmnopqrstuvwxyz")))
        assert eventually(lambda: is_full(held))
        time.sleep(0.2)
        assert held.handler.in_flight == DEPTH
        fake.release()
        assert [answer.response.request_id for answer in answers] == [f"n{number}" for number in range(26)]
    assert eventually(lambda: nothing_is_left(held))


def test_a_client_that_cancels_leaves_nothing_running(held: Running, fake: FakeModel) -> None:
    with stub(held.target) as client:
        call = client.EmbedStream(itertools.chain(asks(*"abcdefgh"), forever()))
        assert eventually(lambda: is_full(held))
        fake.entered()
        call.cancel()
        assert eventually(lambda: nothing_is_left(held), 5)
    computed = len(fake.rows)
    fake.release()
    with stub(held.target) as client:
        client.Embed(pb.EmbedRequest(texts=["still there"]), timeout=LONG)
    assert len(fake.rows) == computed + 1  # what waited was never computed


@pytest.mark.long
def test_a_client_that_does_not_read_is_waited_for_and_may_cancel_then(fake: FakeModel) -> None:
    large = pb.EmbedRequest(texts=["a"] * 1000)  # whose answer has 1.5 MB
    with service() as one, server_here({"minilm-l6-v2": one}) as running, stub(running.target) as client:
        call = client.EmbedStream(itertools.repeat(large, 200))
        assert eventually(lambda: one.statistics.texts and is_at_rest(one))
        assert one.statistics.texts < 100_000
        call.cancel()
        assert eventually(lambda: nothing_is_left(running), 5)
        assert client.Embed(pb.EmbedRequest(texts=["a"]), timeout=LONG).dimension == 384


def test_a_deadline_ends_the_stream_and_what_waits_for_it(held: Running, fake: FakeModel) -> None:
    with stub(held.target) as client:
        call = client.EmbedStream(itertools.chain(asks(*"abc"), forever()), timeout=0.5)
        assert refused(lambda: list(call)).code() is CODE.DEADLINE_EXCEEDED
    assert eventually(lambda: nothing_is_left(held), 5)


def test_a_client_whose_process_dies_leaves_nothing_running(held: Running, fake: FakeModel) -> None:
    code = """
import sys, time, grpc
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.embedding_pb2_grpc import EmbeddingServiceStub
def asks():
    yield from [pb.EmbedRequest(texts=["a"])] * 20
    time.sleep(60)
list(EmbeddingServiceStub(grpc.insecure_channel(sys.argv[1])).EmbedStream(asks()))
"""
    with subprocess.Popen([sys.executable, "-c", code, held.target], cwd=REPOSITORY) as process:
        try:
            assert eventually(lambda: is_full(held))
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert eventually(lambda: nothing_is_left(held), 10)


def test_a_model_that_fails_answers_with_errors_and_the_stream_goes_on(fake: FakeModel) -> None:
    questions: queue.Queue[pb.EmbedRequest | None] = queue.Queue()
    with service() as one, server_here({"minilm-l6-v2": one}) as running, stub(running.target) as client:
        answers = client.EmbedStream(iter(questions.get, None))
        fake.faults[101] = RuntimeError("out of memory")  # the token that begins every text
        questions.put(asks("a")[0])
        error = next(answers).error
        fake.faults.clear()
        questions.put(asks("a")[0])
        assert next(answers).response.dimension == 384
        questions.put(None)
        assert list(answers) == []
    assert (error.type, error.code, error.retry_after, error.request_id) == ("unavailable", 14, 1, "n0")
    assert "memory" not in error.message


@pytest.mark.long
def test_streams_that_stay_open_do_not_keep_the_server_from_ending(fake: FakeModel) -> None:
    with service() as one:
        with server_here({"minilm-l6-v2": one}) as running:
            channel = grpc.insecure_channel(running.target)
            answers = EmbeddingServiceStub(channel).EmbedStream(itertools.chain(asks("a"), forever()))
            assert next(answers).response.dimension == 384
            begin = time.monotonic()
        assert time.monotonic() - begin < 5
        assert refused(lambda: next(answers)).code() in {CODE.CANCELLED, CODE.UNAVAILABLE}
        channel.close()


async def test_many_aio_streams_side_by_side_stay_in_order(server: Running) -> None:
    async def requests(stream: int) -> AsyncIterator[pb.EmbedRequest]:
        for number in range(10):
            yield pb.EmbedRequest(texts=[f"{stream} {number}"], request_id=f"s{stream}-{number}")

    async with grpc.aio.insecure_channel(server.target) as channel:
        client = EmbeddingServiceStub(channel)

        async def ids(stream: int) -> list[str]:
            return [answer.response.request_id async for answer in client.EmbedStream(requests(stream))]

        found = await asyncio.gather(*map(ids, range(8)))
    assert found == [[f"s{stream}-{number}" for number in range(10)] for stream in range(8)]


def forever() -> Iterator[pb.EmbedRequest]:
    """No further request, and no end of them for a while."""
    time.sleep(2)
    yield from ()


def is_at_rest(one: EmbeddingService) -> bool:
    before = one.statistics.texts
    time.sleep(0.3)
    return one.statistics.texts == before
