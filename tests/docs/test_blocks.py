"""Every block of code in the documentation is run by a test, or says why not. ``test_run.py`` runs them."""

import ast
import json
import re
import tomllib

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.docs.pages import COMMANDS, DATA, PYTHON, REASONS, SHOWN, Block, blocks, find_blocks, pages, read

BLOCKS = [block for page in pages() for block in blocks(page)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_what_is_to_be_done_with_a_block_is_known(block: Block) -> None:
    assert block.language in (*PYTHON, *COMMANDS, *DATA, *SHOWN), "another language: see tests/docs/pages.py"
    if block.not_run is not None:
        assert block.not_run in REASONS, f"the reasons are {list(REASONS)}"
    if block.run_by is not None:
        test = REPOSITORY / block.run_by
        assert test.is_file(), f"there is no {block.run_by}"
        assert block.page in test.read_text(encoding="utf-8"), f"{block.run_by} does not name {block.page}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in (*DATA, *PYTHON)], ids=str)
def test_a_block_is_well_formed(block: Block) -> None:
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        yaml.safe_load(block.text)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.not_run != "a part of a program":
        ast.parse(block.text)


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.not_run == "a part of a program"], ids=str)
def test_a_part_of_a_program_is_in_the_program(block: Block) -> None:
    program = "\n".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "akidb_embeddings").rglob("*.py"))
    lines = {line.partition("  #")[0].strip() for line in block.text.splitlines()} - {"..."}
    assert not [line for line in lines if line not in program]


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.title and one.language in PYTHON], ids=str)
def test_a_file_is_used(block: Block) -> None:
    module = str(block.title).removesuffix(".py")
    assert any(re.search(rf"\b{module}\b", one.text) for one in blocks(block.page) if one != block)


def test_comments_are_where_they_count() -> None:
    """A comment that is not on the line before a block would have no effect."""
    for page in pages():
        comments = len(re.findall(r"^ *<!-- (?:not run|run by)\b", read(page), re.MULTILINE))
        assert comments == sum((block.not_run or block.run_by) is not None for block in blocks(page)), page


def test_every_reason_is_needed() -> None:
    given = {block.not_run for block in BLOCKS}
    assert not REASONS.keys() - given


def test_blocks_are_found() -> None:
    text = (
        "Words\n\n```python\nprint(1)\n```\n<!-- not run: needs a GPU -->\n```sh\nx\n```\n"
        '- item\n\n  ```python title="app.py"\n  y\n    z\n  ```\n'
    )
    first, second, third = find_blocks("page.md", text)
    assert (first.language, first.text, first.line, first.not_run) == ("python", "print(1)\n", 4, None)
    assert (second.language, second.text, second.not_run) == ("sh", "x\n", "needs a GPU")
    assert (third.language, third.title, third.text) == ("python", "app.py", "y\n  z\n")


def test_a_block_without_end_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"page\.md:1"):
        list(find_blocks("page.md", "```sh\nx\n"))
