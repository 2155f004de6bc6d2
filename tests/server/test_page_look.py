"""The page at phone and desktop width, in light and dark, by keyboard, and for screen readers."""

import json

import pytest

from tests.server.browser import CONTROL, Tab
from tests.server.pages import ANSWERED, CONTRASTS, MODEL, TEXTS, compare, of_module, rows

pytestmark = pytest.mark.long

# What is shown only if something is wrong or under way, all at once.
EVERYTHING = """Promise.all([import("./page/elements.js"), import("./page/calls.js"), import("./page/models.js")]).then(
  ([{complain}, {Wrong}, {showStates}]) => {
    for (const id of ["key-wrong", "models-wrong", "pair-wrong", "rerank-wrong", "wrong"])
      complain(document.getElementById(id), new Wrong("The key is wrong.", 401, "an id"));
    for (const id of ["locked", "admin-form", "metrics-locked", "models-locked"])
      document.getElementById(id).hidden = false;
    document.getElementById("metrics-locked").textContent = "Reading this requires a key.";
    document.getElementById("problems").hidden = false;
    document.querySelector("#problems ul").textContent = "no response";
    const model = {pinned: false, memory_bytes: 1e9, loaded_at: 1, last_used: 1, expires_at: 900, keep_alive: 900,
      requests: 1, loads: 1, kind: "embedding", failed: false};
    showStates(["loaded", "loading", "unloaded", "unloading"]
      .map((state) => ({...model, id: `${state}-${"name".repeat(12)}`, state}))
      .concat([{...model, id: "failed", state: "unloaded", failed: true}]), 500);
  })"""
# Elements that reach out of the window's width, but not those within an area that scrolls.
TOO_WIDE = """[...document.querySelectorAll("body *")].filter((one) =>
  one.checkVisibility() && !one.closest(".scroll, .unseen, thead")
  && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"""
CONTROLS = """[...document.querySelectorAll("a, button, input, select, textarea, [tabindex]")]
  .filter((one) => one.checkVisibility())"""
FIELDS = {
    *("First text", "Second text", "Query", "Documents, one per line", "Reranker", "Texts, one per line", "Model"),
    *("Prompt", "API key", "Admin key"),
}
NAME = """((one) => one.id || one.getAttribute("aria-label") || one.innerText)"""


def ask_all(tab: Tab) -> None:
    """Have every form answered."""
    tab.click("#pair button")
    tab.until("document.querySelector('#pair-told').textContent.includes('round trip')")
    tab.click("#rerank button")
    tab.until("document.querySelector('#rerank-told').textContent.includes('round trip')")
    compare(tab, *TEXTS, "word " * 300)
    tab.until(ANSWERED)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read_in_light_and_dark_on_wide_and_narrow_windows(tab: Tab, width: int, dark: bool) -> None:
    tab.look(width=width, dark=dark)
    ask_all(tab)
    tab.value(EVERYTHING)
    contrasts = tab.value(CONTRASTS)
    assert len(contrasts) > 120
    assert [(round(ratio, 2), text) for ratio, text in contrasts if ratio < 4.5] == []
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.value(TOO_WIDE) == []
    background = tab.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == dark
    assert tab.complaints == []


def test_it_works_by_keyboard_alone(tab: Tab) -> None:
    wanted = tab.value(f"{CONTROLS}.map({NAME})")
    found = []
    for _ in wanted:
        tab.press("Tab")
        found.append(tab.value(f"{NAME}(document.activeElement)"))
        assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid", found[-1]
        if found[-1] == "texts":
            tab.press("Enter", CONTROL)
            tab.until(ANSWERED)
    tab.press("Tab")
    before = wanted.index("texts") + 1
    assert found[:before] == wanted[:before]
    assert found[before : before + 4] == ["model", "prompt", "Compare", "Similarity matrix"]  # it is there by then
    assert {"left", "right", "pair-model", "query", "documents", "texts"} <= set(found)
    tab.value("document.querySelector('#query').focus()")
    tab.press("Enter")  # as in every field of one line
    tab.until("document.querySelectorAll('#hits li').length === 3")
    tab.value("document.querySelector('#pair button').focus()")
    tab.press("Space")
    tab.until("document.querySelector('#pair-result').checkVisibility()")


@pytest.mark.parametrize("width", [1280, 390])
def test_every_control_table_and_chart_has_a_name_for_screen_readers(tab: Tab, width: int) -> None:
    tab.look(width=width)
    ask_all(tab)
    tab.value("document.querySelector('#locked').hidden = document.querySelector('#admin-form').hidden = false")
    nodes = [node for node in tab.call("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    named = {(node["role"]["value"], " ".join(node.get("name", {}).get("value", "").split())) for node in nodes}
    controls = {name for role, name in named if role in {"textbox", "combobox", "button", "link", "region", "image"}}
    assert "" not in controls
    models = [row[0].split("\n")[0] for row in rows(tab, "#models tbody")]
    assert FIELDS | {"Compare", "Rerank", "Similarity matrix", *(f"Unload {name}" for name in models)} <= controls
    charts = [name for role, name in named if role == "image"]
    assert sorted(name.split(" over ")[0] for name in charts) == ["Latency", "Queue"]
    assert {"1", "Tokens", "Last used", "Load or unload"} <= {name for role, name in named if role == "columnheader"}
    assert {("table", "Models"), ("rowheader", f"1 {TEXTS[0]}"), ("rowheader", "Longest wait")} <= named
    assert any(role == "rowheader" and name.startswith(models[0]) for role, name in named)


def test_long_names_do_not_widen_the_page(tab: Tab) -> None:
    tab.look(width=390)
    name = "owner/" + "a-very-long-name-" * 12
    model = MODEL | {"id": name, "pinned": True}
    script = f"[m.showStates([{json.dumps(model)}], 2), document.documentElement.scrollWidth][1]"
    assert of_module(tab, "models", script) <= 390
