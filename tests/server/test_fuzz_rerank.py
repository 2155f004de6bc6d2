"""``test_fuzz_json`` and ``test_fuzz_grpc`` for scores: clean refusals or right answers, and a server that lives on."""

import json
import random
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.rpc.servicer import SERVICE
from tests.conftest import LONG, background
from tests.server.calls import get as quick_get
from tests.server.calls import stub
from tests.server.conftest import RERANKER, Running
from tests.server.rest_client import COHERE, client, refused
from tests.server.test_fuzz_grpc import CLEAN, changed, status
from tests.server.test_fuzz_json import BODIES, DEEP, anything, text
from tests.server.test_rpc import CODE

pytestmark = pytest.mark.long

PATHS = ("/rerank", *COHERE)
NAMES = ("query", "texts", "documents", "model", "raw_scores", "return_text", "truncate", "truncation_direction",
         "top_n", "return_documents", "max_tokens_per_doc", "priority", "instruction", "max_over_passages",
         "rank_fields", "relevant_spans", "", "query\x00", "__class__")  # fmt: skip
FEW = settings(
    max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
WHOLE = pb.RerankRequest(
    query="one", texts=["two", "three"], model=RERANKER, top_k=2, activation="sigmoid", max_over_passages=True,
    truncate="end", request_id="id",
).SerializeToString()  # fmt: skip


@pytest.fixture(scope="module")
def connection(server: Running) -> Iterator[httpx.Client]:
    with client(server) as made:
        yield made


@pytest.fixture(autouse=True)
def _lives_on(server: Running) -> Iterator[None]:
    """The server answers afterwards, and its log has no failure."""
    before = len(server.lines)
    yield
    with stub(server.target) as calls:
        assert len(calls.Rerank(pb.RerankRequest(query="still", texts=["alive"]), timeout=LONG).scores) == 1
    assert not [line for line in server.lines[before:] if "Traceback" in line or '"level": "error"' in line]


def check(response: httpx.Response) -> None:
    """A refusal in our form, or finite scores, the best first, of different texts."""
    body = response.json()
    if response.status_code != 200:
        assert response.status_code in (400, 404, 413, 422), response.text
        refused(response, response.status_code, body["type"], body.get("field"))
        return
    asked = json.loads(response.request.content)
    listed = body if isinstance(body, list) else body["results"]
    scores = np.array([one["score" if isinstance(body, list) else "relevance_score"] for one in listed])
    indices = [one["index"] for one in listed]
    texts = asked.get("texts", asked.get("documents"))
    assert len(set(indices)) == len(indices) == min(len(texts), asked.get("top_n") or len(texts))
    assert set(indices) <= set(range(len(texts)))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) <= 0).all()
    if not asked.get("raw_scores"):
        assert ((scores >= 0) & (scores <= 1)).all()


STRANGE: dict[str, bytes] = {
    "deep documents": b'{"query": "a", "texts": %s, "documents": %s}' % ((b"[" * DEEP + b"]" * DEEP,) * 2),
    "deep objects": b'{"query": "a", "documents": [' + b'{"text":' * DEEP,
    "invalid UTF-8": b'{"query": "\xff", "texts": ["a"], "documents": ["a"]}',
    "a lone surrogate as query": b'{"query": "\\ud800", "texts": ["a"], "documents": ["a"]}',
    "a lone surrogate in an object": b'{"query": "a", "documents": [{"text": "\\ud800"}]}',
    "a lone surrogate as name": b'{"query": "a", "documents": [{"text": "b", "\\ud800": "\\ud800"}]}',
    "NaN": b'{"query": NaN, "texts": [NaN], "documents": [NaN]}',
    "top_n of 10,000 digits": b'{"query": "a", "documents": ["a"], "top_n": ' + b"9" * 10_000 + b"}",
    "top_n as a fraction": b'{"query": "a", "documents": ["a"], "top_n": 1e-5}',
    "a long instruction": b'{"query": "a", "documents": ["a"], "instruction": "' + b"x" * 100_000 + b'"}',
    "many numbers": b'{"query": "a", "texts": [%s1], "documents": [%s1]}' % ((b"1," * 300_000,) * 2),
    "many objects": b'{"query": "a", "texts": [%s{}], "documents": [%s{}]}' % ((b"{}," * 300_000,) * 2),
    "many names": b'{"query": "a", "documents": [{%s}]}' % b",".join(b'"%d":0' % number for number in range(200_000)),
    "many empty texts": b'{"query": "a", "texts": [%s""], "documents": [%s""]}' % ((b'"",' * 300_000,) * 2),
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body", [*BODIES.values(), *STRANGE.values()], ids=[*BODIES, *(f"{name}, too" for name in STRANGE)]
)
def test_a_strange_body_is_refused(connection: httpx.Client, path: str, body: bytes) -> None:
    response = connection.post(path, content=body)
    assert response.status_code in (400, 404, 422), response.text[:500]
    check(response)
    assert response.elapsed.total_seconds() < 5


@pytest.mark.parametrize("path", PATHS)
def test_strange_texts_have_scores(connection: httpx.Client, path: str) -> None:
    texts = ["", " ", "\x00", "\x7f", "\u200b", "\ufeff", "\U0010ffff", "\ufffe", "a\u0301" * 50, "\r\n", "🏳️‍🌈" * 100]
    for query in texts:
        response = connection.post(path, json={"query": query, "texts" if path == "/rerank" else "documents": texts})
        assert response.status_code == 200, response.text
        check(response)


flag = st.sampled_from([True, False, None])
tei = st.fixed_dictionaries(
    {"query": text, "texts": st.lists(text, max_size=4)},
    optional={
        "raw_scores": flag,
        "return_text": flag,
        "truncate": flag,
        "truncation_direction": st.sampled_from(["left", "right", "Right", None]),
        "model": st.sampled_from([RERANKER, "minilm-l6-v2", None]),
    },
)
cohere = st.fixed_dictionaries(
    {"query": text, "documents": st.lists(text | text.map(lambda one: {"text": one}), max_size=4)},
    optional={
        "model": st.sampled_from([RERANKER, "minilm-l6-v2", None]),
        "top_n": st.none() | st.integers(-1, 6) | st.integers(),
        "return_documents": flag,
        "max_tokens_per_doc": st.none() | st.integers(),
        "priority": st.none() | st.integers(),
        "raw_scores": flag,
        "truncate": st.sampled_from(["end", "error", None]),
        "instruction": st.none() | text,
        "max_over_passages": flag,
    },
)
wrong = st.dictionaries(st.sampled_from(NAMES) | text, anything, max_size=2)


@FEW
@given(
    call=tei.map(lambda body: ("/rerank", body)) | st.tuples(st.sampled_from(COHERE), cohere), noise=wrong | st.just({})
)
def test_any_json_is_answered_rightly_or_refused(
    connection: httpx.Client, call: tuple[str, dict[str, Any]], noise: dict[str, Any]
) -> None:
    path, body = call
    check(connection.post(path, content=json.dumps(body | noise).encode("utf-8", "surrogatepass")))


@FEW
@given(path=st.sampled_from(PATHS), place=st.integers(0, 110), length=st.integers(0, 6), noise=st.binary(max_size=6))
def test_a_body_with_bytes_changed_is_answered_or_refused(
    connection: httpx.Client, path: str, place: int, length: int, noise: bytes
) -> None:
    content = b'{"query": "Hello", "texts": ["\\u00fcber", "Hello"], "raw_scores": true, "truncate": false}'
    if path != "/rerank":
        content = b'{"query": "Hello", "documents": ["\\u00fcber", {"text": "Hello"}], "top_n": 2, "truncate": "end"}'
    check(connection.post(path, content=content[:place] + noise + content[place + length :]))


def test_noise_in_place_of_a_message(server: Running) -> None:
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(f"/{SERVICE}/Rerank")
        found = [status(call.future(changed(WHOLE, random.Random(seed)), timeout=LONG)) for seed in range(300)]
        found += [status(call.future(random.Random(seed).randbytes(seed), timeout=LONG)) for seed in range(100)]
    assert set(found) <= CLEAN
    assert {CODE.OK, CODE.INVALID_ARGUMENT} <= set(found)


words = st.none() | text | st.sampled_from(["", "end", "error", "model", "sigmoid", "identity", RERANKER])
texts = text | st.sampled_from(["word " * 2000, "\U0001f600" * 3000, "\x00" * 5000, "a" * 20_000])


@FEW
@given(
    query=texts,
    texts=st.lists(texts, max_size=4),
    options=st.fixed_dictionaries(dict.fromkeys(("model", "activation", "instruction", "truncate"), words)),
    top_k=st.sampled_from([None, None, 0, 1, 3, 2**31, 2**32 - 1]),
    max_over_passages=st.booleans(),
    identity=st.text(max_size=80),
)
def test_any_values_of_the_fields(
    server: Running,
    query: str,
    texts: list[str],
    options: dict[str, Any],
    top_k: int | None,
    max_over_passages: bool,
    identity: str,
) -> None:
    request = pb.RerankRequest(
        query=query, texts=texts, **options, top_k=top_k, max_over_passages=max_over_passages, request_id=identity
    )
    with stub(server.target) as calls:
        call = calls.Rerank.future(request, timeout=LONG)
        code = status(call)
        assert code in CLEAN, call.details()
        if code is not CODE.OK:
            assert call.details()
            return
        answer = call.result()
    assert len(answer.token_counts) == len(answer.truncated) == len(texts)
    assert len(answer.indices) == len(answer.scores) == min(len(texts), top_k or len(texts))
    assert np.isfinite(answer.scores).all()
    assert (np.diff(answer.scores) <= 0).all()


@pytest.mark.parametrize(
    ("query", "texts", "status"),
    [
        ("x" * 400_000, [""] * 9, 200),
        ("word " * 80_000, ["a"] * 9, 200),
        (" " * 1_000_000, ["a"], 200),
        ("a", ["word " * 200_000], 200),
        (" " * 3_900_000, ["a"], 422),  # beyond max_text_characters
        ("a", ["word " * 700_000], 422),
    ],
    ids=["a long word", "a long query", "blanks", "a long text", "more blanks", "a longer text"],
)
def test_others_are_answered_while_a_huge_request_is_read(
    server: Running, query: str, texts: list[str], status: int
) -> None:
    def ask() -> int:
        with client(server) as connection:
            return connection.post("/rerank", json={"query": query, "texts": texts}).status_code

    waiting = background(ask)
    while not waiting.done():
        begun = quick_get(server.url, "/livez")
        assert begun.status == 200
    assert waiting.result(LONG) == status
