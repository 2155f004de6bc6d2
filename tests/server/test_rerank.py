"""Scores over every protocol: the library's to the last bit, the best first, with what became of each text."""

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.reranking.result import ranked
from akidb_embeddings.server import embedding_pb2 as pb
from tests.fixtures import model_path
from tests.golden.texts import counted_text
from tests.server.calls import stub
from tests.server.conftest import RERANKER, Running, server_here
from tests.server.rest_client import COHERE, client, get, post, refused

QUERY = "how do the plants make sugar"
LONG_TEXT = counted_text(1500, seed=3)
TEXTS = ["Plants make sugar from light.", "", "Über den Wolken 🦊 東京", LONG_TEXT, "line\nbreak", "Snow is cold."]
HEADER = "x-akidb-truncated"
PATHS = ("/rerank", *COHERE)


def body_for(path: str, query: str, texts: list[str], **options: Any) -> dict[str, Any]:
    return {"query": query, "texts" if path == "/rerank" else "documents": texts, **options}


def hits(response: httpx.Response) -> list[tuple[int, float]]:
    """Indices and scores, whatever the shape."""
    body = response.raise_for_status().json()
    listed = body if isinstance(body, list) else body["results"]
    return [(one["index"], one["score" if isinstance(body, list) else "relevance_score"]) for one in listed]


def expected_hits(service: RerankService, texts: list[str], top_k: int | None = None, **options: Any) -> list[Any]:
    result = service.score_details([(QUERY, text) for text in texts], **options)
    return [(hit.index, hit.score) for hit in ranked(result, top_k)]


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], [f"number {index}" for index in range(500)]])
@pytest.mark.parametrize(("raw", "activation"), [(True, "identity"), (False, "sigmoid"), (None, "sigmoid")])
@pytest.mark.parametrize("path", PATHS)
def test_scores_are_the_librarys_to_the_last_bit(
    server: Running, reranker: RerankService, path: str, raw: bool | None, activation: str, texts: list[str]
) -> None:
    given = {} if raw is None else {"raw_scores": raw}
    found = hits(post(server, path, json=body_for(path, QUERY, texts, **given)))
    assert found == expected_hits(reranker, texts, activation=activation)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert [float(np.float32(score)) for score in scores] == scores


@pytest.mark.long
def test_many_texts_are_more_than_one_window_of_the_engine(server: Running, reranker: RerankService) -> None:
    """Which then may share micro-batches, as others' requests do: scores differ by rounding."""
    texts = [f"number {index}" for index in range(2048)]
    found = dict(hits(post(server, "/rerank", json=body_for("/rerank", QUERY, texts, raw_scores=True))))
    expected = reranker.score([(QUERY, text) for text in texts], activation="identity")
    np.testing.assert_allclose([found[index] for index in range(len(texts))], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1], []])
@pytest.mark.parametrize("activation", [None, "model", "sigmoid", "identity"])
@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
def test_grpcs_scores_are_the_librarys_to_the_last_bit(
    server: Running, reranker: RerankService, activation: str | None, texts: list[str], top_k: int | None
) -> None:
    request = pb.RerankRequest(query=QUERY, texts=texts, top_k=top_k, activation=activation, request_id="mine")
    with stub(server.target) as calls:
        answer = calls.Rerank(request)
    found = list(zip(answer.indices, answer.scores, strict=True))
    result = reranker.score_details([(QUERY, text) for text in texts], activation=activation or "model")
    assert found == [(hit.index, hit.score) for hit in ranked(result, top_k)]
    assert list(answer.token_counts) == result.token_counts
    assert list(answer.truncated) == result.truncated
    assert (answer.model, answer.fingerprint, answer.request_id) == (RERANKER, result.fingerprint, "mine")
    assert answer.timings.total >= answer.timings.compute


def test_a_model_whose_scores_are_logits_gives_sigmoids_where_an_api_promises_them() -> None:
    """As TEI does; over gRPC, "model" means what the model was trained for."""
    with RerankService(str(model_path("tiny-bert-reranker"))) as made, server_here({"r": made}) as here:
        assert made.activation == "identity"
        for path in PATHS:
            found = hits(post(here, path, json=body_for(path, QUERY, TEXTS)))
            assert found == expected_hits(made, TEXTS, activation="sigmoid")
            assert all(0 <= score <= 1 for _, score in found)
        with stub(here.target) as calls:
            answer = calls.Rerank(pb.RerankRequest(query=QUERY, texts=TEXTS))
        assert list(zip(answer.indices, answer.scores, strict=True)) == expected_hits(made, TEXTS)


@pytest.mark.parametrize("path", COHERE)
def test_an_instruction_reaches_a_model_that_takes_one(path: str) -> None:
    instruction = "Find what plants live on"
    with RerankService(str(model_path("tiny-qwen3-reranker"))) as made, server_here({"q": made}) as here:
        expected = expected_hits(made, TEXTS, instruction=instruction)
        assert expected != expected_hits(made, TEXTS)
        body = body_for(path, QUERY, TEXTS, instruction=instruction)
        assert hits(post(here, path, json=body)) == expected
        with stub(here.target) as calls:
            answer = calls.Rerank(pb.RerankRequest(query=QUERY, texts=TEXTS, instruction=instruction))
            told = calls.Info(pb.InfoRequest()).rerankers[0].instruction
        assert list(zip(answer.indices, answer.scores, strict=True)) == expected
        assert told == made.instruction == get(here, "/info").json()["rerankers"][0]["instruction"]
        told = refused(post(here, path, json=body | {"instruction": " "}), 422, "invalid", "instruction")
        assert told["message"].startswith("instruction is ' '")


def test_passages_of_long_texts_can_count(server: Running, reranker: RerankService) -> None:
    expected = expected_hits(reranker, TEXTS, max_over_passages=True)
    assert expected != expected_hits(reranker, TEXTS)
    response = post(server, "/v1/rerank", json=body_for("/v1/rerank", QUERY, TEXTS, max_over_passages=True))
    assert hits(response) == expected
    assert HEADER not in response.headers
    with stub(server.target) as calls:
        answer = calls.Rerank(pb.RerankRequest(query=QUERY, texts=TEXTS, max_over_passages=True))
    assert list(zip(answer.indices, answer.scores, strict=True)) == expected
    assert not any(answer.truncated)


@pytest.mark.parametrize("path", PATHS)
def test_truncation_is_told_or_refused(server: Running, reranker: RerankService, path: str) -> None:
    cut, refusing = (True, False) if path == "/rerank" else ("end", "error")
    for options in ({}, {"truncate": None}, {"truncate": cut}):
        response = post(server, path, json=body_for(path, QUERY, [*TEXTS, LONG_TEXT], **options))
        assert response.headers[HEADER] == f"{TEXTS.index(LONG_TEXT)},{len(TEXTS)}"
        assert hits(response) == expected_hits(reranker, [*TEXTS, LONG_TEXT], activation="sigmoid")
    response = post(server, path, json=body_for(path, QUERY, TEXTS[:3], truncate=refusing))
    assert HEADER not in response.headers
    assert len(hits(response)) == 3
    name = "texts" if path == "/rerank" else "documents"
    response = post(server, path, json=body_for(path, QUERY, TEXTS, truncate=refusing))
    told = refused(response, 422, "invalid", f"{name}[{TEXTS.index(LONG_TEXT)}]")
    assert told["limit"] == reranker.max_tokens


def test_the_server_can_refuse_where_the_client_says_nothing() -> None:
    with (
        RerankService(str(model_path(RERANKER)), truncate="error") as made,
        server_here({"r": made}) as here,
        stub(here.target) as calls,
    ):
        refused(post(here, "/rerank", json=body_for("/rerank", QUERY, [LONG_TEXT])), 422, "invalid", "texts[0]")
        response = post(here, "/rerank", json=body_for("/rerank", QUERY, [LONG_TEXT], truncate=True))
        assert response.headers[HEADER] == "0"
        assert list(calls.Rerank(pb.RerankRequest(query=QUERY, texts=[LONG_TEXT], truncate="end")).truncated) == [True]


def test_many_truncated_texts_are_counted_after_the_first_hundred() -> None:
    with RerankService(str(model_path(RERANKER)), max_tokens=5) as made, server_here({"r": made}) as here:
        for count, told in ((100, "99"), (101, "99,+1"), (150, "99,+50")):
            response = post(here, "/rerank", json=body_for("/rerank", "plants", ["the sugar and the light"] * count))
            assert response.headers[HEADER].endswith(f",{told}")
            assert response.headers[HEADER].startswith("0,1,2,")


def test_teis_texts_are_returned_when_they_are_wanted(server: Running) -> None:
    body = body_for("/rerank", QUERY, TEXTS)
    for entry in post(server, "/rerank", json=body | {"return_text": True}).json():
        assert set(entry) == {"index", "score", "text"}
        assert entry["text"] == TEXTS[entry["index"]]
    for given in ({"return_text": False}, {"return_text": None}, {}):
        assert all(set(entry) == {"index", "score"} for entry in post(server, "/rerank", json=body | given).json())


@pytest.mark.parametrize("path", COHERE)
def test_coheres_documents_may_be_objects_and_are_returned_when_they_are_wanted(
    server: Running, reranker: RerankService, path: str
) -> None:
    documents = [{"text": text} if index % 2 else text for index, text in enumerate(TEXTS)]
    for count in (2, len(TEXTS), 1000, 10**30):
        body = {"query": QUERY, "documents": documents, "top_n": count, "return_documents": True}
        response = post(server, path, json=body)
        assert hits(response) == expected_hits(reranker, TEXTS, count, activation="sigmoid")
        for entry in response.json()["results"]:
            assert entry["document"] == {"text": TEXTS[entry["index"]]}
    body = response.json()
    tokens = sum(reranker.score_details([(QUERY, text) for text in TEXTS]).token_counts)
    assert body["id"] == response.headers["x-request-id"]
    assert body["model"] == RERANKER
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert body["meta"]["tokens"] == {"input_tokens": tokens, "output_tokens": 0}
    [warning] = body["meta"]["warnings"]
    assert HEADER in warning
    plain = post(server, path, json=body_for(path, QUERY, TEXTS[:2], priority=3)).json()
    assert "warnings" not in plain["meta"]
    assert all(set(entry) == {"index", "relevance_score"} for entry in plain["results"])


def test_fields_without_effect_are_accepted_and_others_refused(server: Running, reranker: RerankService) -> None:
    expected = expected_hits(reranker, TEXTS, activation="sigmoid")
    limit = reranker.max_tokens
    accepted: list[tuple[str, dict[str, Any]]] = [
        ("/rerank", {"truncation_direction": "right"}),
        ("/rerank", {"truncation_direction": "Right"}),
        ("/rerank", {"truncation_direction": None, "raw_scores": None, "truncate": None, "return_text": None}),
        *((path, {"max_tokens_per_doc": limit, "priority": 999}) for path in COHERE),
        *((path, {"max_tokens_per_doc": 10**30}) for path in COHERE),
    ]
    for path, options in accepted:
        assert hits(post(server, path, json=body_for(path, QUERY, TEXTS, **options))) == expected
    for side in ("left", "Left"):
        body = body_for("/rerank", QUERY, TEXTS, truncation_direction=side)
        told = refused(post(server, "/rerank", json=body), 422, "invalid", "truncation_direction")
        assert "right side" in told["error"]
    for options in ({"max_tokens_per_doc": limit - 1}, {"max_tokens_per_doc": limit, "max_over_passages": True}):
        body = body_for("/v2/rerank", QUERY, TEXTS, **options)
        assert refused(post(server, "/v2/rerank", json=body), 422, "invalid", "max_tokens_per_doc")["limit"] == limit


def test_both_kinds_are_listed_and_each_is_found_by_its_routes_alone(
    server: Running, reranker: RerankService, bundled: EmbeddingService
) -> None:
    info = get(server, "/info").json()
    assert info["rerankers"] == [
        {
            "name": RERANKER,
            "default": True,
            "state": "loaded",
            "architecture": "xlm-roberta",
            "max_tokens": 1024,
            "model_max_tokens": 1024,
            "activation": "sigmoid",
            "truncate": "end",
            "instruction": None,
            "fingerprint": reranker.fingerprint(),
        }
    ]
    [name] = [model["name"] for model in info["models"]]
    listed = get(server, "/v1/models").json()["data"]
    assert [(one["id"], one["kind"]) for one in listed] == [(name, "embedding"), (RERANKER, "reranker")]
    for one in listed:
        assert get(server, f"/v1/models/{one['id']}").json() == one
    told = refused(post(server, json={"texts": ["x"], "model": RERANKER}), 404, "not_found", "model")
    assert told["error"] == f"{RERANKER!r} is a reranker; the embedding models here are {name}."
    for path in PATHS:
        body = body_for(path, QUERY, TEXTS, model=RERANKER)
        assert post(server, path, json=body).status_code == 200
        refused(post(server, path, json=body | {"model": name}), 404, "not_found", "model")
        refused(post(server, path, json=body | {"model": "gpt"}), 404, "not_found", "model")


def test_several_rerankers_answer_by_name_and_the_first_by_default(reranker: RerankService) -> None:
    with (
        RerankService(str(model_path("tiny-bert-reranker"))) as other,
        server_here({"b": other, "x": reranker}) as here,
    ):
        assert [one["default"] for one in get(here, "/info").json()["rerankers"]] == [True, False]
        for name, service in (("b", other), ("x", reranker), (None, other)):
            response = post(here, "/v1/rerank", json=body_for("/v1/rerank", QUERY, TEXTS, model=name))
            assert hits(response) == expected_hits(service, TEXTS, activation="sigmoid")
            assert response.json()["model"] == (name or "b")


@pytest.fixture(scope="module")
def rerankers_only(reranker: RerankService) -> Iterator[Running]:
    with server_here({"r": reranker}, probe_seconds=0.001) as here:
        yield here


def test_a_server_without_embedding_models(rerankers_only: Running) -> None:
    here = rerankers_only
    told = refused(post(here, json={"texts": ["x"]}), 404, "not_found", "model")
    assert told["error"] == "This server has no embedding model, only r."
    refused(post(here, "/v1/embeddings", json={"input": "x"}), 404, "not_found", "model")
    refused(post(here, json={"texts": ["x"], "model": "r"}), 404, "not_found", "model")
    with client(here) as connection:
        for path in ("/", "/docs", "/livez", "/readyz", "/metrics", "/v1/models/r"):
            assert connection.get(path).status_code == 200, path
        assert connection.get("/info").json()["models"] == []
        assert [one["id"] for one in connection.get("/v1/models").json()["data"]] == ["r"]
        assert connection.post("/rerank", json=body_for("/rerank", QUERY, TEXTS)).status_code == 200


def test_a_server_without_rerankers(bundled: EmbeddingService) -> None:
    with server_here({"m": bundled}) as here:
        for path in PATHS:
            told = refused(post(here, path, json=body_for(path, QUERY, TEXTS)), 404, "not_found", "model")
            assert "This server has no reranker, only m." in told.values()
        assert get(here, "/info").json()["rerankers"] == []
        assert post(here, json={"texts": ["x"]}).status_code == 200
