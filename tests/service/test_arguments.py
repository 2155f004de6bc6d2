"""The arguments of public methods: spelled out, and refused by name where they do not exist."""

import asyncio
import dataclasses
import inspect
import math
import pickle
import typing
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import ArgumentError, ConfigurationError, EmbeddingConfig, EmbeddingService, InputError
from akidb_embeddings.config.model import AS_CONFIGURED
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.service.options import Options

METHODS = ("embed", "embed_query", "embed_queries", "embed_documents", "encode")
TWINS = tuple(f"a{name}" for name in METHODS)
ENCODE = inspect.signature(EmbeddingService.encode).parameters


def call(service: EmbeddingService, name: str, **given: Any) -> Any:
    """Call a method, or wait for its async twin, with one text."""
    text = "the river" if name.endswith("embed_query") else ["the river"]
    result = getattr(service, name)(text, **given)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


@pytest.mark.parametrize("name", [*METHODS, *TWINS, "with_options", "acreate", "__init__"])
def test_every_argument_is_spelled_out(name: str) -> None:
    parameters = inspect.signature(getattr(EmbeddingService, name)).parameters.values()
    assert not [one for one in parameters if one.kind is inspect.Parameter.VAR_KEYWORD]
    assert all(one.annotation is not inspect.Parameter.empty for one in parameters if one.name != "self")


@pytest.mark.parametrize("name", [*METHODS, *TWINS])
def test_every_method_that_embeds_has_the_options_of_encode(name: str) -> None:
    parameters = dict(inspect.signature(getattr(EmbeddingService, name)).parameters)
    first = [*parameters][1]
    assert first == ("text" if name.endswith("embed_query") else "texts")
    # Another output than vectors is a result of encode alone, with a type of its own.
    others = ("self", "texts") if name.endswith("encode") else ("self", "texts", "output")
    expected = {one: parameter for one, parameter in ENCODE.items() if one not in others}
    if name.endswith("documents"):
        del expected["task"]
    assert {one: parameter for one, parameter in parameters.items() if one not in ("self", first)} == expected
    assert asyncio.iscoroutinefunction(getattr(EmbeddingService, name)) == (name in TWINS)
    assert getattr(EmbeddingService, name).__doc__


def test_the_options_that_callers_hand_on_are_those_of_encode() -> None:
    hints = typing.get_type_hints(Options)
    assert hints.items() <= {name: parameter.annotation for name, parameter in ENCODE.items()}.items()
    assert ENCODE.keys() - hints.keys() == {"self", "texts", "prompt_name", "prompt", "task", "output"}


@pytest.mark.parametrize("name", ["__init__", "acreate"])
def test_the_constructor_has_the_fields_of_the_configuration(name: str) -> None:
    parameters = inspect.signature(getattr(EmbeddingService, name)).parameters
    fields = typing.get_type_hints(EmbeddingConfig)
    names = [field.name for field in dataclasses.fields(EmbeddingConfig)]
    assert [one for one in parameters if one not in ("self", "config", "config_path")] == names
    for one in names[1:]:
        if one != "adapter":  # which may be a path, as the model's name
            assert parameters[one].annotation == fields[one], one
        assert parameters[one].default is AS_CONFIGURED
        assert f"\n        {one}: " in str(EmbeddingService.__doc__)
    assert repr(AS_CONFIGURED) == "AS_CONFIGURED"


def test_an_argument_that_is_given_counts_more_than_the_configuration_even_none() -> None:
    config = EmbeddingConfig(model_name=BUNDLED, max_tokens=16, normalize=False, batch_size=3)
    with EmbeddingService(config=config) as as_configured, EmbeddingService(config=config, max_tokens=None) as given:
        assert as_configured.config == config
        assert given.config == config.with_values(max_tokens=None)
        assert given.settings.max_tokens == 256
    with asyncio.run(EmbeddingService.acreate(None, config=config, normalize=True)) as created:
        assert created.config == config.with_values(normalize=True)


@pytest.mark.parametrize("name", [*METHODS, *TWINS])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"promt_name": "query"}, ["'promt_name'", "'query'", "Did you mean 'prompt_name'?"]),
        ({"precison": "int8"}, ["Did you mean 'precision'?", "Allowed: text", "timeout"]),
        ({"time_out": 3}, ["Did you mean 'timeout'?"]),
        ({"normalize": False}, ["normalize is a setting of the whole service", "EmbeddingService(normalize=…)"]),
        ({"batch_size": 64}, ["batch_size is a setting of the whole service"]),
        ({"normalize_embeddings": True}, ["'normalize_embeddings'", "length 1"]),
        ({"show_progress_bar": True}, ["'show_progress_bar'", "progress="]),
        ({"device": "cuda"}, ["'device'", "AKIDB_BACKEND=cpu"]),
    ],
)
def test_an_argument_that_does_not_exist_is_refused_by_name(
    name: str, given: dict[str, Any], words: list[str], minilm: EmbeddingService
) -> None:
    with pytest.raises(ArgumentError) as caught:
        call(minilm, name, **given)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ConfigurationError)
    assert [caught.value.field] == [*given]
    message = str(caught.value)
    assert all(word in message for word in [name, *words])
    assert "Job" not in message
    assert "self" not in message
    assert pickle.loads(pickle.dumps(caught.value)).field == caught.value.field


def test_a_misspelt_argument_of_the_constructor_is_refused_before_a_model_is_looked_for() -> None:
    wrong: Any = {"poling": "cls"}
    with pytest.raises(ArgumentError, match=r"'poling' of EmbeddingService .*Did you mean 'pooling'\?"):
        EmbeddingService("no-such-model", **wrong)
    with pytest.raises(TypeError, match="Did you mean 'pooling'"):
        asyncio.run(EmbeddingService.acreate("no-such-model", **wrong))
    with pytest.raises(ArgumentError, match="Did you mean 'pooling'"):
        EmbeddingConfig(**wrong)


def test_what_can_be_changed_later_is_listed(minilm: EmbeddingService) -> None:
    wrong: Any = {"task": "Find it"}
    with pytest.raises(ArgumentError, match=r"task is a setting of the whole service, no argument of with_options"):
        minilm.with_options(**wrong)


def test_a_task_is_no_argument_for_documents(minilm: EmbeddingService) -> None:
    for name in ("embed_documents", "aembed_documents"):
        with pytest.raises(InputError, match="A task is for queries"):
            call(minilm, name, task="Find it")


@pytest.mark.long
def test_the_methods_still_take_their_arguments_by_position_and_by_name(minilm: EmbeddingService) -> None:
    expected = minilm.embed(["the river"])
    for vectors in (
        minilm.embed(texts=["the river"]),
        minilm.embed_documents(texts=["the river"], prompt=""),
        [minilm.embed_query(text="the river", prompt_name=None, prompt="", task=None)],
        minilm.encode(texts=["the river"], timeout=None, alone=True).vectors,
    ):
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)


def test_a_service_shows_its_model_dimension_and_backend() -> None:
    service = EmbeddingService(BUNDLED, untrained_dimensions=True)
    assert repr(service) == f"EmbeddingService('{BUNDLED}', dimension=384, backend='{service.backend}')"
    assert service.backend in ("cpu", "cuda", "metal")
    with service.with_options(dimensions=64) as other:
        assert "dimension=64" in repr(other)
    service.close()
    assert repr(service) == f"EmbeddingService('{BUNDLED}', dimension=384, backend='{service.backend}', closed)"


def test_a_service_whose_thread_is_dead_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddingService(BUNDLED) as service:
        monkeypatch.setattr(type(service._resources.engine), "alive", False)
        assert repr(service).endswith(", dead)")


@pytest.mark.parametrize("timeout", [float("nan"), "5", True, np.True_, [5], 1j])
async def test_a_timeout_is_a_number_of_seconds(minilm: EmbeddingService, timeout: Any) -> None:
    with pytest.raises(InputError, match=r"timeout is .*; a number of seconds is expected") as error:
        minilm.encode(["the river"], timeout=timeout)
    assert error.value.field == "timeout"
    with pytest.raises(InputError, match="timeout is"):
        await minilm.aembed([], timeout=timeout)


@pytest.mark.parametrize("timeout", [math.inf, 1e300, np.float32(60), np.int64(60), Fraction(60)])
async def test_a_timeout_may_be_of_any_size_and_type_of_number(minilm: EmbeddingService, timeout: Any) -> None:
    """An infinite one is none; others beyond what the system's clock holds are not reached, either."""
    told: list[int] = []
    assert minilm.embed(["the river"], timeout=timeout).shape == (1, 384)
    assert (await minilm.aembed(["the river"], timeout=timeout, progress=told.append)).shape == (1, 384)
    assert minilm.embed(["the river"], timeout=timeout, wait=True).shape == (1, 384)
