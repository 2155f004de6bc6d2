"""Cohere's own clients, the real ones, of both versions of its API."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohere
import pytest

from akidb_embeddings import RerankService
from akidb_embeddings.reranking.result import ranked
from akidb_embeddings.server.calls.auth import ApiKeys
from tests.conftest import LONG, run_python
from tests.docs.pages import blocks
from tests.fixtures import model_path
from tests.server.conftest import RERANKER, Running, server_here

QUERY = "how do the plants make sugar"
TEXTS = ["Plants make sugar from light.", "", "Über den Wolken 🦊 東京", "word " * 700, "Snow is cold."]


@pytest.fixture(params=["Client", "ClientV2"])
def client(request: pytest.FixtureRequest, server: Running) -> Iterator[Any]:
    with getattr(cohere, request.param)(api_key="none", base_url=server.url, timeout=LONG) as made:
        yield made


@pytest.mark.parametrize("top_n", [None, 2])
def test_scores_are_the_librarys(client: Any, reranker: RerankService, top_n: int | None) -> None:
    options = {} if top_n is None else {"top_n": top_n}
    answer = client.rerank(model=RERANKER, query=QUERY, documents=TEXTS, **options)
    result = reranker.score_details([(QUERY, text) for text in TEXTS], activation="sigmoid")
    expected = [(hit.index, hit.score) for hit in ranked(result, top_n)]
    assert [(one.index, one.relevance_score) for one in answer.results] == expected
    assert answer.id
    assert answer.meta.tokens.input_tokens == sum(result.token_counts)
    assert answer.meta.warnings == ["1 document was truncated; the header x-akidb-truncated says which."]


def test_documents_are_returned_by_the_first_version(server: Running) -> None:
    with cohere.Client(api_key="none", base_url=server.url, timeout=LONG) as client:
        documents = [TEXTS[0], {"text": TEXTS[2]}]
        answer = client.rerank(model=RERANKER, query=QUERY, documents=documents, return_documents=True)
        assert {one.index: one.document.text for one in answer.results} == {0: TEXTS[0], 1: TEXTS[2]}


async def test_the_asynchronous_client_works(server: Running) -> None:
    async with cohere.AsyncClientV2(api_key="none", base_url=server.url, timeout=LONG) as client:
        answer = await client.rerank(model=RERANKER, query=QUERY, documents=TEXTS)
        assert len(answer.results) == len(TEXTS)


def test_its_key_is_sent_and_refusals_are_its_errors(client: Any, server: Running, reranker: RerankService) -> None:
    with pytest.raises(cohere.NotFoundError, match="No model is called"):
        client.rerank(model="rerank-v3.5", query=QUERY, documents=TEXTS)
    with pytest.raises(cohere.UnprocessableEntityError, match="documents"):
        client.rerank(model=RERANKER, query=QUERY, documents=[])
    with server_here({"r": reranker}, keys=ApiKeys(["key"])) as here:
        kind = type(client)
        with kind(api_key="key", base_url=here.url, timeout=LONG) as allowed:
            assert allowed.rerank(model="r", query=QUERY, documents=TEXTS).results
        with kind(api_key="other", base_url=here.url, timeout=LONG) as other, pytest.raises(cohere.UnauthorizedError):
            other.rerank(model="r", query=QUERY, documents=TEXTS)


@pytest.mark.long
def test_the_program_of_the_documentation_runs(tmp_path: Path) -> None:
    [block] = [one for one in blocks("docs/api.md") if "client.rerank" in one.text]
    folder = tmp_path / "bge-reranker-v2-m3"  # the name that the program asks for
    shutil.copytree(model_path(RERANKER), folder)
    with RerankService(str(folder)) as made, server_here({folder.name: made}) as here:
        printed = run_python(block.text.replace("http://localhost:8080", here.url))
    index, score = printed.split()
    assert 0 <= float(score) <= 1
    assert index in ("0", "1")
