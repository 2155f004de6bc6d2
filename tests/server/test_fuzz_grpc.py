"""Whatever a client sends over gRPC, the answer is a clean status, and the server lives on with nothing to explain."""

import contextlib
import math
import random
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.rpc.servicer import SERVICE
from tests.conftest import LONG
from tests.server.calls import stub
from tests.server.conftest import Running
from tests.server.test_rpc import CODE, unpacked

pytestmark = pytest.mark.long

CLEAN = {CODE.OK, CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.RESOURCE_EXHAUSTED}
FEW = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
WHOLE = pb.EmbedRequest(
    texts=["one", "two"], model="minilm-l6-v2", pooling="cls", normalize=False, prompt="query", dimensions=384,
    truncate="end", embeddings=[pb.Vector(), pb.Vector(values=[1.0] * 384)], request_id="id", precision="int8",
    keep_alive=-1.5,
).SerializeToString()  # fmt: skip


@pytest.fixture(autouse=True)
def _lives_on(server: Running) -> Iterator[None]:
    """The server answers afterwards, and its log has no failure."""
    before = len(server.lines)
    yield
    with stub(server.target) as client:
        assert client.Embed(pb.EmbedRequest(texts=["alive"]), timeout=LONG).dimension == 384
    assert not [line for line in server.lines[before:] if "Traceback" in line or '"level": "error"' in line]


def noise(seed: int) -> bytes:
    """Random bytes; or a message with some of its bytes changed, doubled, or missing."""
    dice = random.Random(seed)
    if seed % 3 == 0:
        return dice.randbytes(dice.choice([0, 1, 2, 10, 100, 10_000]))
    return changed(WHOLE, dice)


def changed(whole: bytes, dice: random.Random) -> bytes:
    """A message with some of its bytes changed, doubled, or missing."""
    message = bytearray(whole)
    for _ in range(dice.randint(1, 8)):
        place = dice.randrange(len(message))
        match dice.randrange(3):
            case 0:
                message[place] = dice.randrange(256)
            case 1:
                message[place:place] = message[place : place + dice.randrange(20)]
            case 2:
                del message[place]
    return bytes(message)


@pytest.mark.parametrize("method", ["Embed", "Info"])
def test_noise_in_place_of_a_message(server: Running, method: str) -> None:
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(f"/{SERVICE}/{method}")
        found = [status(call.future(noise(seed), timeout=LONG)) for seed in range(300)]
    assert set(found) <= CLEAN
    assert {CODE.OK, CODE.INVALID_ARGUMENT} <= set(found)


def test_noise_in_a_stream_is_answered_piece_by_piece(server: Running) -> None:
    messages = [noise(seed) for seed in range(300)]
    with grpc.insecure_channel(server.target) as channel:
        call = channel.stream_stream(f"/{SERVICE}/EmbedStream", response_deserializer=pb.EmbedStreamResponse.FromString)
        answers = list(call(iter(messages), timeout=LONG))
    assert len(answers) == len(messages)
    assert {answer.WhichOneof("result") for answer in answers} == {"response", "error"}
    assert {answer.error.type for answer in answers if answer.HasField("error")} <= {
        "malformed",
        "invalid",
        "not_found",
    }


def test_calls_that_are_of_another_kind_than_their_method(server: Running) -> None:
    """One message where many are read, and none or many where one is."""
    with grpc.insecure_channel(server.target) as channel:
        assert status(channel.unary_unary(f"/{SERVICE}/EmbedStream").future(WHOLE, timeout=LONG)) is CODE.OK
        embed = channel.stream_unary(f"/{SERVICE}/Embed")
        assert status(embed.future(iter([WHOLE] * 3), timeout=LONG)) is CODE.OK
        # grpcio sends no status where nothing is asked: such a client waits until its own time is up.
        assert status(embed.future(iter([]), timeout=0.5)) in {CODE.DEADLINE_EXCEEDED, CODE.CANCELLED}
        for name in ("", "/", "//", f"/{SERVICE}/", f"/{SERVICE}/embed", "/a/b/c", "/" + "x" * 5000):
            assert status(channel.unary_unary(name or "/").future(b"", timeout=LONG)) is CODE.UNIMPLEMENTED


words = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(["", "mean", "end", "error", "query", "minilm-l6-v2", "float16", "int8", "binary"]),
)
numbers = st.one_of(st.floats(width=32), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 3e38, 1e-45]))
vectors: st.SearchStrategy[list[float]] = st.one_of(
    st.just([]),
    st.lists(numbers, max_size=3),
    st.tuples(numbers, numbers).map(lambda pair: [pair[0], *[pair[1]] * 383]),
    st.just([1.0] * 384),
)
texts = st.one_of(
    st.text(max_size=50),
    st.text(alphabet="\x00\u200b\ufeff\u202e\ud7ff\U0010ffffa \n", max_size=30),
    st.sampled_from(["word " * 2000, "\U0001f600" * 3000, "\x00" * 5000, "a" * 20_000]),
)


@FEW
@given(
    texts=st.lists(texts, max_size=4),
    options=st.fixed_dictionaries(
        dict.fromkeys(("model", "pooling", "prompt", "truncate", "precision"), words),
        optional=dict.fromkeys(("prompt_name", "prompt_text", "task", "input_type"), words),
    ),
    normalize=st.sampled_from([None, True, False]),
    dimensions=st.sampled_from([None, None, 0, 1, 383, 384, 385, 2**31, 2**32 - 1]),
    embeddings=st.lists(vectors, max_size=4),
    identity=st.text(max_size=80),
)
def test_any_values_of_the_fields(
    server: Running,
    texts: list[str],
    options: dict[str, str | None],
    normalize: bool | None,
    dimensions: int | None,
    embeddings: list[list[float]],
    identity: str,
) -> None:
    check(server, texts, embeddings, **options, normalize=normalize, dimensions=dimensions, request_id=identity)


@FEW
@given(
    given_vectors=st.lists(vectors, min_size=1, max_size=3),
    normalize=st.booleans(),
    precision=st.sampled_from([None, "float16", "int8", "ubinary"]),
)
def test_any_numbers_in_given_vectors(
    server: Running, given_vectors: list[list[float]], normalize: bool, precision: str | None
) -> None:
    check(server, ["a"] * len(given_vectors), given_vectors, normalize=normalize, precision=precision)


@pytest.mark.parametrize(
    "texts",
    [[""] * 700, ["a"] * 2049, ["x" * 5_000_000], ["word " * 100_000], [" " * 1_000_000], ["\U0001f600" * 1_000_000]],
    ids=["many", "too many", "a long word", "a long text", "blanks", "symbols"],
)
def test_huge_texts_and_many(server: Running, texts: list[str]) -> None:
    check(server, texts, [])


def check(server: Running, texts: list[str], embeddings: list[list[float]], **options: Any) -> None:
    """Fail unless the answer is a clean refusal, or has one finite vector a text."""
    request = pb.EmbedRequest(texts=texts, embeddings=[pb.Vector(values=values) for values in embeddings], **options)
    with stub(server.target) as client:
        call = client.Embed.future(request, timeout=LONG)
        code = status(call)
        assert code in CLEAN, call.details()
        if code is not CODE.OK:
            assert call.details()
            return
        answer = call.result()
        rows = unpacked(answer)
        assert len(rows) == len(answer.truncated) == len(texts)
        assert np.isfinite(rows).all()


def status(call: Any) -> grpc.StatusCode:
    """The call's end."""
    with contextlib.suppress(grpc.RpcError):
        call.result()
    return call.code()
