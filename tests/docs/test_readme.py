"""The README's first screen: short, and true."""

import contextlib
import io
import re
import shlex
import tomllib

from akidb_embeddings.cli import main
from scripts.compare import AUTHORS, BEGIN, END, OURS
from tests.conftest import REPOSITORY
from tests.docs.pages import blocks, read

README = read("README.md")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 160


def test_badges_say_what_the_project_says() -> None:
    badges = dict(re.findall(r"^\[!\[(.*?)\]\((.*?)\)\]", README, re.MULTILINE))
    least = PROJECT["requires-python"].removeprefix(">=")
    assert list(badges) == [f"Python {least}+", "Apple Silicon | Linux", f"Licence: {PROJECT['license']}"]
    assert f"python-{least}%2B-" in badges[f"Python {least}+"]


def test_the_first_commands_print_what_it_shows() -> None:
    commands, shown = [block for block in blocks("README.md") if block.language in ("sh", "text")][:2]
    [command] = [line for line in commands.text.splitlines() if line.startswith("akidb-embed ")]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert main(shlex.split(command)[1:]) == 0
    numbers = r"-?\d\.\d{4}"
    assert re.sub(numbers, "#", output.getvalue()) == re.sub(numbers, "#", shown.text)
    for printed, told in zip(re.findall(numbers, output.getvalue()), re.findall(numbers, shown.text), strict=True):
        assert abs(float(printed) - float(told)) < 0.001


def test_it_has_a_measured_comparison() -> None:
    found = README.split(BEGIN)[1].split(END)[0]
    rows = [line for line in found.splitlines() if line.startswith("|")][2:]
    assert [name for row in rows for name in (OURS, AUTHORS, "fastembed") if name in row.split("|")[1]] == [
        OURS, OURS, AUTHORS, "fastembed",
    ]  # fmt: skip
    assert all(re.search(r"\| \d+ \| [\d.]+ ms \| [\d,]+ MB \|", row) for row in rows)
    assert re.search(r"Load .* before, .* after; other programs used \d+ % of the machine", found)


def test_its_contents_are_its_headings() -> None:
    contents = re.findall(r"\[[^]]+\]\(#([a-z-]+)\)", README.split("## ", maxsplit=1)[0])
    headings = [heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.*)$", README, re.MULTILINE)]
    assert contents == headings
