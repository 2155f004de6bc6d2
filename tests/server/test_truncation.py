"""A text that was cut is never cut in silence: clients, metrics and the log are told, and it may be refused instead."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server import embedding_pb2 as pb
from akidb_embeddings.server.calls.truncation import truncation_warning
from tests.fixtures import model_path
from tests.server.calls import metric, stub
from tests.server.conftest import RERANKER, Running, server_here, server_process
from tests.server.rest_client import get, post, refused

LONG_TEXT = "word " * 400
TEXTS = [LONG_TEXT, "short", LONG_TEXT]
HEADER = "x-akidb-truncated"


def _header(response: httpx.Response) -> str | None:
    told: str | None = response.headers.get(HEADER)
    return told


def _field(response: httpx.Response) -> str | None:
    flags = response.json()["truncated"]
    assert _header(response) is None
    return ",".join(str(index) for index, flag in enumerate(flags) if flag) or None


@dataclass(frozen=True)
class Dialect:
    """How one API says ``texts``, ``truncate``, and which texts it cut."""

    path: str
    texts: str
    cut: dict[str, Any]
    reject: dict[str, Any]
    told: Callable[[httpx.Response], str | None] = _header

    def body(self, texts: list[str], **options: Any) -> dict[str, Any]:
        return {self.texts: texts} | options


DIALECTS = {
    "rest": Dialect("/embed", "texts", {"truncate": "end"}, {"truncate": "error"}, _field),
    "tei": Dialect("/embed", "inputs", {"truncate": True}, {"truncate": False}),
    "tei at the root": Dialect("/", "inputs", {"truncate": True}, {"truncate": False}),
    "cohere": Dialect("/v2/embed", "texts", {"truncate": "END"}, {"truncate": "NONE"}),
    "cohere 1": Dialect("/v1/embed", "texts", {"truncate": "END"}, {"truncate": "NONE"}),
    "ollama": Dialect("/api/embed", "input", {"truncate": True}, {"truncate": False}),
    "openai": Dialect("/v1/embeddings", "input", {"truncate": "end"}, {"truncate": "error"}),
}
each = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))


@pytest.fixture
def lenient(bundled: EmbeddingService) -> Iterator[Running]:
    with server_here({"m": bundled}) as here:
        yield here


@pytest.mark.long
@each
def test_a_text_that_is_cut_is_told_and_counted(lenient: Running, dialect: Dialect) -> None:
    for options in ({}, {"truncate": None}, dialect.cut):
        before = metric(lenient.url, "akidb_truncated_texts_total") if options else 0
        response = post(lenient, dialect.path, json=dialect.body(TEXTS, **options))
        assert response.status_code == 200, response.text
        assert dialect.told(response) == "0,2"
        assert metric(lenient.url, "akidb_truncated_texts_total") == before + 2
    assert dialect.told(post(lenient, dialect.path, json=dialect.body(["short"]))) is None


@each
def test_a_request_may_ask_that_no_text_is_cut(lenient: Running, dialect: Dialect) -> None:
    told = refused(post(lenient, dialect.path, json=dialect.body(["a", LONG_TEXT], **dialect.reject)), 422, "invalid",
                   f"{dialect.texts}[1]")  # fmt: skip
    assert "402 tokens" in str(told)
    assert "the limit is 256" in str(told)
    assert post(lenient, dialect.path, json=dialect.body(["a"], **dialect.reject)).status_code == 200


@each
def test_a_server_may_refuse_to_cut_and_a_request_ask_for_it(dialect: Dialect, bundled: EmbeddingService) -> None:
    with bundled.with_options(truncate="error") as strict, server_here({"m": strict}) as here:
        for options in ({}, {"truncate": None}, dialect.reject):
            response = post(here, dialect.path, json=dialect.body(TEXTS, **options))
            refused(response, 422, "invalid", f"{dialect.texts}[0]")
        response = post(here, dialect.path, json=dialect.body(TEXTS, **dialect.cut))
        assert (response.status_code, dialect.told(response)) == (200, "0,2")


def test_grpc_tells_of_it_and_counts_it(lenient: Running) -> None:
    with stub(lenient.target) as client:
        answer = client.Embed(pb.EmbedRequest(texts=TEXTS))
        [streamed] = client.EmbedStream(iter([pb.EmbedRequest(texts=TEXTS)]))
    assert list(answer.truncated) == list(streamed.response.truncated) == [True, False, True]
    assert metric(lenient.url, "akidb_truncated_texts_total") == 4


@pytest.mark.long
def test_the_log_tells_of_the_first_cut_of_each_model(
    bundled: EmbeddingService, reranker: RerankService, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "confidential "
    with (
        bundled.with_options(dimensions=8) as small,
        server_here({"m": bundled, "small": small, "r": reranker}) as here,
        caplog.at_level(logging.INFO),
    ):
        for model in ("m", "small", "m", "small"):
            assert post(here, json={"texts": ["a", secret * 300], "model": model}).status_code == 200
        body = {"query": secret, "texts": [secret * 2000, secret * 2000]}
        assert [post(here, "/rerank", json=body).status_code for _ in range(2)] == [200, 200]
    told = [record for record in caplog.records if "max_tokens" in record.getMessage()]
    assert {record.levelno for record in told} == {logging.WARNING}
    messages = [record.getMessage() for record in told]
    assert [message.split()[0] for message in messages] == ["m", "small", "r"]
    assert messages[0].startswith("m cut 1 of the 2 texts of a request at its limit, max_tokens: 256.")
    assert messages[2].startswith("r cut 2 of the 2 texts of a request at its limit, max_tokens: 1024.")
    assert all("--truncate error" in message and "akidb_truncated_texts_total" in message for message in messages)
    assert secret.strip() not in caplog.text


def test_info_has_the_models_limit_and_the_one_in_force() -> None:
    with (
        EmbeddingService(str(model_path("tiny-bert")), max_tokens=20) as low,
        RerankService(str(model_path(RERANKER)), max_tokens=30) as reranker,
        server_here({"low": low, "r": reranker}) as here,
    ):
        info = get(here, "/info").json()
        [model], [other] = info["models"], info["rerankers"]
        with stub(here.target) as client:
            packed = client.Info(pb.InfoRequest())
    assert (model["max_tokens"], model["model_max_tokens"]) == (20, low.checkpoint.max_tokens)
    assert (other["max_tokens"], other["model_max_tokens"]) == (30, 1024)
    assert low.checkpoint.max_tokens > 20
    assert (packed.models[0].max_tokens, packed.models[0].model_max_tokens) == (20, low.checkpoint.max_tokens)
    assert (packed.rerankers[0].max_tokens, packed.rerankers[0].model_max_tokens) == (30, 1024)


@pytest.mark.long
def test_a_flag_of_the_server_rejects_what_it_would_cut() -> None:
    reranker = str(model_path(RERANKER))
    with server_process("--model", BUNDLED, "--reranker", reranker, "--truncate", "error") as running:
        refused(post(running, json={"texts": TEXTS}), 422, "invalid", "texts[0]")
        body = {"query": "x", "texts": ["a", "b " * 2000]}
        refused(post(running, "/rerank", json=body), 422, "invalid", "texts[1]")
        info = get(running, "/info").json()
        assert [one["truncate"] for one in info["models"] + info["rerankers"]] == ["error", "error"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [([False], None), ([True, False], "1 document was truncated"), ([True, True], "2 documents were truncated")],
)
def test_a_warning_counts_in_words(flags: list[bool], words: str | None) -> None:
    assert truncation_warning(flags, "document") == (words and f"{words}; the header {HEADER} says which.")
