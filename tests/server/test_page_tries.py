"""The page's forms for two texts and for a list to rerank."""

import itertools

import pytest

from akidb_embeddings import EmbeddingService, RerankService
from akidb_embeddings.registry import BUNDLED
from tests.server.browser import CONTROL, Browser, Tab
from tests.server.conftest import RERANKER, server_here
from tests.server.pages import MARKUP, TEXTS, choose, ready

pytestmark = pytest.mark.long

DOCUMENTS = ["Snow is cold.", "Foxes rest in dens.", "The train leaves at nine."]
QUERY = "Where do foxes sleep?"
HITS = """[...document.querySelectorAll("#hits li")].map((item) =>
  [...item.querySelectorAll(".hit > *")].map((one) => one.innerText))"""


def compare_pair(tab: Tab, left: str, right: str) -> float:
    tab.value("document.querySelector('#pair-told').textContent = ''")
    tab.type("#left", left)
    tab.type("#right", right)
    tab.click("#pair button")
    tab.until("document.querySelector('#pair-told').textContent.includes('round trip')")
    return float(tab.text("#cosine").replace("\N{MINUS SIGN}", "-"))


def rerank(tab: Tab, query: str, *documents: str) -> list[list[str]]:
    tab.value("document.querySelector('#rerank-told').textContent = ''")
    tab.type("#query", query)
    tab.type("#documents", "\n".join(documents))
    tab.click("#rerank button")
    tab.until("document.querySelector('#rerank-told').textContent.includes('round trip')")
    found: list[list[str]] = tab.value(HITS)
    return found


def test_two_texts_have_the_cores_cosine(tab: Tab, bundled: EmbeddingService) -> None:
    result = bundled.encode(TEXTS[:2])
    assert compare_pair(tab, *TEXTS[:2]) == pytest.approx(float(result.vectors[0] @ result.vectors[1]), abs=6e-5)
    assert [tab.text(f"#{side}-tokens") for side in ("left", "right")] == [f"{n} tokens" for n in result.token_counts]
    width = tab.value("parseFloat(document.querySelector('#pair-result .bar > div').style.width)")
    assert width == pytest.approx(100 * float(result.vectors[0] @ result.vectors[1]), abs=0.01)
    assert f"{BUNDLED}, 384 dimensions" in tab.text("#pair-told")
    assert tab.complaints == []


def test_a_text_of_several_lines_is_one_text_and_a_cut_is_told(tab: Tab, bundled: EmbeddingService) -> None:
    lines, long = "two\nlines, one text", "word " * 400
    vectors = bundled.embed([lines, long])
    assert compare_pair(tab, lines, long) == pytest.approx(float(vectors[0] @ vectors[1]), abs=6e-5)
    assert "truncated" not in tab.text("#left-tokens")
    assert tab.text("#right-tokens") == "256 tokens truncated The rest was not read."
    tab.type("#right", "short")
    assert tab.text("#right-tokens") == ""  # it was said of another text


def test_each_text_has_its_prompt(chromium: Browser, bundled: EmbeddingService) -> None:
    prompted = EmbeddingService(config=bundled.config.with_values(query_prompt="the stock market: "))
    with prompted, server_here({"p": prompted}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        query, plain = prompted.embed(TEXTS, prompt_name="query"), prompted.embed(TEXTS)
        by_prompt = {"": plain, "query": query}
        for left, right in itertools.product(by_prompt, repeat=2):
            wanted = by_prompt[left][0] @ by_prompt[right][1]
            choose(tab, "#left-prompt", left)
            choose(tab, "#right-prompt", right)
            assert compare_pair(tab, *TEXTS[:2]) == pytest.approx(float(wanted), abs=6e-5), (left, right)


def test_what_is_missing_or_refused_is_told(
    chromium: Browser, bundled: EmbeddingService, reranker: RerankService
) -> None:
    served = server_here({BUNDLED: bundled, "r": reranker}, max_texts=2, max_text_characters=100)
    with served as running, chromium.tab(running.url) as tab:
        ready(tab)
        compare_pair(tab, *TEXTS[:2])
        tab.type("#left", "long " * 30)
        tab.press("Enter", CONTROL)
        tab.until("document.querySelector('#pair-wrong').innerText.includes('max_text_characters')")
        assert tab.value("document.querySelector('#pair-result').checkVisibility()") is False
        tab.type("#left", " ")
        tab.press("Enter", CONTROL)
        tab.until("document.querySelector('#pair-wrong').innerText === 'Type both texts.'")
        tab.type("#documents", "\n".join(DOCUMENTS))
        tab.click("#rerank button")
        tab.until("document.querySelector('#rerank-wrong').innerText.includes('max_texts is 2')")
        tab.type("#documents", "\n \n")
        tab.click("#rerank button")
        tab.until("document.querySelector('#rerank-wrong').innerText.startsWith('Type one or more documents')")
        tab.type("#query", " ")
        tab.click("#rerank button")
        tab.until("document.querySelector('#rerank-wrong').innerText === 'Type a query.'")
        assert len(rerank(tab, QUERY, *DOCUMENTS[:2])) == 2
        assert tab.text("#rerank-wrong") == ""


def test_documents_come_in_the_order_of_their_scores(tab: Tab, reranker: RerankService) -> None:
    found = rerank(tab, QUERY, DOCUMENTS[0], "", *DOCUMENTS[1:])
    hits = reranker.rerank(QUERY, DOCUMENTS, activation="sigmoid")
    assert [text for text, _ in found] == [DOCUMENTS[hit.index] for hit in hits]
    assert [float(score) for _, score in found] == pytest.approx([hit.score for hit in hits], abs=6e-5)
    widths = tab.value("[...document.querySelectorAll('#hits .bar > div')].map((bar) => parseFloat(bar.style.width))")
    assert widths == pytest.approx([100 * hit.score for hit in hits], abs=0.01)
    assert RERANKER in tab.text("#rerank-told")
    assert tab.complaints == []


def test_a_document_that_was_cut_is_marked(tab: Tab) -> None:
    found = rerank(tab, QUERY, DOCUMENTS[0], "word " * 2000)
    assert {row[0][:4]: row[1] for row in found}["word"] == "truncated"
    assert [len(row) for row in found].count(3) == 1


def test_markup_in_documents_is_shown_as_text_and_does_not_run(tab: Tab) -> None:
    before = tab.value("document.querySelectorAll('script, img, b').length")
    assert {row[0] for row in rerank(tab, MARKUP[0], *MARKUP)} == set(MARKUP)
    compare_pair(tab, *MARKUP[:2])
    assert tab.value("[document.querySelectorAll('script, img, b').length, window.hacked ?? null]") == [before, None]
    assert tab.complaints == []


def test_what_a_server_has_no_model_for_is_not_offered(chromium: Browser, bundled: EmbeddingService) -> None:
    with server_here({BUNDLED: bundled}) as running, chromium.tab(running.url) as tab:
        ready(tab)
        assert tab.value("document.querySelector('#rerank-section').checkVisibility()") is False
        section, page = tab.value(
            "[document.querySelector('#pair-section'), document.querySelector('main')].map((one) => one.clientWidth)"
        )
        assert section > 0.9 * page
