"""What callers hand in: every refusal names the index and the reason."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.errors import InputError
from akidb_embeddings.service.inputs import check_text, check_texts, check_vectors


class Words(str):
    """A string of a caller's own class."""


@pytest.mark.parametrize(
    "texts",
    [["a", "b"], ("a", "b"), iter(["a", "b"]), (text for text in "ab"), {"a": 1, "b": 2}.keys(), np.array(["a", "b"])],
)
def test_any_iterable_of_strings_is_taken(texts: Any) -> None:
    assert check_texts(texts) == ["a", "b"]


def test_no_texts_and_empty_texts_are_taken() -> None:
    assert check_texts([]) == []
    assert check_texts(["", Words("x")]) == ["", "x"]


@pytest.mark.parametrize(("texts", "kind"), [("abc", "str"), ("", "str"), (b"abc", "bytes"), (Words("x"), "Words")])
def test_a_bare_string_is_no_list(texts: Any, kind: str) -> None:
    with pytest.raises(InputError, match=rf"texts is one {kind}; a list is expected: \[text\]"):
        check_texts(texts)


@pytest.mark.parametrize(("texts", "kind"), [(None, "None"), (5, "of type int"), (object(), "of type object")])
def test_what_is_no_list_at_all_is_refused(texts: Any, kind: str) -> None:
    with pytest.raises(InputError, match=f"texts is {kind}; a list of strings is expected"):
        check_texts(texts)


def test_an_async_generator_is_no_list() -> None:
    async def texts() -> Any:
        yield "a"

    with pytest.raises(InputError, match="texts is of type async_generator"):
        check_texts(texts())


@pytest.mark.parametrize("bad", [None, 5, 1.5, b"x", ["x"], float("nan"), np.str_])
@pytest.mark.parametrize("index", [0, 3, 99])
def test_what_is_no_string_is_named_by_its_index_and_type(bad: Any, index: int) -> None:
    texts: list[Any] = ["a"] * 100
    texts[index] = bad
    kind = "None" if bad is None else f"of type {type(bad).__name__}"
    with pytest.raises(InputError, match=rf"^texts\[{index}\] is {kind}; a string is expected\.$"):
        check_texts(texts)


@pytest.mark.parametrize("error", [TypeError, ValueError, KeyboardInterrupt])
def test_an_error_of_the_callers_generator_is_the_callers(error: type[BaseException]) -> None:
    def texts() -> Iterator[str]:
        yield "a"
        raise error("in the caller's code")

    with pytest.raises(error, match="in the caller's code"):
        check_texts(texts())


def test_one_text_is_a_string() -> None:
    assert check_text("a") == "a"
    for bad in (None, 5, ["a"], b"a"):
        with pytest.raises(
            InputError,
            match=r"A string is expected, but this is .*\. For several texts, use the method that takes a list",
        ):
            check_text(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "vectors",
    [
        [[1, 2, 3], [4, 5, 6]],
        np.arange(1, 7).reshape(2, 3),
        np.arange(1, 7, dtype=np.float16).reshape(2, 3),
        iter([(1, 2, 3), (4, 5, 6)]),
    ],
)
def test_vectors_are_taken_as_float32(vectors: Any) -> None:
    taken = check_vectors(vectors, 3)
    assert taken.dtype == np.float32
    assert taken.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_no_vectors_have_a_shape_nevertheless() -> None:
    assert check_vectors([], 3).shape == check_vectors(np.empty((0, 3)), 3).shape == (0, 3)


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([1, 2, float("nan")], "has NaN or infinity"),
        ([1, float("inf"), 3], "has NaN or infinity"),
        ([1, 2, -np.inf], "has NaN or infinity"),
        ([1, None, 3], "has NaN or infinity"),
        ([1, 2, 1e300], "has NaN or infinity"),
        ([0, 0.0, -0.0], "is zero"),
        ([1, 2], r"has shape \(2,\); this model's vectors have 3 numbers"),
        ([1, 2, 3, 4], r"has shape \(4,\)"),
        ([[1, 2, 3]], r"has shape \(1, 3\)"),
        (1.5, r"has shape \(\)"),
        ("abc", "is of type str; 3 numbers are expected"),
        (["a", "b", "c"], "has strings; 3 real numbers are expected"),
        ([1, [2], 3], "is of type list"),
        ({"a": 1}, "is of type dict"),
    ],
)
def test_a_bad_vector_is_named_by_its_index_and_fault(bad: Any, reason: str, index: int) -> None:
    vectors: list[Any] = [[1, 2, 3]] * 4
    vectors[index] = bad
    with pytest.raises(InputError, match=rf"^vectors\[{index}\] {reason}"):
        check_vectors(vectors, 3)


@pytest.mark.parametrize("given", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("kind", [list, np.array, iter])
def test_as_many_vectors_as_texts_are_wanted(given: int, count: int, kind: Any) -> None:
    vectors = kind([[1.0, 2.0, 3.0]] * given)
    if given == count:
        assert check_vectors(vectors, 3, count).shape == (count, 3)
    else:
        with pytest.raises(InputError, match=f"^There are {given} vectors for {count} texts; give one"):
            check_vectors(vectors, 3, count)


def test_of_two_faults_the_number_is_told_first() -> None:
    """Which rows are missing decides which vector belongs to which text, so no row of the rest is to blame."""
    with pytest.raises(InputError, match="There are 2 vectors for 3 texts"):
        check_vectors([[1.0], [float("nan")] * 3], 3, 3)
    with pytest.raises(InputError, match=r"vectors\[1\] has NaN or infinity"):
        check_vectors([[1.0, 2.0, 3.0], [float("nan")] * 3], 3, 2)


@pytest.mark.parametrize("vectors", [None, 5, "abc", b"abc", object(), np.array(1.5), np.float32(1)])
def test_what_is_no_list_of_vectors_is_refused(vectors: Any) -> None:
    with pytest.raises(InputError, match=r"vectors is .*; a list of vectors or an array \[n, 3\] is expected"):
        check_vectors(vectors, 3)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (["1", "2", "3"], "strings"),
        ([b"1", b"2", b"3"], "bytes"),
        ([1, "2", 3], "strings"),
        ([1, 2j, 3], "complex numbers"),
        (np.ones(3, np.complex64), "complex numbers"),
        (np.array(["1", "2", "3"]), "strings"),
        (np.array([1, "2", 3], object), "of type str"),
        (np.array([1, 2j, 3], object), "of type complex"),
        (np.array([1, 2, 3], "datetime64[s]"), "dates"),
    ],
)
def test_what_is_no_real_number_is_refused(row: Any, kind: str) -> None:
    with pytest.raises(InputError, match=rf"vectors\[8\] .*{kind}.*; 3 real numbers are expected") as error:
        check_vectors([[1.0, 2.0, 3.0], row], 3, first_index=7)
    assert (error.value.field, error.value.index) == ("vectors", 8)


@pytest.mark.parametrize(
    "row", [(1, 2, 3), np.array([1, 2, 3], np.uint8), np.array([1, 2, 3], np.float16), np.array([1, 2.0, 3], object)]
)
def test_real_numbers_of_any_type_are_taken(row: Any) -> None:
    assert check_vectors([row], 3).tolist() == [[1, 2, 3]]


def test_the_given_array_is_copied() -> None:
    given = np.ones((2, 3), dtype=np.float32)
    check_vectors(given, 3)[0] = 9
    assert given.max() == 1


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_accepted_vectors_are_unit_vectors_whatever_their_size(minilm: EmbeddingService, scale: float) -> None:
    vectors = np.linspace(-1, 1, 2 * 384).reshape(2, 384)
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(minilm.accept(vectors * scale), expected, atol=1e-6)


def test_vectors_with_nan_are_not_accepted(minilm: EmbeddingService) -> None:
    with pytest.raises(InputError, match=r"vectors\[1\] has NaN or infinity"):
        minilm.accept([[1.0] * 384, [float("nan")] * 384])


def test_accepted_vectors_are_counted(minilm: EmbeddingService) -> None:
    assert minilm.accept([[1.0] * 384] * 2, 2).shape == minilm.accept([[1.0] * 384] * 2, count=2).shape == (2, 384)
    assert minilm.accept([], count=0).shape == (0, 384)
    with pytest.raises(InputError, match="There are 2 vectors for 1 texts"):
        minilm.accept([[1.0] * 384] * 2, count=1)
