"""Bodies of the other APIs for vectors that no client should send: refused in their form, or answered rightly."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.conftest import Running
from tests.server.rest_client import client, post, refused

pytestmark = pytest.mark.long

# Each API's paths, and the field that has its texts.
PATHS = {
    "/embed": "inputs",
    "/": "inputs",
    "/api/embed": "input",
    "/api/embeddings": "prompt",
    "/v1/embed": "texts",
    "/v2/embed": "texts",
    "/v1/embeddings": "input",
}
NAMES = ("texts", "inputs", "input", "prompt", "model", "name", "normalize", "truncate", "truncation_direction",
         "prompt_name", "prompt_text", "task", "input_type", "dimensions", "output_dimension", "max_tokens",
         "keep_alive", "options", "embedding_types", "encoding_format", "images", "priority", "", "inputs\x00",
         "__class__")  # fmt: skip
DEEP = 100_000
FEW = settings(max_examples=60, deadline=None, database=None, derandomize=True,
               suppress_health_check=list(HealthCheck))  # fmt: skip


@pytest.fixture(scope="module")
def connection(server: Running) -> Iterator[httpx.Client]:
    with client(server) as made:
        yield made


def check(response: httpx.Response) -> None:
    """A refusal in the API's form, or finite vectors."""
    body = response.json()
    if response.status_code != 200:
        assert response.status_code in (400, 404, 413, 422), response.text
        told = body["error"] if isinstance(body.get("error"), dict) else body
        field = told["param"] if "code" in told else told.get("field")
        refused(response, response.status_code, told.get("code") or told["type"], field)
        return
    for rows in _lists(body):
        assert np.isfinite(np.array(rows, dtype=np.float64)).all()


def _lists(value: Any) -> Iterator[list[float]]:
    """The lists of numbers in a body."""
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _lists(one)


BODIES: dict[str, str] = {
    "nothing": "",
    "a list": "[]",
    "null": "null",
    "cut short": '{"FIELD": ["a"',
    "twice": '{"FIELD": "a", "FIELD": 1}',
    "deep": '{"FIELD": ' + "[" * DEEP + "]" * DEEP + "}",
    "deep options": '{"FIELD": "a", "options": ' + '{"a":' * DEEP + "1" + "}" * DEEP + "}",
    "a lone surrogate": '{"FIELD": "\\ud800"}',
    "token ids": '{"FIELD": [[1, 2], [3]]}',
    "many numbers": '{"FIELD": [' + "1," * 300_000 + "1]}",
    "many nulls": '{"FIELD": [' + "null," * 300_000 + "null]}",
    "many empty texts": '{"FIELD": [' + '"",' * 500_000 + '""]}',
    "many names": "{" + ",".join(f'"{number}":0' for number in range(300_000)) + "}",
    "many types": '{"FIELD": ["a"], "embedding_types": [' + '"half",' * 300_000 + '"half"]}',
    "a huge number": '{"FIELD": "a", "keep_alive": 1' + "0" * 10_000 + "}",
    "not a number": '{"FIELD": "a", "keep_alive": NaN}',
    "a long duration": '{"FIELD": "a", "keep_alive": "' + "1h" * 100_000 + '"}',
    "a long prompt's name": '{"FIELD": "a", "prompt_name": "' + "x" * 100_000 + '"}',
    "a long model": '{"FIELD": "a", "model": "' + "x" * 100_000 + ':latest"}',
    "the name again and again": '{"texts": ["a"], "inputs" ' + '"inputs"' * 300_000 + "}",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_a_strange_body_is_refused(connection: httpx.Client, path: str, body: str) -> None:
    response = connection.post(path, content=body.replace("FIELD", PATHS[path]).encode())
    check(response)
    assert response.elapsed.total_seconds() < 5
    assert response.status_code in (400, 404, 422), response.text[:500]


text = st.text(max_size=20)
number = st.integers() | st.floats() | st.sampled_from([10**400, -(10**30), 2**63, 1e308])
anything = st.recursive(
    st.none() | st.booleans() | number | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
flag = st.booleans() | st.none()
role = st.sampled_from(["query", "search_document", "clustering", None])
stay = st.sampled_from([0, -1, 1.5, "5m", "-1s", None])
length = st.integers(1, 384) | st.none()
TEI = {
    "normalize": flag,
    "truncate": flag,
    "truncation_direction": st.sampled_from(["right", "Right", None]),
    "prompt_name": st.sampled_from(["query", "document", None]),
    "dimensions": length,
}
OLLAMA = {
    "model": st.sampled_from(["minilm-l6-v2", "minilm-l6-v2:latest", None]),
    "truncate": flag,
    "dimensions": length,
    "keep_alive": stay,
    "options": st.dictionaries(text, anything, max_size=3) | st.none(),
}
COHERE = {
    "input_type": role,
    "embedding_types": st.lists(st.sampled_from(["float", "int8", "binary", "ubinary", "base64"]), min_size=1),
    "truncate": st.sampled_from(["END", "NONE", None]),
    "output_dimension": length,
    "max_tokens": st.integers(256, 10**6) | st.none(),
}
OPENAI = {
    "truncate": st.sampled_from(["end", "error", None]),
    "dimensions": length,
    "keep_alive": stay,
    "user": text,
}
OPTIONS: dict[str, Any] = {
    "/embed": TEI,
    "/": TEI,
    "/api/embed": OLLAMA,
    "/api/embeddings": {name: OLLAMA[name] for name in ("model", "keep_alive", "options")},
    "/v1/embed": COHERE,
    "/v2/embed": COHERE,
    "/v1/embeddings": OPENAI,
}
# Right values for some names and anything for others: only so does a body come past the first check.
right = st.sampled_from(list(PATHS)).flatmap(
    lambda path: st.tuples(st.just(path), st.fixed_dictionaries({}, optional=OPTIONS[path]))
)
wrong = st.dictionaries(st.sampled_from(NAMES) | text, anything, max_size=2)


@FEW
@given(call=right, texts=st.lists(text, min_size=1, max_size=3))
def test_every_right_body_is_answered(
    connection: httpx.Client, call: tuple[str, dict[str, Any]], texts: list[str]
) -> None:
    path, body = call
    given_texts = texts[0] if path == "/api/embeddings" else texts
    response = connection.post(path, json=body | {PATHS[path]: given_texts})
    assert response.status_code == 200, response.text
    check(response)


@FEW
@given(call=right, texts=st.lists(text, max_size=3), noise=wrong)
def test_any_json_is_answered_rightly_or_refused(
    connection: httpx.Client, call: tuple[str, dict[str, Any]], texts: list[str], noise: dict[str, Any]
) -> None:
    path, body = call
    content = json.dumps({PATHS[path]: texts} | body | noise)
    check(connection.post(path, content=content.encode("utf-8", "surrogatepass")))


@FEW
@given(path=st.sampled_from(list(PATHS)), place=st.integers(0, 120), cut=st.integers(0, 6), noise=st.binary(max_size=6))
def test_a_body_with_bytes_changed_is_answered_rightly_or_refused(
    connection: httpx.Client, path: str, place: int, cut: int, noise: bytes
) -> None:
    content = f'{{"{PATHS[path]}": ["Hello", "\\u00fcber"], "model": "minilm-l6-v2", "truncate": true}}'.encode()
    check(connection.post(path, content=content[:place] + noise + content[place + cut :]))


def test_the_server_is_alive_after_all_that(server: Running) -> None:
    assert post(server, json={"texts": ["x"]}).status_code == 200
    assert server.process is not None
    assert server.process.poll() is None
    assert "Traceback" not in server.log
