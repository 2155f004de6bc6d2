"""The page at `/`, in a real browser before real servers."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.auth import ApiKeys
from tests.server.browser import CONTROL, Browser, Tab, browser
from tests.server.conftest import RERANKER, Running, server_here

pytestmark = pytest.mark.long

TEXTS = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again in March."]
MARKUP = ["<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 2'>", '<b>bold</b> & "quoted"']
ANSWERED = "document.querySelector('#told').textContent.includes('round trip')"
# Every text on the page against what is behind it, as WCAG counts; a canvas knows the colours in any notation.
CONTRASTS = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgba(getComputedStyle(element).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const light = (colour) => {
    const linear = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const [r, g, b] = colour.slice(0, 3).map((c) => linear(c / 255));
    return .2126 * r + .7152 * g + .0722 * b + .05;
  };
  const found = [...document.body.querySelectorAll("*")].filter((element) => element.checkVisibility() &&
    [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()));
  return found.map((element) => {
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => a - b);
    return [b / a, element.textContent.slice(0, 60)];
  });
})()"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture
def tab(chromium: Browser, server: Running) -> Iterator[Tab]:
    """The page of the server that all tests share, once it has all it shows."""
    with chromium.tab(server.url) as opened:
        ready(opened)
        yield opened


def ready(tab: Tab) -> None:
    tab.until("document.querySelector('#health').textContent === 'Ready' && document.querySelector('#latency tr')")


def compare(tab: Tab, *texts: str) -> None:
    tab.type("#texts", "\n".join(texts))
    tab.click("#entry button")


def rows(tab: Tab, table: str) -> list[list[str]]:
    """The texts of a table's cells."""
    script = "[...document.querySelectorAll({})].map((row) => [...row.cells].map((cell) => cell.innerText))"
    found: list[list[str]] = tab.value(script.format(json.dumps(f"{table} tr")))
    return found


def matrix(tab: Tab) -> Any:
    tab.until(ANSWERED)
    cells = [row[2:] for row in rows(tab, "#matrix tbody")]
    return np.array([[float(cell.replace("\N{MINUS SIGN}", "-")) for cell in row] for row in cells])


def test_it_shows_health_models_and_limits_and_asks_no_other_host(tab: Tab, server: Running) -> None:
    info = httpx.get(f"{server.url}/info").json()
    [model] = info["models"]
    assert tab.text("#version") == info["version"]
    [reranker] = info["rerankers"]
    assert rows(tab, "#models") == [
        [BUNDLED, "384", str(model["max_tokens"]), "mean", ", ".join(model["prompts"]), model["fingerprint"]],
        [RERANKER, "\N{EN DASH}", "1,024", "reranker", "", reranker["fingerprint"]],
    ]
    shown = tab.value("[...document.querySelectorAll('#limits td')].map((cell) => [cell.title, cell.innerText])")
    assert {name: float(text.replace(",", "")) for name, text in shown} == info["limits"]
    compare(tab, *TEXTS)
    tab.until(ANSWERED)
    assert tab.complaints == []
    asked = {url.removeprefix(server.url) for url in tab.requests}
    assert asked == {"/", "/readyz", "/info", "/metrics", "/embed"}


def test_without_embedding_models_nothing_is_compared(chromium: Browser, reranker: RerankService) -> None:
    with server_here({"r": reranker}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        assert tab.value("document.querySelector('#compare').checkVisibility()") is False
        assert [row[0] for row in rows(tab, "#models")] == ["r"]
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
        assert [row[0] for row in rows(tab, "#models")] == ["plain (default)", name]
        assert tab.value("[document.querySelectorAll('img').length, window.hacked ?? null]") == [0, None]


def test_the_chosen_model_and_prompt_are_asked_for(chromium: Browser, bundled: EmbeddingService) -> None:
    prompted = EmbeddingService(config=bundled.config.with_values(query_prompt="the stock market: "))
    with prompted, server_here({"plain": bundled, "prompted": prompted}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        for model, prompt in itertools.product(("plain", "prompted"), ("", "query")):
            for field, choice in (("model", model), ("prompt", prompt)):
                tab.value(f"{{const field = document.querySelector('#{field}'); field.value = '{choice}';"
                          "field.dispatchEvent(new Event('change'))}")  # fmt: skip
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
        tab.until("document.querySelector('#health').innerText === 'Not ready'")
        assert tab.text("#problems") == "the server is shutting down"
        running.handler.draining = False
        ready(tab)
        assert tab.value("document.querySelector('#problems').hidden") is True
        tab.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
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


def test_latency_counts_every_clients_requests(chromium: Browser, bundled: EmbeddingService) -> None:
    with server_here({BUNDLED: bundled}, max_texts=2) as running:
        httpx.post(f"{running.url}/embed", json={"texts": TEXTS[:1]}).raise_for_status()
        with chromium.tab(running.url) as tab:
            ready(tab)
            assert [row[1:] for row in rows(tab, "#latency")][:2] == [["0", "1"], ["0", "0"]]
            assert rows(tab, "#latency")[2][1] == "\N{EN DASH}"
            for texts in (TEXTS[:1], TEXTS[:2], TEXTS):
                httpx.post(f"{running.url}/v1/embeddings", json={"input": texts})
            tab.until("document.querySelector('#latency tr').cells[1].innerText === '3'")
            found = rows(tab, "#latency")
            assert [row[1:] for row in found][:2] == [["3", "4"], ["1", "1"]]
            assert all(cell.startswith("≈ ") and cell.endswith("s") for row in found[2:] for cell in row[1:])
            assert "0 tokens in the queue" in tab.text("#now")


@pytest.mark.parametrize(("share", "wanted"), [(0.25, "≈ 5 ms"), (0.5, "≈ 10 ms"), (0.75, "≈ 55 ms"), (1, "> 100 ms")])
def test_quantiles_are_estimated_as_prometheus_does(tab: Tab, share: float, wanted: str) -> None:
    buckets = {0.01: 10, 0.1: 20 - 1e-9} if share < 1 else {0.01: 10, 0.1: 19}
    pairs = ", ".join(f"[{limit}, {count}]" for limit, count in buckets.items())
    assert tab.value(f"quantile({share}, new Map([{pairs}, [Infinity, 20]]))") == wanted
    assert tab.value("quantile(.5, new Map([[1, 0], [Infinity, 0]]))") == "\N{EN DASH}"


def test_nothing_is_asked_while_nobody_looks(tab: Tab) -> None:
    tab.value("void (document.addEventListener('visibilitychange', () => { window.hiddenNow = document.hidden; }))")
    with tab.behind():
        tab.until("document.hidden && !looking")
        before = len(tab.requests)
        tab.browser.pause(3.5)  # more than the page waits between two looks
        assert len(tab.requests) == before
    tab.until("!document.hidden")
    tab.browser.pause(1)
    assert len(tab.requests) > before


def test_it_works_by_keyboard_alone(tab: Tab) -> None:
    for _ in range(10):
        tab.press("Tab")
        if tab.value("document.activeElement.id") == "texts":
            break
    else:
        raise AssertionError("Tab does not lead to the texts")
    tab.press("Enter", CONTROL)
    assert matrix(tab).shape == (3, 3)
    order = []
    for _ in range(4):
        tab.press("Tab")
        order.append(tab.value("document.activeElement.id || document.activeElement.innerText"))
    assert order[:3] == ["model", "prompt", "Compare"]
    assert tab.value("document.activeElement.getAttribute('aria-label')") == "Similarity matrix"


def test_every_control_and_table_has_a_name_for_screen_readers(tab: Tab) -> None:
    compare(tab, *TEXTS)
    tab.until(ANSWERED)
    nodes = [node for node in tab.call("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}
    controls = {name for role, name in named if role in {"textbox", "combobox", "button", "link", "region"}}
    assert "" not in controls
    assert {"Texts, one per line", "Model", "Prompt", "Compare", "Similarity matrix"} <= controls
    headers = {(role, " ".join(name.split())) for role, name in named}
    assert {("columnheader", "1"), ("columnheader", "Tokens"), ("rowheader", f"1 {TEXTS[0]}")} <= headers


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_can_be_read_in_light_and_dark_on_wide_and_narrow_windows(tab: Tab, width: int, dark: bool) -> None:
    tab.look(width=width, dark=dark)
    compare(tab, *TEXTS, "word " * 300)
    tab.until(ANSWERED)
    tab.value("complain($('key-wrong'), new Wrong('The key is wrong.', 401, 'id')); $('locked').hidden = false")
    contrasts = tab.value(CONTRASTS)
    assert len(contrasts) > 50
    assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []
    assert tab.value("document.documentElement.scrollWidth") <= width
