"""Prompts by name, and instructions in the place of the trained ones."""

import pytest

from akidb_embeddings.checkpoint.prompts import find_prompt, instruct, passage_prompt, with_query_and_document
from akidb_embeddings.errors import ConfigurationError
from akidb_embeddings.registry import MODELS

SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
GEMMA = {"query": "task: search result | query: ", "document": "title: none | text: ", "STS": "task: sts | query: "}
HARRIER = {
    "web_search_query": f"Instruct: {SEARCH}\nQuery: ",
    "sts_query": "Instruct: Retrieve semantically similar text\nQuery: ",
}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (MODELS["qwen3-0.6b-4bit"].prompts, "Instruct: T\nQuery:"),
        (MODELS["gemma-300m-4bit"].prompts, "task: T | query: "),
        ({"query": f"Instruct: {SEARCH}\nQuery: "}, "Instruct: T\nQuery: "),
        ({"query": f"Instruct: {SEARCH} \n Query: "}, "Instruct: T \n Query: "),
        ({"query": f"Instruct:{SEARCH}\nQuery:"}, "Instruct:T\nQuery:"),
        ({"query": "Instruct: of\ntwo lines\nQuery:"}, "Instruct: T\nQuery:"),
        (HARRIER, "Instruct: T\nQuery: "),
        ({"query": "", "document": ""} | HARRIER, "Instruct: T\nQuery: "),
        ({"Retrieval-query": GEMMA["query"], "document": GEMMA["document"]}, "task: T | query: "),
        (GEMMA | {"other": "Instruct: x\nQuery:"}, "task: T | query: "),
    ],
)
def test_only_the_instruction_of_the_models_own_query_prompt_is_replaced(own: dict[str, str], expected: str) -> None:
    assert instruct(own, "T") == expected


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"query": "query: ", "passage": "passage: "},
        {"query": "", "document": ""},
        {"query": "Represent this sentence for searching relevant passages: "},
        {"query": "Instruct: no query follows"},
        {"query": "Instruct: \nQuery:"},
        {"query": "task: | query: "},
        {"query": "query: ", "sts": "Instruct: x\nQuery: "},
        {"a": "Instruct: x\nQuery: ", "b": "Instruct: x\nQuery:"},
        {"document": "title: none | text: "},
    ],
    ids=str,
)
def test_where_no_prompt_tells_the_form_a_task_is_refused_with_the_way_out(own: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        instruct(own, "T")
    message = str(caught.value)
    assert message.startswith(f"task is 'T', but this model's query prompt is {own.get('query', '')!r}, which has no")
    assert message.endswith("Give prompt_name=NAME or prompt=TEXT instead.")


def test_a_task_is_put_in_as_it_is_but_for_white_space_around_it() -> None:
    own = MODELS["qwen3-0.6b-4bit"].prompts
    assert instruct(own, "  Find {this} | \\1 \n now\n") == "Instruct: Find {this} | \\1 \n now\nQuery:"


def test_the_models_own_instruction_gives_its_own_prompt() -> None:
    assert instruct(MODELS["qwen3-0.6b-4bit"].prompts, SEARCH) == MODELS["qwen3-0.6b-4bit"].prompts["query"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sts", " Did you mean 'STS'?"),
        ("STS ", " Did you mean 'STS'?"),
        ("qurey", " Did you mean 'query'?"),
        ("documents", " Did you mean 'document'?"),
        ("poem", ""),
        (5, ""),
        (["query"], " Did you mean 'query'?"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones_and_a_near_one(name: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_prompt(GEMMA, name, "query_prompt_name")
    known = f"query_prompt_name is {name!r}; this model has 'query', 'document', 'STS'.{hint}"
    assert str(caught.value) == f"{known} Or give query_prompt=TEXT."


def test_no_prompt_of_another_name_is_taken_for_that_of_queries() -> None:
    assert with_query_and_document(HARRIER) == HARRIER | {"document": "", "query": ""}


@pytest.mark.parametrize(
    ("trained", "expected", "doubtful"),
    [
        ({"document": "d: ", "passage": "p: ", "corpus": "c: "}, "d: ", None),
        ({"passage": "p: ", "corpus": "c: "}, "p: ", "passage"),
        ({"corpus": "c: "}, "c: ", "corpus"),
        ({"document": "", "passage": "p: "}, "", "passage"),  # as sentence-transformers 5 and 6 save the one without
        ({"document": "", "passage": "", "corpus": "c: "}, "", "corpus"),
        ({"document": "", "passage": ""}, "", None),
        ({"document": "d: "}, "d: ", None),
        ({}, "", None),
    ],
    ids=str,
)
def test_the_document_prompt_is_the_first_of_its_names(
    trained: dict[str, str], expected: str, doubtful: str | None
) -> None:
    assert with_query_and_document(trained) == {"query": ""} | trained | {"document": expected}
    assert passage_prompt(trained) == doubtful
