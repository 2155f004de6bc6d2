"""What the tests of the page at `/` do with it in a browser."""

import json
from typing import Any

from akidb_embeddings.registry import BUNDLED
from tests.server.browser import Tab

TEXTS = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again in March."]
MARKUP = ["<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 2'>", '<b>bold</b> & "quoted"']
ANSWERED = "document.querySelector('#told').textContent.includes('round trip')"
LOOK = "void document.dispatchEvent(new Event('asked'))"  # what the page does every few seconds, at once
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
# What the server tells of a model; its times are in seconds.
MODEL = {
    "id": BUNDLED, "kind": "embedding", "state": "loaded", "pinned": False, "memory_bytes": 66_400_000,
    "loaded_at": 1000.0, "last_used": 1500.0, "expires_at": 1890.0, "keep_alive": 300.0, "requests": 0, "loads": 1,
    "failed": False,
}  # fmt: skip


def ready(tab: Tab) -> None:
    """Wait until the page has all that it shows of an open server."""
    tab.until(
        "document.querySelector('#health').textContent === 'Ready' && document.querySelector('#limits dd') && "
        "document.querySelector('#latency tr')"
    )


def compare(tab: Tab, *texts: str) -> None:
    """Ask for the similarities of a list of texts."""
    tab.type("#texts", "\n".join(texts))
    tab.click("#entry button")


def rows(tab: Tab, table: str) -> list[list[str]]:
    """The texts of a table's cells."""
    script = "[...document.querySelectorAll({})].map((row) => [...row.cells].map((cell) => cell.innerText))"
    found: list[list[str]] = tab.value(script.format(json.dumps(f"{table} tr")))
    return found


def models(tab: Tab) -> dict[str, list[str]]:
    """By name, the other cells of the table of models: state, memory, loaded, last used, leaves, in flight, button."""
    found = rows(tab, "#models tbody")
    return {row[0].split("\n")[0]: row[1:] for row in found}


def names(tab: Tab) -> list[str]:
    """The names in the table of models."""
    return list(models(tab))


def choose(tab: Tab, field: str, choice: str) -> None:
    """Choose an option, as its user would."""
    tab.value(
        f"{{const field = document.querySelector({json.dumps(field)}); field.value = {json.dumps(choice)};"
        "field.dispatchEvent(new Event('change'))}"
    )


def of_module(tab: Tab, module: str, expression: str) -> Any:
    """What an expression is with the exports of one of the page's modules, ``m``."""
    return tab.value(f"import('./page/{module}.js').then((m) => {expression})")
