"""gRPC's server around its calls: time, overload, keys, TLS, health, the end. In this process, its model can wait."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from akidb_embeddings.errors import EmbeddingError
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.embedding_pb2_grpc import EmbeddingServiceStub
from akidb_embeddings.server.rpc.servicer import SERVICE
from akidb_embeddings.server.run import serve_until
from tests.conftest import LONG, FakeModel, background, eventually, service
from tests.server.calls import stub
from tests.server.conftest import Running, handler_of, server_here
from tests.server.test_rpc import CODE, refused

A = pb.EmbedRequest(texts=["a"])
STATES = health_pb2.HealthCheckResponse.ServingStatus


@contextlib.contextmanager
def serving(**settings: Any) -> Iterator[Running]:
    with service() as one, server_here({"minilm-l6-v2": one}, **settings) as running:
        yield running


@pytest.fixture
def held(fake: FakeModel) -> Iterator[FakeModel]:
    """The model, which stays inside its first forward pass until it is released."""
    fake.hold()
    yield fake
    fake.release()


def in_flight(running: Running) -> int:
    assert running.handler
    return running.handler.in_flight


def health_of(target: str, name: str = SERVICE) -> int:
    with grpc.insecure_channel(target) as channel:
        status: int = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name)).status
        return status


def test_a_cancelled_call_takes_its_texts_out_of_the_queue(held: FakeModel) -> None:
    with serving() as running, stub(running.target) as client:
        first = client.Embed.future(A)
        held.entered()
        second = client.Embed.future(pb.EmbedRequest(texts=["never computed"] * 50))
        assert eventually(lambda: in_flight(running) == 2)
        second.cancel()
        assert eventually(lambda: in_flight(running) == 1)
        held.release()
        assert first.result(LONG).dimension == 384
        client.Embed(A, timeout=LONG)
        assert len(held.rows) == 2


def test_a_clients_deadline_is_kept_and_what_waits_for_it_is_dropped(held: FakeModel) -> None:
    with serving() as running, stub(running.target) as client:
        first = client.Embed.future(A)
        held.entered()
        error = refused(lambda: client.Embed(pb.EmbedRequest(texts=["never computed"] * 50), timeout=0.3))
        assert error.code() is CODE.DEADLINE_EXCEEDED
        assert eventually(lambda: in_flight(running) == 1)
        held.release()
        assert first.result(LONG).dimension == 384
        client.Embed(A, timeout=LONG)
        assert len(held.rows) == 2


@pytest.mark.long
def test_the_servers_own_deadline_holds_where_the_clients_is_later(held: FakeModel) -> None:
    with serving(request_seconds=0.2) as running, stub(running.target) as client:
        for call in (lambda: client.Embed(A), lambda: client.Embed(A, timeout=LONG)):
            error = refused(call)
            assert error.code() is CODE.DEADLINE_EXCEEDED
            assert dict(error.trailing_metadata())["x-request-id"]  # it came from the server
        held.release()


def test_too_many_requests_are_told_when_to_come_back(held: FakeModel) -> None:
    with serving(max_concurrent_requests=1) as running, stub(running.target) as client:
        first = client.Embed.future(A)
        held.entered()
        error = refused(lambda: client.Embed(A))
        [answer] = client.EmbedStream(iter([A]))
        held.release()
        assert first.result(LONG).dimension == 384
    assert error.code() is CODE.RESOURCE_EXHAUSTED
    assert "max_concurrent_requests is 1" in error.details()
    assert dict(error.trailing_metadata())["retry-after"] == "1"
    told = answer.error
    assert (told.type, told.code, told.field, told.limit, told.retry_after) == (
        "overloaded", 8, "max_concurrent_requests", 1, 1
    )  # fmt: skip


def test_a_full_queue_is_told_when_to_come_back(held: FakeModel) -> None:
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(service(max_queued_tokens=10))
        client = stack.enter_context(stub(stack.enter_context(server_here({"minilm-l6-v2": one})).target))
        first = client.Embed.future(A)
        held.entered()
        second = client.Embed.future(pb.EmbedRequest(texts=["a b c d e f"]))
        assert eventually(lambda: one.statistics.waiting_tokens)
        error = refused(lambda: client.Embed(pb.EmbedRequest(texts=["a b c d e f"])))
        held.release()
        assert [call.result(LONG).dimension for call in (first, second)] == [384, 384]
    assert error.code() is CODE.RESOURCE_EXHAUSTED
    assert "max_queued_tokens is 10" in error.details()
    assert dict(error.trailing_metadata())["retry-after"] == "1"


@pytest.mark.long
def test_the_end_refuses_new_calls_and_finishes_those_in_flight(held: FakeModel) -> None:
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(service())
        server = server_here({"minilm-l6-v2": one})
        running = server.__enter__()
        client = stack.enter_context(stub(running.target))
        first = client.Embed.future(A)
        answers = client.EmbedStream(iter([A, A]))
        held.entered()
        assert eventually(lambda: in_flight(running) == 3)
        assert health_of(running.target) == STATES.SERVING
        ended = background(lambda: server.__exit__(None, None, None))
        assert eventually(lambda: running.handler and running.handler.draining)
        error = refused(lambda: client.Embed(A))
        assert (error.code(), error.details()) == (CODE.UNAVAILABLE, "The server is shutting down.")
        assert dict(error.trailing_metadata())["retry-after"] == "1"
        assert eventually(lambda: health_of(running.target) == STATES.NOT_SERVING, 5)
        assert not ended.done()
        held.release()
        assert first.result(LONG).dimension == 384
        assert [answer.response.dimension for answer in answers] == [384, 384]
        ended.result(LONG)
        assert refused(lambda: client.Embed(A, timeout=5)).code() in {CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED}


def test_what_is_not_done_in_time_is_told_so(held: FakeModel) -> None:
    with service() as one:
        with server_here({"minilm-l6-v2": one}, drain_seconds=0.2) as running:
            channel = grpc.insecure_channel(running.target)
            call = EmbeddingServiceStub(channel).Embed.future(A)
            held.entered()
        assert call.code() is CODE.UNAVAILABLE
        assert "shutting down" in call.details()
        channel.close()
        held.release()


@pytest.mark.long
def test_health_follows_the_model(fake: FakeModel) -> None:
    with serving() as running, stub(running.target) as client:
        assert {health_of(running.target, name) for name in ("", SERVICE)} == {STATES.SERVING}
        assert refused(lambda: health_of(running.target, "nobody")).code() is CODE.NOT_FOUND
        with grpc.insecure_channel(running.target) as channel:
            watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            assert next(watched).status == STATES.SERVING
            fake.faults[101] = RuntimeError("out of memory")  # the token that begins every text
            error = refused(lambda: client.Embed(A))
            assert error.code() is CODE.UNAVAILABLE
            assert "memory" not in error.details()
            assert next(watched).status == STATES.NOT_SERVING
            assert health_of(running.target, "") == STATES.NOT_SERVING
            fake.faults.clear()
            assert next(watched).status == STATES.SERVING
            fake.faults[101] = SystemExit()  # which ends the model's thread, each time it is restarted
            for _ in range(3):
                assert refused(lambda: client.Embed(A)).code() is CODE.UNAVAILABLE
            assert next(watched).status == STATES.NOT_SERVING
            assert refused(lambda: client.Embed(A)).code() is CODE.UNAVAILABLE


KEY = {"metadata": [("authorization", "Bearer s3cret")]}
BYTES = {"metadata": [("authorization", b"bearer s3cret")]}
CALLS: dict[str, Callable[[Any, Any], object]] = {
    "Embed": lambda channel, extra: EmbeddingServiceStub(channel).Embed(A, **extra),
    "EmbedStream": lambda channel, extra: list(EmbeddingServiceStub(channel).EmbedStream(iter([A]), **extra)),
    "no requests": lambda channel, extra: list(EmbeddingServiceStub(channel).EmbedStream(iter([]), **extra)),
    "Info": lambda channel, extra: EmbeddingServiceStub(channel).Info(pb.InfoRequest(), **extra),
}  # fmt: skip


def test_without_a_key_only_health_and_reflection_answer(fake: FakeModel) -> None:
    with serving(keys=ApiKeys(["other", "s3cret"])) as running, grpc.insecure_channel(running.target) as channel:
        for call in CALLS.values():
            for wrong in (
                {},
                {"metadata": [("authorization", "Bearer wrong")]},
                {"metadata": [("authorization", "s3cret")]},
            ):
                error = refused(lambda call=call, wrong=wrong: call(channel, wrong | {"timeout": 10}))  # type: ignore[misc]
                assert error.code() is CODE.UNAUTHENTICATED
                assert "Authorization: Bearer" in error.details()
            for right in (KEY, BYTES):
                call(channel, right | {"timeout": LONG})
        assert refused(lambda: channel.unary_unary(f"/{SERVICE}/Train")(b"")).code() is CODE.UNAUTHENTICATED
        assert health_of(running.target) == STATES.SERVING
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_a_stream_without_a_key_is_refused_before_its_first_message(fake: FakeModel) -> None:
    async def ask(target: str) -> Any:
        async with grpc.aio.insecure_channel(target) as channel:
            call = EmbeddingServiceStub(channel).EmbedStream()  # which writes nothing, and does not end
            return await asyncio.wait_for(call.code(), 10)

    with serving(keys=ApiKeys(["s3cret"])) as running:
        assert asyncio.run(ask(running.target)) is CODE.UNAUTHENTICATED


def test_health_may_be_protected(fake: FakeModel) -> None:
    with serving(keys=ApiKeys(["s3cret"]), protect_health=True) as running:
        assert refused(lambda: health_of(running.target)).code() is CODE.UNAUTHENTICATED
        with grpc.insecure_channel(running.target) as channel:
            assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), **KEY).status


def test_tls(fake: FakeModel, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    with serving(tls_certificate=str(certificate), tls_key=str(key)) as running:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(running.target, credentials) as channel:
            assert EmbeddingServiceStub(channel).Embed(A, timeout=LONG).dimension == 384
        with grpc.secure_channel(running.target, grpc.ssl_channel_credentials()) as channel:  # trusts others
            assert refused(lambda: EmbeddingServiceStub(channel).Embed(A, timeout=LONG)).code() is CODE.UNAVAILABLE
        with stub(running.target) as client:
            assert refused(lambda: client.Embed(A, timeout=LONG)).code() is CODE.UNAVAILABLE


def test_a_port_that_is_taken_is_named(fake: FakeModel) -> None:
    with service() as one, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = rf"^cannot listen on 127.0.0.1, port {port}, for gRPC: Address already"
        with (
            handler_of({"minilm-l6-v2": one}, port=0, grpc_port=port) as handler,
            pytest.raises(EmbeddingError, match=error),
        ):
            asyncio.run(serve_until(handler, ApiKeys([]), lambda _: None, asyncio.Event()))
