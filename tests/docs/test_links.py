"""Links in the documentation lead somewhere: files exist, and so do headings. Other hosts are not asked."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from tests.conftest import REPOSITORY
from tests.docs.pages import folder_of, pages, read

_SOURCE = "https://github.com/akidb/akidb-embeddings/"


def nodes(text: str) -> Iterator[SyntaxTreeNode]:
    return SyntaxTreeNode(MarkdownIt("commonmark").enable("table").parse(text)).walk()


def links(page: str) -> list[str]:
    found = [node for node in nodes(read(page)) if node.type in ("link", "image")]
    return [str(node.attrs.get("href", node.attrs.get("src"))) for node in found]


def anchors(text: str) -> set[str]:
    """The anchors of headings, as GitHub and mkdocs alike name them, and of what mkdocstrings puts in."""
    found = set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    for node in nodes(text):
        if node.type == "heading":
            words = "".join(inner.content for inner in node.walk() if inner.type in ("text", "code_inline"))
            found.add(anchor(words))
    return found


def anchor(words: str) -> str:
    return re.sub(r"[\s]", "-", re.sub(r"[^\w\s-]", "", words.strip().lower()))


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("https", "http", "mailto"), link
            assert parts.netloc or parts.scheme == "mailto", link
            if link.startswith((f"{_SOURCE}blob/main/", f"{_SOURCE}tree/main/")):
                assert (REPOSITORY / parts.path.split("/main/", 1)[1]).exists(), link
            continue
        target = folder_of(page) / parts.path if parts.path else REPOSITORY / page
        assert target.exists(), f"{page}: there is no {link}"
        assert target.resolve().is_relative_to(REPOSITORY), f"{page}: {link} leads out of the repository"
        if parts.fragment and target.suffix == ".md":
            assert parts.fragment in anchors(target.read_text(encoding="utf-8")), f"{page}: no heading for {link}"


def test_anchors_are_those_of_the_sites() -> None:
    assert anchor("config.json") == "configjson"
    assert anchor("REST: `POST /embed`".replace("`", "")) == "rest-post-embed"


@pytest.mark.parametrize("page", [page for page in pages() if page.startswith("docs/")])
def test_a_heading_has_the_same_anchor_on_github_and_on_the_site(page: str) -> None:
    """mkdocs joins the dashes that GitHub leaves; a heading without a sign between spaces has one anchor."""
    assert not [name for name in anchors(read(page)) if "--" in name and f"#{name}" in "".join(map(read, pages()))]
