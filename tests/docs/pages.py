"""The pages that people read, their blocks of code, and what is to be done with each block."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

PYTHON = ("python",)
COMMANDS = ("sh",)
DATA = ("json", "yaml", "toml")  # parsed, not run
SHOWN = ("text", "ini", "nginx", "promql")  # output, diagrams, files of other programs

# Why a block is not run. A reason that is not here is an error: it must be something that a fresh machine lacks, or
# that a test cannot give.
REASONS = {
    "needs a download": "of a model that is not in the package",
    "needs a GPU": "NVIDIA's or Apple's",
    "needs a cluster": "of several machines",
    "needs a server": "of another kind than the tests': with TLS, PostgreSQL",
    "needs macOS": "launchd",
    "needs root": "and writes where the tests must not",
    "needs Docker": "and its daemon",
    "needs Kubernetes": "and a cluster of it",
    "needs another package": "one that the tests do not install, such as mteb with PyTorch, or that is not on PyPI yet",
    "needs another program": "such as grpcurl",
    "a part of a program": "of this package; a test looks for its lines there",
}
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`\n]*)$")
_COMMENT = re.compile(r"^ *<!-- (?P<kind>not run|run by): (?P<text>.*?) -->$")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: The page's path in the repository.
        line: The number of its first line of code.
        language: The word after the fence.
        title: The name of the file that it shows.
        text: The code.
        not_run: The reason of ``<!-- not run: … -->`` on the line before.
        run_by: The test of ``<!-- run by: … -->`` on the line before.
    """

    page: str
    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None = None
    run_by: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Every page, as a path in the repository."""
    files = [
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
        *sorted((REPOSITORY / "docs").rglob("*.md")),
        *sorted((REPOSITORY / "integrations").glob("*/README.md")),
    ]
    return [file.relative_to(REPOSITORY).as_posix() for file in files]


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    return list(find_blocks(page, read(page)))


def find_blocks(page: str, text: str) -> Iterator[Block]:
    """The blocks of a page's text, in order.

    Raises:
        ValueError: A block has no end.
    """
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        if not (opening := _FENCE.match(lines[place])):
            place += 1
            continue
        closing = opening["indent"] + opening["fence"]
        try:
            end = next(n for n in range(place + 1, len(lines)) if lines[n].rstrip() == closing)
        except StopIteration:
            raise ValueError(f"{page}:{place + 1}: the block has no end") from None
        comment = _COMMENT.match(lines[place - 1]) if place else None
        kinds = {comment["kind"]: comment["text"]} if comment else {}
        title = _TITLE.search(opening["info"])
        code = "\n".join(line.removeprefix(opening["indent"]) for line in lines[place + 1 : end])
        yield Block(
            page, place + 2, opening["info"].strip().split(" ")[0], title[1] if title else None, f"{code}\n",
            kinds.get("not run"), kinds.get("run by"),
        )  # fmt: skip
        place = end + 1


def folder_of(page: str) -> Path:
    return (REPOSITORY / page).parent
