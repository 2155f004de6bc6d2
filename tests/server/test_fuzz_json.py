"""Bodies that no client should send: each is refused in our form, or answered rightly, and the server lives on."""

import json
import math
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akidb_embeddings.registry.poolings import POOLINGS
from tests.server.conftest import Running
from tests.server.rest_client import client, post, refused

pytestmark = pytest.mark.long

PATHS = ("/embed", "/v1/embeddings")
NAMES = ("texts", "model", "pooling", "normalize", "prompt", "prompt_name", "task", "input_type", "keep_alive",
         "dimensions", "truncate", "embeddings", "input",
         "encoding_format", "precision", "user", "", "texts\x00", "__class__")  # fmt: skip
DEEP = 100_000


@pytest.fixture(scope="module")
def connection(server: Running) -> Iterator[httpx.Client]:
    with client(server) as made:
        yield made


def check(response: httpx.Response) -> None:
    """A refusal in our form, or vectors with numbers in them, one a text."""
    body = response.json()
    if response.status_code != 200:
        assert response.status_code in (400, 404, 413, 422), response.text
        told = body["error"] if response.request.url.path.startswith("/v1/") else body
        refused(response, response.status_code, *_kind_and_field(told))
        return
    asked = json.loads(response.request.content)
    vectors = body.get("embeddings") or [item["embedding"] for item in body.get("data", [])]
    if asked.get("encoding_format") == "base64":
        return
    assert len(vectors) == (1 if isinstance(asked.get("input"), str) else len(asked.get("texts", asked.get("input"))))
    assert all(np.isfinite(np.array(vector, dtype=np.float64)).all() for vector in vectors)


def _kind_and_field(told: dict[str, Any]) -> tuple[str, str | None]:
    return (told["code"], told["param"]) if "code" in told else (told["type"], told.get("field"))


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \r\n\t" * 1000,
    "null": b"null",
    "a string": b'"texts"',
    "a list": b"[]",
    "a number": b"1e5",
    "NaN": b"NaN",
    "two objects": b'{"texts": ["a"]}{"texts": ["a"]}',
    "a BOM": b'\xef\xbb\xbf{"texts": ["a"]}',
    "UTF-16": '{"texts": ["a"]}'.encode("utf-16"),
    "a form": b"texts=a&texts=b",
    "cut short": b'{"texts": ["a"',
    "single quotes": b"{'texts': ['a']}",
    "a trailing comma": b'{"texts": ["a",]}',
    "deep lists": b"[" * DEEP,
    "deep lists, closed": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"texts":' * DEEP,
    "deep texts": b'{"texts": ' + b"[" * DEEP + b"]" * DEEP + b', "input": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep embeddings": b'{"texts": ["a"], "embeddings": ' + b"[" * 190 + b"]" * 190 + b"}",
    "invalid UTF-8": b'{"texts": ["\xff\xfe"], "input": "\xff"}',
    "an overlong encoding": b'{"texts": ["\xc0\xaf"], "input": "\xc0\xaf"}',
    "an encoded surrogate": b'{"texts": ["\xed\xa0\x80"], "input": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"texts": ["\\ud800"]}',
    "a lone surrogate of OpenAI": b'{"input": "\\udfff"}',
    "a control character": b'{"texts": ["\x01"], "input": "\x01"}',
    "a NUL byte": b'{"texts": ["a"]}\x00',
    "an unknown escape": b'{"texts": ["\\x41"], "input": "\\x41"}',
    "a number of 10,000 digits": b'{"texts": ["a"], "dimensions": ' + b"9" * 10_000 + b"}",
    "a float of 10,000 digits": b'{"texts": ["a"], "dimensions": 1.' + b"9" * 10_000 + b"}",
    "a huge exponent": b'{"texts": ["a"], "dimensions": 1e999999999}',
    "a huge number in a vector": b'{"texts": ["a"], "embeddings": [[' + b"9" * 10_000 + b"]]}",
    "NaN as dimensions": b'{"texts": ["a"], "dimensions": NaN}',
    "NaN as a text": b'{"texts": [NaN], "input": [NaN]}',
    "Infinity": b'{"texts": ["a"], "embeddings": [[Infinity, -Infinity]]}',
    "no vectors": b'{"texts": ["a"], "embeddings": [[]]}',
    "a fraction": b'{"texts": ["a"], "dimensions": 1.5}',
    "a negative number": b'{"texts": ["a"], "dimensions": -1}',
    "a long name": b'{"texts": ["a"], "' + b"x" * 100_000 + b'": 1}',
    "a long model": b'{"texts": ["a"], "model": "' + b"x" * 100_000 + b'"}',
    "a long prompt": b'{"texts": ["a"], "prompt": "' + b"x" * 100_000 + b'"}',
    "many numbers for texts": b'{"texts": [' + b"1," * 300_000 + b'1], "input": [' + b"null," * 300_000 + b"1]}",
    "many names": b"{" + b",".join(b'"%d":0' % number for number in range(300_000)) + b"}",
    "many empty texts": b'{"texts": [' + b'"",' * 500_000 + b'""]}',
    "many empty vectors": b'{"texts": ["a"], "embeddings": [' + b"[]," * 500_000 + b"[]]}",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_a_strange_body_is_refused(connection: httpx.Client, path: str, body: bytes) -> None:
    response = connection.post(path, content=body)
    assert response.status_code in (400, 404, 422), response.text[:500]
    check(response)
    assert response.elapsed.total_seconds() < 5


def test_of_a_name_that_is_given_twice_the_last_one_counts(connection: httpx.Client) -> None:
    answer = connection.post("/embed", content=b'{"texts": ["a", "b"], "texts": ["a"]}').json()
    assert len(answer["embeddings"]) == 1
    refused(connection.post("/embed", content=b'{"texts": ["a"], "texts": 1}'), 422, "invalid", "texts")


def test_strange_texts_have_vectors(connection: httpx.Client) -> None:
    texts = ["", " ", "\x00", "\x7f", "\u200b", "\ufeff", "\U0010ffff", "\ufffe", "a\u0301" * 50, "\r\n", "🏳️‍🌈" * 100]
    response = connection.post("/embed", json={"texts": texts})
    assert response.status_code == 200, response.text
    check(response)
    surrogates = connection.post("/embed", content=b'{"texts": ["\\ud83e\\udd8a", "' + "🦊".encode() + b'"]}')
    first, second = surrogates.json()["embeddings"]
    assert first == second


text = st.text(max_size=20)
number = st.integers() | st.floats() | st.sampled_from([10**400, -(10**30), 2**63, 1e308])
anything = st.recursive(
    st.none() | st.booleans() | number | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
# Right values for some names and anything for others: only so does a body come past the first check.
right = st.fixed_dictionaries(
    {},
    optional={
        "model": st.none(),
        "pooling": st.sampled_from(["auto", *POOLINGS, None]),
        "normalize": st.booleans() | st.none(),
        "prompt": st.sampled_from(["query", "document", None]),
        "dimensions": st.integers(1, 384) | st.none(),
        "truncate": st.sampled_from(["end", "error", None]),
        "input_type": st.sampled_from(["query", "passage", "clustering", None, None, None]),
        "keep_alive": st.sampled_from([0, -1, "5m", None]),
        "embeddings": st.lists(st.none() | number.map(lambda value: [value] * 384), max_size=3),
        "encoding_format": st.sampled_from(["float", "base64", None]),
        "precision": st.sampled_from(["float32", "float16", "int8", "binary", "ubinary", None]),
        "user": text,
    },
)
wrong = st.dictionaries(st.sampled_from(NAMES) | text, anything, max_size=2)


@settings(max_examples=100, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(path=st.sampled_from(PATHS), texts=st.lists(text, max_size=3), body=right, noise=wrong | st.just({}))
def test_any_json_is_answered_rightly_or_refused(
    connection: httpx.Client, path: str, texts: list[str], body: dict[str, Any], noise: dict[str, Any]
) -> None:
    other = ("user",) if path == "/embed" else ("pooling", "normalize", "prompt", "precision", "embeddings")
    known = {name: value for name, value in body.items() if name not in other}
    content = json.dumps({"texts" if path == "/embed" else "input": texts} | known | noise)
    check(connection.post(path, content=content.encode("utf-8", "surrogatepass")))


@settings(max_examples=100, deadline=None, database=None, derandomize=True,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(path=st.sampled_from(PATHS), place=st.integers(0, 200), length=st.integers(0, 6), noise=st.binary(max_size=6))
def test_a_body_with_bytes_changed_is_answered_rightly_or_refused(
    connection: httpx.Client, path: str, place: int, length: int, noise: bytes
) -> None:
    body = b'{"texts": ["Hello", "\\u00fcber"], "dimensions": 30, "normalize": true, "embeddings": [null, [%s]]}'
    content = body.replace(b"%s", b",".join([b"0.5"] * 30))
    if path != "/embed":
        content = b'{"input": ["Hello", "\\u00fcber"], "dimensions": 30, "encoding_format": "float", "user": "me"}'
    response = connection.post(path, content=content[:place] + noise + content[place + length :])
    if response.status_code != 200:
        check(response)
    else:
        assert not any(math.isnan(value) for value in _numbers(response.json()))


def test_the_server_is_alive_after_all_that(server: Running) -> None:
    assert post(server, json={"texts": ["x"]}).status_code == 200
    assert server.process is not None
    assert server.process.poll() is None
    assert "Traceback" not in server.log


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
