"""The documentation as a site: it is built without a warning, loads nothing from other hosts, and can be searched."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.server.browser import Browser, browser

pytestmark = pytest.mark.long

_LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?![^>]*rel=["']?(?:canonical|alternate))[^>]*?\bhref=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|url\(["']?((?:https?:)?//[^)"']+)|@import\s+["']((?:https?:)?//[^"']+)"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_no_page_names_something_to_load_from_another_host(site: Path) -> None:
    files = [file for kind in ("*.html", "*.css") for file in site.rglob(kind)]
    assert len(files) > 20
    for file in files:
        found = _LOADED.search(file.read_text(encoding="utf-8"))
        assert not found, f"{file.relative_to(site)}: {found[0]}"


def test_what_would_be_loaded_is_found() -> None:
    for text in (
        '<script src="https://unpkg.com/x"></script>', "<link rel=stylesheet href=https://fonts.example/x>",
        '<img alt="" src="//example.org/x.png">', "a { background: url('https://example.org/x') }",
    ):  # fmt: skip
        assert _LOADED.search(text), text
    assert not _LOADED.search('<a href="https://example.org">x</a><link rel="canonical" href="https://example.org">')


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


def test_no_page_is_wider_than_a_window_or_a_phone(site: Path, chromium: Browser) -> None:
    """What is too wide scrolls within itself. The browser resolves no names, and asks for nothing but files."""
    for file in sorted({*site.rglob("*.html")} - {site / "404.html"}):  # that one is for servers
        with chromium.tab(file.as_uri()) as tab:
            for width in (1280, 390):
                tab.look(width=width)
                assert tab.value("document.documentElement.scrollWidth") <= width, (width, file.relative_to(site))
            assert all(url.startswith(("file:", "data:", "about:")) for url in tab.requests), tab.requests


def test_the_search_finds_a_word(site: Path, chromium: Browser) -> None:
    with chromium.tab((site / "index.html").as_uri()) as tab:
        tab.type("input.md-search__input", "fingerprint")
        tab.press("Space")  # it searches when a key is let go
        tab.until("document.querySelector('.md-search-result__link')")
        assert "fingerprint" in tab.text(".md-search-result__list").lower()
        assert not [url for url in tab.requests if url.startswith("http")]
