"""The page at `/`, in a real browser before real servers."""

import itertools
import json
from typing import Any

import httpx
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.http.page import PATHS
from tests.server.browser import Browser, Tab
from tests.server.conftest import RERANKER, Running, server_here
from tests.server.pages import ANSWERED, LOOK, MARKUP, TEXTS, choose, compare, names, ready, rows

pytestmark = pytest.mark.long


def matrix(tab: Tab) -> Any:
    tab.until(ANSWERED)
    cells = [row[2:] for row in rows(tab, "#matrix tbody")]
    return np.array([[float(cell.replace("\N{MINUS SIGN}", "-")) for cell in row] for row in cells])


def test_it_shows_health_models_and_limits_and_asks_no_other_host(tab: Tab, server: Running) -> None:
    info = httpx.get(f"{server.url}/info").json()
    [model] = info["models"]
    assert tab.text("#version") == info["version"]
    [reranker] = info["rerankers"]
    about = {row[0].split("\n")[0]: row[0].split("\n")[1:] for row in rows(tab, "#models tbody")}
    assert about == {
        BUNDLED: [
            f"Embedding model \N{MIDDLE DOT} 384 dimensions \N{MIDDLE DOT} {model['max_tokens']} tokens \N{MIDDLE DOT} "
            f"pooling mean \N{MIDDLE DOT} prompts {', '.join(model['prompts'])}",
            model["fingerprint"],
        ],
        RERANKER: ["Reranker \N{MIDDLE DOT} 1,024 tokens", reranker["fingerprint"]],
    }
    shown = tab.value(
        "[...document.querySelectorAll('#limits dd')].map((cell) => [cell.parentElement.title, cell.innerText])"
    )
    assert {name: float(text.replace(",", "")) for name, text in shown} == info["limits"]
    compare(tab, *TEXTS)
    tab.until(ANSWERED)
    assert tab.complaints == []
    asked = {url.removeprefix(server.url) for url in tab.requests if not url.startswith("data:")}
    assert asked == {*PATHS, "/readyz", "/v1/models", "/info", "/metrics", "/embed"}


def test_without_embedding_models_nothing_is_compared(chromium: Browser, reranker: RerankService) -> None:
    with server_here({"r": reranker}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        assert (
            tab.value("['pair', 'similarity'].some((id) => document.querySelector(`#${id}`).checkVisibility())")
            is False
        )
        assert names(tab) == ["r"]
        assert tab.complaints == []


def test_the_matrix_has_the_cores_cosines(tab: Tab, bundled: EmbeddingService) -> None:
    compare(tab, TEXTS[0], "", *TEXTS[1:], "  ")
    result = bundled.encode(TEXTS)
    assert matrix(tab) == pytest.approx(result.vectors @ result.vectors.T, abs=6e-4)
    assert [row[0] for row in rows(tab, "#matrix tbody")] == [f"{n}  {text}" for n, text in enumerate(TEXTS, 1)]
    assert [row[1] for row in rows(tab, "#matrix tbody")] == [str(count) for count in result.token_counts]
    assert BUNDLED in tab.text("#matrix caption")


def test_markup_in_texts_is_shown_as_text(tab: Tab) -> None:
    before = tab.value("document.querySelectorAll('script, img, b').length")
    compare(tab, *MARKUP)
    tab.until(ANSWERED)
    assert [row[0] for row in rows(tab, "#matrix tbody")] == [f"{n}  {text}" for n, text in enumerate(MARKUP, 1)]
    assert tab.value("[document.querySelectorAll('script, img, b').length, window.hacked ?? null]") == [before, None]
    assert tab.complaints == []


def test_markup_in_a_models_name_is_shown_as_text(chromium: Browser, bundled: EmbeddingService) -> None:
    name = MARKUP[1]
    with server_here({"plain": bundled, name: bundled}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        tab.value(f"document.querySelector('#model').value = {json.dumps(name)}")
        compare(tab, *TEXTS)
        tab.until(ANSWERED)
        assert name in tab.text("#matrix caption")
        assert names(tab) == ["plain", name]
        assert "(default)" in rows(tab, "#models tbody")[0][0]
        assert tab.value("[document.querySelectorAll('img').length, window.hacked ?? null]") == [0, None]


def test_the_chosen_model_and_prompt_are_asked_for(chromium: Browser, bundled: EmbeddingService) -> None:
    prompted = EmbeddingService(config=bundled.config.with_values(query_prompt="the stock market: "))
    with prompted, server_here({"plain": bundled, "prompted": prompted}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        for model, prompt in itertools.product(("plain", "prompted"), ("", "query")):
            for field, choice in (("model", model), ("prompt", prompt)):
                choose(tab, f"#{field}", choice)
            compare(tab, *TEXTS)
            service = {"plain": bundled, "prompted": prompted}[model]
            vectors = service.encode(TEXTS, prompt_name=prompt or None).vectors
            wanted = f"{model}, 384 dimensions" + (f", prompt {prompt}" if prompt else "")
            tab.until(f"document.querySelector('#matrix caption').innerText === '{wanted}'")
            assert matrix(tab) == pytest.approx(vectors @ vectors.T, abs=6e-4)
        first = bundled.embed(TEXTS)
        assert abs(vectors @ vectors.T - first @ first.T).max() > 0.01  # the prompt does make a difference


def test_a_text_that_is_cut_is_flagged(tab: Tab) -> None:
    compare(tab, TEXTS[0], "word " * 400)
    tab.until(ANSWERED)
    whole, cut = (row[1] for row in rows(tab, "#matrix tbody"))
    assert "truncated" not in whole
    assert cut.split() == ["256", "truncated"]


def test_a_refusal_is_told_in_words_and_the_next_request_works(chromium: Browser, bundled: EmbeddingService) -> None:
    with server_here({BUNDLED: bundled}, max_texts=2) as running, chromium.tab(running.url) as tab:
        ready(tab)
        compare(tab, *TEXTS)
        tab.until("!document.querySelector('#wrong').hidden")
        words = tab.text("#wrong")
        assert "There are 3 texts; max_texts is 2 per request." in words
        assert "status 422" in words
        assert tab.value("document.querySelector('#matrix').checkVisibility()") is False
        compare(tab, " ", "")
        tab.until("document.querySelector('#wrong').innerText.startsWith('Type one or more texts')")
        compare(tab, *TEXTS[:2])
        assert matrix(tab).shape == (2, 2)
        assert tab.text("#wrong") == ""
        assert tab.value("document.querySelector('#wrong').hidden") is True


def test_a_server_that_is_not_ready_or_gone_is_shown_as_such(chromium: Browser, bundled: EmbeddingService) -> None:
    with server_here({BUNDLED: bundled}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        assert running.handler is not None
        running.handler.draining = True
        tab.value(LOOK)
        tab.until("document.querySelector('#health').innerText === 'Not ready'")
        assert tab.text("#problems") == "the server is shutting down"
        running.handler.draining = False
        tab.value(LOOK)
        ready(tab)
        assert tab.value("document.querySelector('#problems').hidden") is True
        tab.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        tab.value(LOOK)
        tab.until("document.querySelector('#problems').innerText === 'The server cannot be reached.'")
        compare(tab, *TEXTS)
        tab.until("document.querySelector('#wrong').innerText === 'The server cannot be reached.'")


@pytest.mark.parametrize("protect_health", [False, True])
def test_a_server_with_keys_asks_for_one(chromium: Browser, bundled: EmbeddingService, protect_health: bool) -> None:
    keys, key = ApiKeys(["another", "a-secret-key"]), "a-secret-key"
    served = server_here({BUNDLED: bundled}, keys=keys, protect_health=protect_health)
    with served as running, chromium.tab(running.url) as tab:
        tab.until("document.querySelector('#key').checkVisibility()")
        tab.until(f"document.querySelector('#health').innerText === 'Ready' || {str(protect_health).lower()}")
        compare(tab, *TEXTS)
        tab.until("document.querySelector('#wrong').innerText.includes('An API key is required')")
        tab.type("#key", "wrong-key")
        tab.press("Enter")
        tab.until("document.querySelector('#key-wrong').innerText === 'The server does not accept this key.'")
        tab.type("#key", key)
        tab.press("Enter")
        ready(tab)
        compare(tab, *TEXTS)
        assert matrix(tab).shape == (3, 3)
        assert tab.value("document.querySelector('#key').checkVisibility()") is False
        assert tab.value("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        assert not [url for url in tab.requests if key in url]


def test_nothing_is_asked_while_nobody_looks(tab: Tab) -> None:
    tab.value("void (document.addEventListener('visibilitychange', () => { window.hiddenNow = document.hidden; }))")
    with tab.behind():
        tab.until("document.hidden")
        tab.browser.pause(0.5)  # a look that had begun ends
        before = len(tab.requests)
        tab.browser.pause(3.5)  # more than the page waits between two looks
        assert len(tab.requests) == before
    tab.until("!document.hidden")
    tab.browser.pause(1)
    assert len(tab.requests) > before
