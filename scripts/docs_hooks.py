"""What the documentation's site needs besides mkdocs: called by it while it builds (``hooks`` in mkdocs.yml)."""

import posixpath
import re
from typing import Any

SOURCES = "https://github.com/akidb/akidb-embeddings/blob/main"
# The plugin `offline` takes this script from a CDN. The copy in assets/ is that of npm's iframe-worker.
_SHIM = "https://unpkg.com/iframe-worker/shim"
_LINK = re.compile(r"(\]\()(\.\./[^)\s]*)(\))")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Links that lead out of docs/, to a file of the repository, lead to its source."""
    folder = posixpath.dirname(f"docs/{page.file.src_uri}")

    def outside(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[2]))
        if target.startswith("docs/"):
            return match[0]
        return f"{match[1]}{SOURCES}/{target}{match[3]}"

    return _LINK.sub(outside, markdown)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """A page loads nothing from other hosts."""
    depth = page.file.dest_uri.count("/")
    return output.replace(_SHIM, f"{'../' * depth}assets/iframe-worker.js")


def on_post_template(output_content: str, **_: Any) -> str:
    """The page for what does not exist is shown at any depth, so its links begin at the site's root."""
    return output_content.replace(_SHIM, "/assets/iframe-worker.js")
