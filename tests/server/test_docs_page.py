"""`/docs`, in a real browser: it shows every operation, and nothing that it needs comes from elsewhere."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.app import describe
from akidb_embeddings.server.calls.auth import ApiKeys
from tests.server.browser import Browser, Tab
from tests.server.conftest import Running, server_here

SHOWN = "document.querySelectorAll('.opblock').length"
# Elements with names of files in them, and rules of stylesheets with others than data.
REFERENCES = re.compile(r"""(?:src|href|url)\s*[=(:]\s*["']?([^"')\s>]+)""")


def operations() -> set[tuple[str, str]]:
    paths = describe().openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_the_page_and_its_files_come_from_the_server_alone(server: Running) -> None:
    page = httpx.get(f"{server.url}/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert re.findall(r"script-src ([^;]+)", policy) == ["'self'"]
    references = [one for one in REFERENCES.findall(page.text) if not one.startswith("data:")]
    assert len(references) == 3
    assert not [one for one in references if urlsplit(one).netloc or one.startswith("/")]
    for name, kind in (("swagger-ui.css", "text/css"), ("swagger-ui-bundle.js", "javascript"), ("start.js", "javascr")):
        response = httpx.get(f"{server.url}/docs/{name}")
        assert response.status_code == 200
        assert kind in response.headers["content-type"]
    style = httpx.get(f"{server.url}/docs/swagger-ui.css").text
    assert not [one for one in re.findall(r"url\(([^)]{0,9})", style) if not one.strip("\"'").startswith("data:")]


def test_other_files_are_not_served(server: Running) -> None:
    for path in ("docs/", "docs/redoc.standalone.js", "docs/../docs.py", "docs/..%2fapp.py", "docs/oauth2-redirect"):
        assert httpx.get(f"{server.url}/{path}").status_code == 404, path


def shown(tab: Tab) -> set[tuple[str, str]]:
    tab.until(f"{SHOWN} === {len(operations())}")
    cells = "['.opblock-summary-method', '.opblock-summary-path'].map((cell) => one.querySelector(cell).innerText)"
    script = f"[...document.querySelectorAll('.opblock')].map((one) => {cells})"
    return {(method, path.replace("\N{ZERO WIDTH SPACE}", "")) for method, path in tab.value(script)}


@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 390])
def test_every_operation_is_shown_and_no_request_leaves(chromium: Browser, server: Running, width: int) -> None:
    with chromium.tab(f"{server.url}/docs", width=width) as tab:
        assert shown(tab) == operations()
        tab.click(".opblock")
        tab.until("document.querySelector('.opblock.is-open')")
        requests = [url for url in tab.requests if not url.startswith("data:")]
        assert requests
        assert {urlsplit(url).netloc for url in requests} == {urlsplit(server.url).netloc}
        assert tab.complaints == []


@pytest.mark.long
def test_a_request_can_be_tried(chromium: Browser, server: Running, tmp_path: Path) -> None:
    with chromium.tab(f"{server.url}/docs") as tab:
        shown(tab)
        tab.click("#operations-embed-embed_embed_post .opblock-summary-control")
        tab.until("document.querySelector('.try-out__btn')")
        tab.click(".try-out__btn")
        tab.until("document.querySelector('.opblock textarea')")
        tab.type(".opblock textarea", '{"texts": ["one"]}')
        tab.click(".execute")
        tab.until("document.querySelector('.live-responses-table .response-col_status')")
        assert tab.text(".live-responses-table tbody .response-col_status").startswith("200")
        tab.screenshot(tmp_path / "docs.png")
        assert tab.complaints == []


@pytest.mark.long
def test_it_is_public_where_the_api_is_not(chromium: Browser, bundled: EmbeddingService) -> None:
    served = server_here({BUNDLED: bundled}, keys=ApiKeys(["a-secret-key"]), protect_health=True)
    with served as running, chromium.tab(f"{running.url}/docs") as tab:
        assert shown(tab) == operations()
        assert tab.complaints == []
