"""Which prompt goes before the texts of a call: configured, or given with the call by name, as text or as a task."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import ConfigurationError, EmbeddingConfig, EmbeddingService, InputError
from tests.fixtures import BUNDLED, copy_model, edit_json, golden, model_path
from tests.golden.texts import DOCUMENTS, QUERIES

TEXT = "the river"
WAYS = ("embed", "embed_query", "embed_queries", "embed_documents")
STS = "task: sentence similarity | query: "
QWEN3 = "Instruct: {}\nQuery:"


def service(model: str | Path = BUNDLED, **config: Any) -> EmbeddingService:
    path = model if isinstance(model, Path) else model_path(model)
    return EmbeddingService(config=EmbeddingConfig(model_name=str(path), **config))


def vector(made: EmbeddingService, way: str, **options: Any) -> Any:
    """The vector of one text, which the async twin gives as well."""
    single = way == "embed_query"
    texts = TEXT if single else [TEXT]
    vectors = getattr(made, way)(texts, **options)
    np.testing.assert_array_equal(vectors, asyncio.run(getattr(made, "a" + way)(texts, **options)))
    return vectors if single else vectors[0]


def prompted(made: EmbeddingService, prompt: str) -> Any:
    """The vector of the text with this prompt written out."""
    return made.encode([prompt + TEXT], prompt="").vectors[0]


@pytest.mark.parametrize("way", WAYS)
def test_every_method_takes_another_prompt_by_name_or_as_text(way: str) -> None:
    with service("tiny-gemma3", query_prompt="q: ", document_prompt="d: ") as made:
        usual = {"embed": "", "embed_documents": "d: "}.get(way, "q: ")
        np.testing.assert_array_equal(vector(made, way), prompted(made, usual))
        np.testing.assert_array_equal(vector(made, way, prompt_name=None, prompt=None), prompted(made, usual))
        np.testing.assert_array_equal(vector(made, way, prompt_name="STS"), prompted(made, STS))
        np.testing.assert_array_equal(vector(made, way, prompt="x "), prompted(made, "x "))
        np.testing.assert_array_equal(vector(made, way, prompt=""), prompted(made, ""))
        np.testing.assert_array_equal(vector(made, way, prompt_name="query"), prompted(made, "q: "))


@pytest.mark.parametrize("way", WAYS[:3])
@pytest.mark.parametrize(
    ("model", "expected"), [("tiny-gemma3", "task: Find it | query: "), ("tiny-qwen3", QWEN3.format("Find it"))]
)
def test_a_task_is_put_into_the_models_query_prompt(way: str, model: str, expected: str) -> None:
    with service(model, query_prompt="configured: ") as made:
        np.testing.assert_array_equal(vector(made, way, task="Find it"), prompted(made, expected))
        assert made.resolve_prompt(task="Find it") == expected
        result = made.encode([TEXT], task="Find it")
        assert result.fingerprint == made.fingerprint(expected) != made.fingerprint("configured: ")


def test_a_task_is_none_for_documents() -> None:
    with service("tiny-qwen3") as made:
        other: Any = {"task": "Find it"}
        with pytest.raises(InputError, match=r"A task is for queries.*encode\(texts, task=…\)"):
            made.embed_documents([TEXT], **other)
        with pytest.raises(InputError, match="A task is for queries"):
            asyncio.run(made.aembed_documents([TEXT], **other))


@pytest.mark.parametrize("way", ["encode", *WAYS[:3]])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt_name": "query", "prompt": ""}, "Give prompt_name or prompt, not both."),
        ({"prompt_name": "query", "task": "t"}, "Give prompt_name or task, not both."),
        ({"prompt": "x", "task": "t"}, "Give prompt or task, not both."),
        ({"prompt_name": "query", "prompt": "x", "task": "t"}, "Give prompt_name or prompt or task, not all."),
        ({"task": " "}, "task is ' '; an instruction in words is expected"),
        ({"task": 5}, "A string is expected"),
    ],
)
def test_ways_that_exclude_each_other_are_refused(way: str, options: dict[str, Any], words: str) -> None:
    with service("tiny-qwen3") as made, pytest.raises(InputError) as caught:
        getattr(made, way)(TEXT if way == "embed_query" else [TEXT], **options)
    assert words in str(caught.value)


def test_a_task_is_refused_where_the_model_has_no_instruction() -> None:
    with service() as made, pytest.raises(ConfigurationError, match="task is 't', but this model's query prompt is ''"):
        made.embed_query(TEXT, task="t")
    with pytest.raises(ConfigurationError, match="Give query_prompt_name=NAME or query_prompt=TEXT instead"):
        service("tiny-bert-cls", task="t")


@pytest.mark.parametrize(
    ("model", "config", "query", "document"),
    [
        ("tiny-gemma3", {"query_prompt_name": "STS"}, STS, "title: none | text: "),
        ("tiny-gemma3", {"query_prompt_name": "STS", "document_prompt_name": "STS"}, STS, STS),
        (
            "tiny-gemma3",
            {"document_prompt_name": "query", "query_prompt": "q: "},
            "q: ",
            "task: search result | query: ",
        ),
        ("tiny-gemma3", {"task": "code retrieval"}, "task: code retrieval | query: ", "title: none | text: "),
        ("tiny-qwen3", {"task": "Find it\n"}, QWEN3.format("Find it"), ""),
        ("tiny-bert", {"query_prompt_name": "query"}, "", ""),
    ],
)
def test_configured_names_and_tasks_decide_the_vectors(
    model: str, config: dict[str, str], query: str, document: str
) -> None:
    with service(model, **config) as made, service(model, query_prompt=query, document_prompt=document) as same:
        assert (made.settings.prompt("query"), made.settings.prompt("document")) == (query, document)
        np.testing.assert_array_equal(vector(made, "embed_query"), prompted(made, query))
        np.testing.assert_array_equal(vector(made, "embed_documents"), prompted(made, document))
        for name in ("query", "document"):
            ours, theirs = made.encode([TEXT], prompt_name=name), same.encode([TEXT], prompt_name=name)
            assert ours.fingerprint == theirs.fingerprint


@pytest.mark.parametrize("field", ["query_prompt_name", "document_prompt_name"])
def test_a_configured_name_that_the_model_has_not_is_refused_with_its_own(field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        service("tiny-gemma3", **{field: "Retrieval-qurey"})
    message = str(caught.value)
    assert message.startswith(f"{field} is 'Retrieval-qurey'; this model has 'query', 'document', 'BitextMining', ")
    assert f"Did you mean 'Retrieval-query'? Or give {field.removesuffix('_name')}=TEXT." in message


@pytest.fixture
def unnamed(tmp_path: Path) -> Path:
    """A model whose prompts are called as Harrier's are."""
    folder = copy_model("tiny-qwen3", tmp_path / "model")
    prompts = {"web_search_query": QWEN3.format("Search") + " ", "sts_query": QWEN3.format("Compare") + " "}
    edit_json(folder / "config_sentence_transformers.json", prompts=prompts)
    return folder


def test_queries_without_a_prompt_though_the_model_has_some_are_told_of_once(
    unnamed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with service(unnamed) as made, made.with_options(normalize=False) as other:
        made.embed_documents([TEXT])
        made.embed_query(TEXT, prompt_name="sts_query")
        made.embed_query(TEXT, task="Find it")
        assert not caplog.records
        np.testing.assert_array_equal(vector(made, "embed_query"), prompted(made, ""))
        other.embed_query(TEXT)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "none called 'query'" in record.getMessage()
    assert (
        "Set query_prompt_name to one of web_search_query, sts_query, or set query_prompt to ''" in record.getMessage()
    )


@pytest.mark.parametrize(
    "config", [{"query_prompt": ""}, {"query_prompt_name": "sts_query"}, {"query_prompt_name": "query"}, {"task": "T"}]
)
def test_who_says_what_queries_get_is_not_warned(
    unnamed: Path, config: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with service(unnamed, **config) as made:
        made.embed_query(TEXT)
    assert not caplog.records


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    """A model whose document prompt is called ``passage``, as in nomic-embed-text-v2-moe."""
    folder = copy_model("tiny-modernbert", tmp_path / "model")
    prompts = {"query": "search_query: ", "passage": "search_document: "}
    edit_json(folder / "config_sentence_transformers.json", prompts=prompts)
    return folder


def test_documents_get_the_prompt_called_passage(passages: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = golden("tiny-modernbert")
    with service(passages) as made:
        np.testing.assert_allclose(made.embed_queries(QUERIES), expected["queries"], rtol=0, atol=1e-5)
        assert not caplog.records
        for _ in range(2):
            np.testing.assert_allclose(made.embed_documents(DOCUMENTS), expected["documents"], rtol=0, atol=1e-5)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "has no prompt 'document', so documents get its prompt 'passage'" in record.getMessage()
    assert "Set document_prompt_name to 'passage' to confirm it" in record.getMessage()


def test_an_empty_document_prompt_beside_another_is_taken_at_its_word(
    passages: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What sentence-transformers 5 and 6 make of the folder above when they save it: they embed documents without."""
    prompts = {"document": "", "passage": "search_document: ", "query": "search_query: "}
    edit_json(passages / "config_sentence_transformers.json", prompts=prompts)
    with service(passages) as made:
        np.testing.assert_array_equal(vector(made, "embed_documents"), prompted(made, ""))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "has an empty prompt 'document', so documents get no prompt" in record.getMessage()
    assert "Set document_prompt_name to 'passage' to use it" in record.getMessage()


@pytest.mark.parametrize(
    ("config", "prompt"),
    [
        ({"document_prompt_name": "passage"}, "search_document: "),
        ({"document_prompt": ""}, ""),
        ({"document_prompt": "x: "}, "x: "),
    ],
)
def test_who_says_what_documents_get_is_not_warned(
    passages: Path, config: dict[str, str], prompt: str, caplog: pytest.LogCaptureFixture
) -> None:
    with service(passages, **config) as made:
        np.testing.assert_array_equal(vector(made, "embed_documents"), prompted(made, prompt))
    assert not caplog.records
