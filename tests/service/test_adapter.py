"""What adapters share: other libraries' names for our settings, replaced or refused, and vectors as lists."""

import asyncio
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import EmbeddingConfig
from akidb_embeddings.config.embedding import FIELDS
from akidb_embeddings.config.rerank import FIELDS as RERANK_FIELDS
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.service.adapter import ato_lists, rename_arguments, to_lists

ALIASES = {"model": "model_name", "dim": "dimensions", "truncate_dim": "dimensions"}
UNSUPPORTED = {"device": "AKIDB_BACKEND in the environment chooses it"}
OWN = ("callbacks",)


@pytest.mark.parametrize(
    ("given", "renamed"),
    [
        ({}, {}),
        ({"model": "m"}, {"model_name": "m"}),
        ({"model_name": "m"}, {"model_name": "m"}),
        ({"batch_size": 3, "dim": None, "model": ""}, {"batch_size": 3, "dimensions": None, "model_name": ""}),
        ({"callbacks": 1, "dim": "no number"}, {"callbacks": 1, "dimensions": "no number"}),
    ],
)
def test_names_are_replaced_and_values_are_not(given: dict[str, Any], renamed: dict[str, Any]) -> None:
    before = dict(given)
    assert rename_arguments(given, ALIASES, UNSUPPORTED, OWN) == renamed
    assert list(rename_arguments(given, ALIASES, UNSUPPORTED, OWN)) == list(renamed)
    assert given == before


def test_a_name_is_replaced_once() -> None:
    """Not by the name that is to be replaced next: swapped names would otherwise meet."""
    assert rename_arguments({"a": 1, "b": 2}, {"a": "b", "b": "a"}, {}, ("a", "b")) == {"b": 1, "a": 2}


def test_the_fields_may_be_another_configurations() -> None:
    rerank = {"instruction": "x", "model": "m"}
    assert rename_arguments(rerank, ALIASES, {}, (), RERANK_FIELDS) == {"instruction": "x", "model_name": "m"}
    with pytest.raises(ConfigurationError, match="'instruction'"):
        rename_arguments(rerank, ALIASES, {}, ())
    with pytest.raises(ConfigurationError, match=r"'pooling' \(value 'cls'\)"):
        rename_arguments({"pooling": "cls"}, ALIASES, {}, (), RERANK_FIELDS)


@pytest.mark.parametrize("value", ["cpu", None, {"a": 1}])
def test_an_unsupported_argument_says_why(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rename_arguments({"model": "m", "device": value}, ALIASES, UNSUPPORTED, OWN)
    message = f"device (value {value!r}) is not supported: AKIDB_BACKEND in the environment chooses it. Leave it out."
    assert (str(caught.value), caught.value.field) == (message, "device")


@pytest.mark.parametrize(
    "given",
    [
        {"model": "m", "model_name": "n"},
        {"model_name": "m", "model": "m"},
        {"dim": 1, "batch_size": 1, "truncate_dim": 1},
        {"dim": 1, "truncate_dim": 2, "dimensions": 3},
        {"dimensions": None, "dim": None},
    ],
)
def test_two_names_of_one_argument_are_refused_by_both_names(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="are the same argument, and both are given; give one") as caught:
        rename_arguments(given, ALIASES, UNSUPPORTED, OWN)
    assert all((repr(name) in str(caught.value)) == (name != "batch_size") for name in given)


@pytest.mark.parametrize(("name", "meant"), [("poling", "pooling"), ("calbacks", "callbacks"), ("Dimensions", None)])
def test_an_unknown_name_is_refused_with_the_one_that_may_be_meant(name: str, meant: str | None) -> None:
    with pytest.raises(ConfigurationError, match=f"unknown argument '{name}'") as caught:
        rename_arguments({"model": "m", name: "cls"}, ALIASES, UNSUPPORTED, OWN)
    assert f"Did you mean {meant or 'dimensions'!r}" in str(caught.value)
    assert all(field in str(caught.value) for field in (*FIELDS, *OWN))


def test_renamed_arguments_make_a_configuration() -> None:
    config = EmbeddingConfig(**rename_arguments({"model": "m", "dim": 8}, ALIASES, UNSUPPORTED, OWN))
    assert config == EmbeddingConfig(model_name="m", dimensions=8)


def test_every_field_is_a_name() -> None:
    assert EmbeddingConfig().to_dict().keys() == set(FIELDS)


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 1000])
async def test_lists_hold_the_same_numbers(rows: int) -> None:
    vectors = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
    lists = to_lists(vectors)
    assert await ato_lists(vectors) == lists
    assert len(lists) == rows
    assert all(type(number) is float for row in lists for number in row)
    np.testing.assert_array_equal(np.array(lists, dtype=np.float32).reshape(rows, 3), vectors)


async def test_the_loop_runs_while_many_lists_are_made() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await ato_lists(np.ones((5000, 8), dtype=np.float32))
    ticking.cancel()
    assert ticks >= 10
