"""Progress bars: every text is counted once, nothing is shown unless asked for, and vectors do not change."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from langchain_fixtures import embeddings
from langchain_fixtures import fake_model as fake_model

from akidb_embeddings import close_shared_services
from akidb_embeddings.errors import InputError
from tests.conftest import FakeModel

teardown_module = close_shared_services


def counts(errors: str) -> list[int]:
    """The numbers of texts that a progress bar showed."""
    return [int(number) for number in re.findall(r"(\d+)/\d+ \[", errors)]


Embed = Callable[..., list[list[float]]]


def _sync(texts: list[str], **arguments: Any) -> list[list[float]]:
    return embeddings(**arguments).embed_documents(texts)


def _async(texts: list[str], **arguments: Any) -> list[list[float]]:
    return asyncio.run(embeddings(**arguments).aembed_documents(texts))


both = pytest.mark.parametrize("embed", [_sync, _async])


@both
@pytest.mark.parametrize("number", [1, 500, 5000])
def test_a_bar_counts_every_text_once(
    fake: FakeModel, capsys: pytest.CaptureFixture[str], embed: Embed, number: int
) -> None:
    assert len(embed(["fox"] * number, show_progress=True)) == number
    captured = capsys.readouterr()
    assert captured.out == ""
    shown = counts(captured.err)
    assert f"{number}/{number} [" in captured.err
    assert shown[0] == 0
    assert shown[-1] == max(shown) == number
    assert shown == sorted(shown)
    assert captured.err.endswith("\n")
    assert fake.rows


@both
def test_the_bar_is_told_of_texts_as_they_are_done(
    fake: FakeModel, monkeypatch: pytest.MonkeyPatch, embed: Embed
) -> None:
    told: list[int] = []

    class Bar:
        def __init__(self, total: int, **_: Any) -> None:
            assert total == 3000

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *exception: object) -> None:
            told.append(0)

        def update(self, number: int) -> None:
            told.append(number)

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    embed(["fox"] * 3000, show_progress=True)
    assert fake.rows
    assert sum(told) == 3000
    assert told[-1] == 0  # closed
    assert all(number > 0 for number in told[:-1])
    assert len(told) > 2


@both
def test_no_bar_unless_it_is_asked_for(fake: FakeModel, capsys: pytest.CaptureFixture[str], embed: Embed) -> None:
    embed(["fox"] * 100)
    embed(["fox"] * 100, show_progress=False)
    embeddings(show_progress=True).embed_query("fox")
    asyncio.run(embeddings(show_progress=True).aembed_query("fox"))
    assert capsys.readouterr() == ("", "")
    assert fake.rows


@both
def test_a_bar_ends_with_an_error(fake: FakeModel, capsys: pytest.CaptureFixture[str], embed: Embed) -> None:
    with pytest.raises(InputError, match=re.escape("texts[1] has 302 tokens")):
        embed(["fox", "word " * 300], show_progress=True, truncate="error")
    assert capsys.readouterr().err.endswith("\n")
    assert not fake.rows


@both
def test_a_bar_of_no_texts(fake: FakeModel, capsys: pytest.CaptureFixture[str], embed: Embed) -> None:
    assert embed([], show_progress=True) == []
    assert capsys.readouterr().out == ""
    assert not fake.rows


@pytest.mark.long
def test_bits_do_not_depend_on_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"stone {i} " * (i % 9) for i in range(50)]
    for embed in (_sync, _async):
        assert embed(texts, show_progress=True) == embed(texts)
    assert "50/50" in capsys.readouterr().err
