"""Prompts in requests of every protocol: by name, as a text, with a task, or by what the texts are for."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.server import embedding_pb2 as pb
from tests.fixtures import model_path
from tests.server.calls import stub
from tests.server.conftest import Running, server_here
from tests.server.rest_client import post, refused
from tests.server.test_rpc import refused as refused_call
from tests.server.test_rpc import unpacked

TEXTS = ["Hello world", "", "Über den Wolken"]
# A model whose query prompt has an instruction, one with prompts for classification and clustering, one without any.
MODELS = ("tiny-qwen3", "tiny-nomic-bert", "tiny-bert")
TASK = "Retrieve duplicates"


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, EmbeddingService]]:
    services = {name: EmbeddingService(str(model_path(name))) for name in MODELS}
    yield services
    for one in services.values():
        one.close()


@pytest.fixture(scope="module")
def here(models: dict[str, EmbeddingService]) -> Iterator[Running]:
    with server_here(models) as running:
        yield running


# What a request says, by the names of OpenAI's endpoint, and what the library's ``encode`` is told instead.
PROMPTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("tiny-qwen3", {}, {}),
    ("tiny-qwen3", {"prompt_name": "query"}, {"prompt_name": "query"}),
    ("tiny-qwen3", {"prompt": "title: "}, {"prompt": "title: "}),
    ("tiny-qwen3", {"prompt": ""}, {"prompt": ""}),
    ("tiny-qwen3", {"task": TASK}, {"task": TASK}),
    ("tiny-qwen3", {"task": TASK, "input_type": "query"}, {"task": TASK}),
    ("tiny-qwen3", {"input_type": "query"}, {"prompt_name": "query"}),
    ("tiny-qwen3", {"input_type": "search_query"}, {"prompt_name": "query"}),
    ("tiny-qwen3", {"input_type": "document"}, {"prompt_name": "document"}),
    ("tiny-qwen3", {"input_type": "classification"}, {}),
    ("tiny-nomic-bert", {"input_type": "search_document"}, {"prompt_name": "document"}),
    ("tiny-nomic-bert", {"input_type": "passage"}, {"prompt_name": "document"}),
    ("tiny-nomic-bert", {"input_type": "classification"}, {"prompt_name": "classification"}),
    ("tiny-nomic-bert", {"input_type": "clustering"}, {"prompt_name": "clustering"}),
    ("tiny-bert", {"input_type": "query"}, {}),
    ("tiny-bert", {"input_type": "clustering"}, {}),
]


@pytest.mark.parametrize(("model", "said", "meant"), PROMPTS)
def test_the_vectors_are_the_librarys_with_that_prompt(
    here: Running, models: dict[str, EmbeddingService], model: str, said: dict[str, Any], meant: dict[str, Any]
) -> None:
    expected = models[model].encode(TEXTS, **meant)
    ours = {"prompt_text" if name == "prompt" else name: value for name, value in said.items()}
    rest = post(here, json={"texts": TEXTS, "model": model, **ours}).raise_for_status().json()
    openai = post(here, "/v1/embeddings", json={"input": TEXTS, "model": model, **said}).raise_for_status().json()
    with stub(here.target) as client:
        packed = client.Embed(pb.EmbedRequest(texts=TEXTS, model=model, **ours))
    for rows in (rest["embeddings"], [item["embedding"] for item in openai["data"]], unpacked(packed)):
        np.testing.assert_array_equal(np.array(rows, dtype=np.float32), expected.vectors)
    assert rest["fingerprint"] == packed.fingerprint == expected.fingerprint
    assert openai["usage"]["prompt_tokens"] == sum(expected.token_counts)


def test_the_prompts_do_differ(models: dict[str, EmbeddingService]) -> None:
    nomic = models["tiny-nomic-bert"]
    names = ("document", "query", "classification", "clustering")
    assert len({nomic.resolve_prompt(prompt_name=name) for name in names} | {nomic.resolve_prompt()}) == 5
    assert models["tiny-qwen3"].resolve_prompt(task=TASK) != models["tiny-qwen3"].resolve_prompt(prompt_name="query")


# Ours, OpenAI's, and what both are refused for: field and words.
MISTAKES: list[tuple[dict[str, Any], dict[str, Any], str | None, str]] = [
    ({"prompt_name": "poem"}, {"prompt_name": "poem"}, "prompt_name", "prompt_name is 'poem'; this model has"),
    ({"prompt": "poem"}, {"prompt_name": "poem"}, "prompt", "is 'poem'; this model has"),
    (
        {"prompt_name": "query", "prompt_text": "x"},
        {"prompt_name": "query", "prompt": "x"},
        "prompt_text",
        "Give prompt_name or {prompt_text}, not both.",
    ),
    (
        {"prompt_text": "y", "task": "x", "input_type": "query"},
        {"prompt": "y", "task": "x", "input_type": "query"},
        "task",
        "Give {prompt_text} or task or input_type, not all.",
    ),
    ({"task": "x", "input_type": "document"}, {"task": "x", "input_type": "document"}, "input_type", "not both"),
    ({"task": " "}, {"task": " "}, "task", "an instruction in words is expected"),
    ({"input_type": "image"}, {"input_type": "image"}, "input_type", "'search_query'"),
]


@pytest.mark.parametrize(("ours", "theirs", "field", "words"), MISTAKES)
def test_mistakes_are_told_by_the_names_that_were_sent(
    here: Running, ours: dict[str, Any], theirs: dict[str, Any], field: str, words: str
) -> None:
    told = refused(post(here, json={"texts": ["a"], **ours}), 422, "invalid", field)
    assert words.format(prompt_text="prompt_text") in told["error"]
    openai_field = {"prompt_text": "prompt", "prompt": "prompt_name"}.get(field, field)
    told = refused(post(here, "/v1/embeddings", json={"input": "a", **theirs}), 422, "invalid", openai_field)
    assert words.format(prompt_text="prompt") in told["message"]
    with stub(here.target) as client:
        error = refused_call(lambda: client.Embed(pb.EmbedRequest(texts=["a"], **ours)))
        [streamed] = client.EmbedStream(iter([pb.EmbedRequest(texts=["a"], **ours)]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words.format(prompt_text="prompt_text").strip("'") in error.details()
    assert streamed.error.field == field


def test_the_older_name_of_a_prompts_name_is_for_one_of_the_two(here: Running) -> None:
    told = refused(
        post(here, json={"texts": [], "prompt": "query", "prompt_name": "query"}), 422, "invalid", "prompt_name"
    )
    assert told["error"] == "Give prompt_name or prompt, its older name, not both."
    refused(post(here, json={"texts": [], "prompt_name": ""}), 422, "invalid", "prompt_name")


def test_a_prompt_counts_once_for_each_text(here: Running) -> None:
    for name in ("prompt_text", "task"):
        told = refused(post(here, json={"texts": ["a"] * 1000, name: "x" * 5000}), 413, "too_large", "max_body_bytes")
        assert told["error"].startswith("The prompt is read once for each of the 1000 texts")


@pytest.mark.parametrize("given", [0, -1, 60, 1.5, "5m", "1h30m", "-1", "300", None])
def test_how_long_a_model_stays_may_be_said(here: Running, given: Any) -> None:
    for path, name in (("/embed", "texts"), ("/v1/embeddings", "input")):
        assert post(here, path, json={name: ["a"], "keep_alive": given}).status_code == 200


@pytest.mark.parametrize("given", ["", "m", "5x", "5 m", "1m1", "soon", "٣m", "1" * 500, True, [1]])
def test_how_long_a_model_stays_must_be_a_duration(here: Running, given: Any) -> None:
    for path, name in (("/embed", "texts"), ("/v1/embeddings", "input")):
        refused(post(here, path, json={name: ["a"], "keep_alive": given}), 422, "invalid", "keep_alive")
