"""The files of the page at `/`: where they come from, and what they may load. Without a browser."""

import re
from pathlib import Path

import httpx
import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.registry import BUNDLED
from akidb_embeddings.server.calls.auth import ApiKeys
from akidb_embeddings.server.http import page
from tests.server.conftest import Running, server_here

FOLDER = Path(page.__file__).parent / "web"
FILES = sorted(FOLDER.iterdir())


def test_the_policy_allows_nothing_within_html_and_nothing_of_other_hosts(server: Running) -> None:
    response = httpx.get(server.url)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert "http" not in policy


def test_html_has_no_script_style_or_handler_of_its_own() -> None:
    html = (FOLDER / "page.html").read_text(encoding="utf-8")
    assert "<style" not in html
    assert not re.search(r"\s(?:style|on\w+)=", html)
    assert not re.search(r"""(?:src|href)=["']/""", html)  # all is relative, for proxies with a path of their own
    assert re.findall(r"<script([^>]*)>(.*?)</script>", html, re.DOTALL) == [(' type="module" src="page/page.js"', "")]


def test_no_file_names_another_host() -> None:
    for file in FILES:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert not re.search(r"(?:https?:)?//[\w-]+\.\w", text), file.name


def test_markup_is_never_made_of_texts() -> None:
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            file.name
        )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_are_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.long
def test_all_files_are_served_and_no_others(server: Running) -> None:
    assert {f"/page/{file.name}" for file in FILES} - page.PATHS == {"/page/page.html"}
    for path in page.PATHS - {"/"}:
        response = httpx.get(f"{server.url}{path}")
        assert response.text == (FOLDER / path.rpartition("/")[2]).read_text(encoding="utf-8")
        assert (
            response.headers["content-type"].partition(";")[0]
            == f"text/{'css' if path.endswith('css') else 'javascript'}"
        )
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-cache"
        assert httpx.head(f"{server.url}{path}").headers["content-length"] == response.headers["content-length"]
    for path in ("page", "page/", "page/page.html", "page/other.js", "page/../page.py", "page/..%2fpage.py"):
        assert httpx.get(f"{server.url}/{path}").status_code == 404, path


@pytest.mark.long
def test_they_are_public_where_the_api_is_not(bundled: EmbeddingService) -> None:
    with server_here({BUNDLED: bundled}, keys=ApiKeys(["a-secret-key"]), protect_health=True) as running:
        assert httpx.get(f"{running.url}/info").status_code == 401
        assert {httpx.get(f"{running.url}{path}").status_code for path in page.PATHS} == {200}
        assert httpx.post(f"{running.url}/page/page.js").status_code == 401
