"""gRPC's single calls with the real client, in this process and in others, on a real server."""

import asyncio
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from akidb_embeddings import EmbeddingService
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.embedding_pb2_grpc import EmbeddingServiceStub
from akidb_embeddings.server.rpc.servicer import SERVICE
from tests.conftest import run_python
from tests.server.calls import stub
from tests.server.conftest import Running

TEXTS = ["Hello world", "Bonjour le monde", "", "line\nbreak \U0001f600", "word " * 700]
CODE = grpc.StatusCode


TYPES = {"float32": "<f4", "float16": "<f2", "int8": "i1", "binary": "i1", "ubinary": "u1"}


def unpacked(response: pb.EmbedResponse) -> NDArray[Any]:
    """The rows, as a client in Python reads them."""
    width = -(-response.dimension // 8) if response.precision in ("binary", "ubinary") else response.dimension
    rows = np.frombuffer(response.vectors, dtype=TYPES[response.precision])
    return rows.reshape(len(response.token_counts), width)


def refused(call: Callable[[], object]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        ({}, None),
        ({"pooling": "auto"}, None),
        ({"pooling": "mean"}, None),
        ({"pooling": "cls"}, None),
        ({"pooling": "last"}, None),
        ({"normalize": True}, None),
        ({"normalize": False}, None),
        ({"dimensions": 64}, None),
        ({"dimensions": 1}, None),
        ({"truncate": "end"}, "query"),
        ({"pooling": "cls", "normalize": False, "dimensions": 100}, "document"),
    ],
)
def test_packed_vectors_are_the_cores_to_the_last_bit(
    server: Running, bundled: EmbeddingService, options: dict[str, Any], prompt: str | None
) -> None:
    with bundled.with_options(**options) as core:
        expected = core.encode(TEXTS, prompt_name=prompt)
    with stub(server.target) as client:
        response = client.Embed(pb.EmbedRequest(texts=TEXTS, prompt=prompt, **options))
    np.testing.assert_array_equal(unpacked(response), expected.vectors)
    assert list(response.token_counts) == expected.token_counts
    assert list(response.truncated) == expected.truncated == [False, False, False, False, True]
    assert response.fingerprint == expected.fingerprint
    assert response.model == "minilm-l6-v2"
    assert response.timings.total >= response.timings.compute > 0


def test_given_vectors_stand_between_computed_ones(server: Running, bundled: EmbeddingService) -> None:
    given = np.random.default_rng(0).normal(size=384).astype(np.float32)
    vectors = [pb.Vector(), pb.Vector(values=given.tolist()), pb.Vector()]
    with stub(server.target) as client:
        answer = client.Embed(pb.EmbedRequest(texts=["a cat", "mine", "a dog"], embeddings=vectors))
        raw = client.Embed(pb.EmbedRequest(texts=["a cat", "mine", "a dog"], embeddings=vectors, normalize=False))
    computed = bundled.embed(["a cat", "a dog"])
    np.testing.assert_array_equal(unpacked(answer), [computed[0], bundled.accept([given])[0], computed[1]])
    np.testing.assert_array_equal(unpacked(raw)[1], given)
    assert answer.token_counts[1] == 0
    assert list(answer.token_counts) == list(raw.token_counts) == [4, 0, 4]


def test_no_texts_give_no_vectors_of_the_models_dimension(server: Running) -> None:
    with stub(server.target) as client:
        response = client.Embed(pb.EmbedRequest())
    assert (response.vectors, response.dimension, list(response.token_counts)) == (b"", 384, [])


def test_info_is_rests(server: Running) -> None:
    with stub(server.target) as client:
        info = client.Info(pb.InfoRequest())
    with urllib.request.urlopen(f"{server.url}/info") as answer:
        rest = json.load(answer)
    fields = [field.name for field in pb.Model.DESCRIPTOR.fields]
    models = [{name: getattr(model, name) for name in fields} for model in info.models]
    listed = [{**model, "prompts": list(model["prompts"])} for model in models]
    fields = [field.name for field in pb.Reranker.DESCRIPTOR.fields]
    rerankers = [{name: getattr(one, name) for name in fields} for one in info.rerankers]
    assert not [one for one in info.rerankers if one.HasField("instruction")]
    rerankers = [{**one, "instruction": None} for one in rerankers]
    found = {"models": listed, "rerankers": rerankers}
    told = {"version": info.version, "limits": dict(info.limits), **found}
    assert told == {name: value for name, value in rest.items() if name in told}  # it has TEI's fields besides


def test_a_fit_request_id_comes_back_and_another_is_replaced(server: Running) -> None:
    with stub(server.target) as client:
        assert client.Embed(pb.EmbedRequest(texts=["a"], request_id="mine-1")).request_id == "mine-1"
        made = [
            client.Embed(pb.EmbedRequest(texts=["a"], request_id=name)).request_id for name in ("", "no good", "x" * 65)
        ]
        error = refused(lambda: client.Embed(pb.EmbedRequest(pooling="max", request_id="mine-2")))
    assert len({*made, "", "no good", "x" * 65}) == 6
    assert dict(error.trailing_metadata())["x-request-id"] == "mine-2"


REFUSED = {
    "an unknown model": (pb.EmbedRequest(model="gpt-5"), CODE.NOT_FOUND, ["'gpt-5'", "minilm-l6-v2"]),
    "an empty model": (pb.EmbedRequest(model=""), CODE.NOT_FOUND, ["''", "minilm-l6-v2"]),
    "pooling": (pb.EmbedRequest(pooling="max"), CODE.INVALID_ARGUMENT, ["pooling", "'mean', 'cls', 'last'"]),
    "truncate": (pb.EmbedRequest(truncate="start"), CODE.INVALID_ARGUMENT, ["truncate", "'end', 'error'"]),
    "dimensions of 0": (pb.EmbedRequest(dimensions=0), CODE.INVALID_ARGUMENT, ["dimensions", "0", "at least 1"]),
    "dimensions beyond the model's": (pb.EmbedRequest(dimensions=385), CODE.INVALID_ARGUMENT, ["dimensions", "384"]),
    "most dimensions": (pb.EmbedRequest(dimensions=2**32 - 1), CODE.INVALID_ARGUMENT, ["dimensions", "384"]),
    "an unknown prompt": (pb.EmbedRequest(prompt="poem"), CODE.INVALID_ARGUMENT, ["'poem'", "'document', 'query'"]),
    "too many texts": (pb.EmbedRequest(texts=["a"] * 2049), CODE.INVALID_ARGUMENT, ["2049", "2048"]),
    "a text that is too long": (
        pb.EmbedRequest(texts=["a", "word " * 700], truncate="error"),
        CODE.INVALID_ARGUMENT,
        ["texts[1]", "702", "the limit is"],
    ),
    "too few vectors": (
        pb.EmbedRequest(texts=["a", "b"], embeddings=[pb.Vector()]),
        CODE.INVALID_ARGUMENT,
        ["1 embeddings", "2 texts"],
    ),
    "a vector of another length": (
        pb.EmbedRequest(texts=["a", "b"], embeddings=[pb.Vector(), pb.Vector(values=[1.0])]),
        CODE.INVALID_ARGUMENT,
        ["embeddings[1]", "384"],
    ),
    "a vector with NaN": (
        pb.EmbedRequest(texts=["a"], embeddings=[pb.Vector(values=[float("nan")] * 384)]),
        CODE.INVALID_ARGUMENT,
        ["embeddings[0]", "NaN"],
    ),
    "a vector with infinity": (
        pb.EmbedRequest(texts=["a"], embeddings=[pb.Vector(values=[float("-inf")] * 384)]),
        CODE.INVALID_ARGUMENT,
        ["embeddings[0]", "infinity"],
    ),
    "a vector of zeros": (
        pb.EmbedRequest(texts=["a"], embeddings=[pb.Vector(values=[0.0] * 384)]),
        CODE.INVALID_ARGUMENT,
        ["embeddings[0]", "zero"],
    ),
    # A status travels in a header, and clients take 8 kB of headers: they must see this one, and not that.
    "a very long value": (
        pb.EmbedRequest(pooling="\U0001f600" * 100_000),
        CODE.INVALID_ARGUMENT,
        ["pooling", "'last'"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_the_fitting_status_and_says_what_is_allowed(server: Running, case: str) -> None:
    request, code, words = REFUSED[case]
    with stub(server.target) as client:
        error = refused(lambda: client.Embed(request))
    assert error.code() is code, error.details()
    assert all(word in error.details() for word in words), error.details()
    assert dict(error.trailing_metadata())["x-request-id"]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Embed", b"\x0a\x02\xff\xfe"),
        ("Embed", b"\xff\xff\xff"),
        ("Embed", b"\x0a\x7fshort"),
        ("Info", b"\xff\xff\xff"),
    ],
    ids=["invalid UTF-8", "no message", "a message cut short", "no message for Info"],
)
def test_a_malformed_message_is_the_clients_fault(server: Running, method: str, message: bytes) -> None:
    before = len(server.lines)
    with grpc.insecure_channel(server.target) as channel:
        error = refused(lambda: channel.unary_unary(f"/{SERVICE}/{method}")(message))
    assert error.code() is CODE.INVALID_ARGUMENT
    assert "is not a akidb.embedding.v1." in error.details()
    assert not [line for line in server.lines[before:] if "Traceback" in line]


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_that_is_too_large_is_refused_even_if_it_travels_small(
    server: Running, compression: grpc.Compression
) -> None:
    request = pb.EmbedRequest(texts=["a" * 20_000_000])
    with stub(server.target) as client:
        error = refused(lambda: client.Embed(request, compression=compression))
        assert client.Embed(pb.EmbedRequest(texts=["a"]), compression=compression).dimension == 384
    assert error.code() is CODE.RESOURCE_EXHAUSTED
    assert "larger than max" in error.details()


def test_a_method_that_is_not_there_is_unimplemented(server: Running) -> None:
    with grpc.insecure_channel(server.target) as channel:
        error = refused(lambda: channel.unary_unary(f"/{SERVICE}/Train")(b""))
    assert error.code() is CODE.UNIMPLEMENTED


@pytest.mark.long
async def test_clients_at_once_get_each_their_own_vectors(server: Running, bundled: EmbeddingService) -> None:
    texts = [[f"text {client} of many", f"and {client + 1}"][: 1 + client % 2] for client in range(24)]
    async with grpc.aio.insecure_channel(server.target) as channel:
        service = EmbeddingServiceStub(channel)
        answers = await asyncio.gather(*[service.Embed(pb.EmbedRequest(texts=some)) for some in texts])
    for some, answer in zip(texts, answers, strict=True):
        np.testing.assert_allclose(unpacked(answer), bundled.embed(some), atol=1e-6)


def test_a_client_in_another_process_gets_the_same_bits(server: Running, bundled: EmbeddingService) -> None:
    code = """
import sys, grpc
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.embedding_pb2_grpc import EmbeddingServiceStub
with grpc.insecure_channel(sys.argv[1]) as channel:
    print(EmbeddingServiceStub(channel).Embed(pb.EmbedRequest(texts=sys.argv[2:]), timeout=20).vectors.hex())
assert not {"mlx.core", "fastapi"} & set(sys.modules), "a client needs neither"
"""
    printed = run_python(code, server.target, *TEXTS[:2]).strip()
    assert printed == bundled.embed(TEXTS[:2]).astype("<f4").tobytes().hex()


def test_a_client_without_our_code_finds_its_way_by_reflection(server: Running, bundled: EmbeddingService) -> None:
    code = """
import sys, grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
with grpc.insecure_channel(sys.argv[1]) as channel:
    database = ProtoReflectionDescriptorDatabase(channel)
    print(sorted(database.get_services()))
    method = DescriptorPool(database).FindServiceByName(sys.argv[2]).FindMethodByName("Embed")
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(f"/{sys.argv[2]}/Embed", request.SerializeToString, response.FromString)
    print(call(request(texts=sys.argv[3:])).vectors.hex())
"""
    services, vectors = run_python(code, server.target, SERVICE, *TEXTS[:2]).splitlines()
    assert services == str([SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"])
    assert vectors == bundled.embed(TEXTS[:2]).astype("<f4").tobytes().hex()
