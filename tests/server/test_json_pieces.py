"""A large body is read in pieces. What comes of it is what the schema's parser makes of the whole."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb_embeddings.server.calls.api_error import ApiError, ErrorKind
from akidb_embeddings.server.dialects.rerank_schemas import CohereRerankRequest
from akidb_embeddings.server.http import json_pieces, parsing
from akidb_embeddings.server.http.parsing import StrictBody
from akidb_embeddings.server.http.schemas import EmbedRequest, OpenAIRequest

PIECE = 8


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_pieces, "PIECE_BYTES", PIECE)
        patch.setattr(parsing, "PIECE_BYTES", 0)
        yield


async def outcome(body: bytes, schema: type[StrictBody], max_items: int | None = None) -> object:
    try:
        return (await parsing.parse(body, schema, max_items)).model_dump()
    except ApiError as error:
        return error.kind, error.subject()


def whole(body: bytes, schema: type[StrictBody]) -> object:
    """The same without pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_pieces, "PIECE_BYTES", 1 << 30)
        patch.setattr(parsing, "PIECE_BYTES", 1 << 30)
        try:
            return schema.model_validate_json(body).model_dump()
        except ValueError:
            pass
        try:
            parsing.parse(body, schema).send(None)
        except ApiError as error:
            return error.kind, error.subject()
    raise AssertionError("one of both accepts the body")


TEXT = st.text(max_size=12) | st.sampled_from(['"', "\\", '\\"', "],[", "{", '","', "\\\\", "🦊"])
NUMBER = st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False)
VECTORS = st.lists(st.none() | st.lists(NUMBER, max_size=5), max_size=9)
BODY = st.fixed_dictionaries(
    {"texts": st.lists(TEXT, max_size=12) | st.just("a")},
    optional={
        "embeddings": VECTORS | st.none(),
        "prompt": TEXT,
        "normalize": st.booleans() | st.just(1),
        "precision": st.sampled_from(["int8", "int9", ["int8"], {"a": ["int8", "int8"]}]),
        "x": st.lists(TEXT, max_size=3),
    },
)


@pytest.mark.long
@given(BODY, st.sampled_from([None, 1]), st.booleans())
async def test_a_body_in_pieces_is_read_as_in_one(body: dict[str, Any], indent: int | None, is_ascii: bool) -> None:
    content = json.dumps(body, indent=indent, ensure_ascii=is_ascii).encode()
    assert await outcome(content, EmbedRequest) == whole(content, EmbedRequest)


@pytest.mark.parametrize("items", ['"%s",', '"%s",,"%s"', ',"%s"', '"%s", ,', '"%s","b",', ",", " , ", '"%s",,,,,'])
@pytest.mark.parametrize(
    ("schema", "begin"), [(EmbedRequest, '{"texts": ['), (CohereRerankRequest, '{"query": "q", "documents": [')]
)
async def test_a_comma_too_many_is_no_json(items: str, schema: type[StrictBody], begin: str) -> None:
    content = f"{begin}{items.replace('%s', 'a' * 3 * PIECE)}]}}".encode()
    found = await outcome(content, schema)
    assert isinstance(found, tuple)
    assert found[0] is ErrorKind.MALFORMED
    assert found[0] == whole(content, schema)[0]  # type: ignore[index]  # an error, too


@given(BODY, st.integers(0, 200), st.sampled_from(list(b'"\\[]{},:x0 \n')))
async def test_a_spoiled_body_is_refused_or_read_as_in_one(body: dict[str, Any], place: int, byte: int) -> None:
    content = bytearray(json.dumps(body).encode())
    content[place % len(content)] = byte
    found, expected = await outcome(bytes(content), EmbedRequest), whole(bytes(content), EmbedRequest)
    if isinstance(found, dict) or isinstance(expected, dict):
        assert found == expected


@pytest.mark.parametrize("wrong", [5, None, True, ["a"], {"a": 1}])
@pytest.mark.parametrize("index", [0, 1, 7, 30])
async def test_an_error_far_back_in_a_list_names_its_place(wrong: object, index: int) -> None:
    texts: list[object] = ["abc"] * 31
    texts[index] = wrong
    with pytest.raises(ApiError, match=rf"^texts\[{index}\]: Input should be a valid string") as caught:
        await parsing.parse(json.dumps({"texts": texts}).encode(), EmbedRequest)
    assert caught.value.subject() == f"texts[{index}]"


async def test_a_value_far_back_in_a_vector_names_both_places() -> None:
    vectors = [[0.5, 1.5]] * 20 + [[0.5, "1.5"]]
    with pytest.raises(ApiError) as caught:
        await parsing.parse(json.dumps({"texts": ["a"], "embeddings": vectors}).encode(), EmbedRequest)
    assert caught.value.subject() == "embeddings[20][1]"


async def test_half_a_character_far_back_names_its_text() -> None:
    content = b'{"texts": [%b"\\ud83e"]}' % (b'"abcdef", ' * 20)
    with pytest.raises(ApiError, match="lone surrogate") as caught:
        await parsing.parse(content, EmbedRequest)
    assert caught.value.subject() == "texts[20]"


async def test_documents_are_read_in_pieces_too() -> None:
    documents = [{"text": f"t{index}"} if index % 2 else f"t{index}" for index in range(30)]
    body = json.dumps({"query": "q", "documents": documents}).encode()
    assert await outcome(body, CohereRerankRequest) == whole(body, CohereRerankRequest)
    spoiled = json.dumps({"query": "q", "documents": [*documents, {"text": "a", "rank": 1}]}).encode()
    assert await outcome(spoiled, CohereRerankRequest) == whole(spoiled, CohereRerankRequest)


@pytest.mark.parametrize("value", [["a"] * 9, "a", [[1, 2]] * 9, [1] * 99])
async def test_a_field_that_may_be_of_several_types(value: object) -> None:
    body = json.dumps({"input": value}).encode()
    assert await outcome(body, OpenAIRequest) == whole(body, OpenAIRequest)


async def test_the_last_of_two_values_counts_and_names_may_be_escaped() -> None:
    body = b'{"texts": ["a", "b"], "te\\u0078ts": %b}' % json.dumps(["c"] * 20).encode()
    assert (await parsing.parse(body, EmbedRequest)).texts == ["c"] * 20


async def test_too_many_items_are_refused_by_their_number() -> None:
    body = json.dumps({"texts": ["a"] * 30}).encode()
    with pytest.raises(ApiError, match="There are 30 texts; max_texts is 29 per request") as caught:
        await parsing.parse(body, EmbedRequest, 29)
    assert (caught.value.subject(), caught.value.limit) == ("texts", 29)
    assert (await parsing.parse(body, EmbedRequest, 30)).texts == ["a"] * 30


async def test_an_item_of_countless_values_is_refused() -> None:
    body = b'{"texts": ["a"], "embeddings": [null, [%b0]]}' % (b"0," * 70_000)
    with pytest.raises(ApiError, match=r"^embeddings\[1\] has about 7000\d values; at most 65536 are read"):
        await parsing.parse(body, EmbedRequest)


async def test_countless_fields_are_refused() -> None:
    body = b'{"texts": ["a"]%b}' % b"".join(b', "%d": 0' % index for index in range(2000))
    with pytest.raises(ApiError, match="2001 fields"):
        await parsing.parse(body, EmbedRequest)
