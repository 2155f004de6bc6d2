"""How alike texts are, as a number, a table and JSON."""

import json

import pytest

from akidb_embeddings import EmbeddingService
from akidb_embeddings.cli import main
from akidb_embeddings.registry import MODELS
from tests.cli.tools import BUNDLED, TINY, feed
from tests.fixtures import DATA

CARD = MODELS["minilm-l6-v2"].card


def test_two_texts_give_one_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert CARD is not None
    assert main(["similarity", CARD.queries[0], CARD.documents[1], *BUNDLED]) == 0
    number = capsys.readouterr().out
    assert float(number) == pytest.approx(CARD.scores[0][1], abs=0.01)
    assert len(number.strip()) == len("0.6660")


def test_more_texts_give_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    texts = ["a cat", "a\nkitten", "the stock market fell sharply on Monday"]
    assert main(["similarity", *texts, *BUNDLED]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["1", "2", "3"]
    cells = [row.split(maxsplit=4) for row in rows]
    assert [(row[0], row[4]) for row in cells] == [("1", "a cat"), ("2", "a kitten"), ("3", "the stock market fell…")]
    assert len(rows[2]) <= 50
    assert [row[1:4][index] for index, row in enumerate(cells)] == ["1.0000"] * 3
    assert float(cells[0][2]) > 0.5 > float(cells[0][3])


def test_texts_that_are_cut_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    long = "word " * 600
    assert main(["similarity", f"{long} a cat", "a dog", *BUNDLED]) == 0
    assert "warning: 1 of 2 texts were cut at 256 tokens; that is the model's limit" in capsys.readouterr().err


def test_json_has_everything(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    feed(monkeypatch, "naïve\nb\nc\n".encode())
    assert main(["similarity", "--json", "--prompt", "query", "--no-normalize", *TINY]) == 0
    found = json.loads(capsys.readouterr().out)
    with EmbeddingService(TINY[1], normalize=False) as service:
        expected = service.encode(["naïve", "b", "c"], prompt_name="query")
    assert found["texts"] == ["naïve", "b", "c"]
    assert found["fingerprint"] == expected.fingerprint
    a, b = expected.vectors[0], expected.vectors[2]
    assert found["similarity"][0][2] == pytest.approx(float(a @ b) / float((a @ a) * (b @ b)) ** 0.5, abs=1e-5)
    assert found["similarity"][1][1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "prompt"),
    [
        (["--prompt", "Clustering"], "task: clustering | query: "),
        (["--prompt-text", "x: "], "x: "),
        (["--task", "find"], "task: find | query: "),
        ([], ""),
    ],
)
def test_texts_have_the_prompt_that_was_given(
    options: list[str], prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gemma = str(DATA / "models" / "tiny-gemma3")
    assert main(["similarity", "--json", "a", "b", *options, "--model", gemma]) == 0
    found = json.loads(capsys.readouterr().out)
    with EmbeddingService(gemma) as service:
        a, b = service.embed([prompt + "a", prompt + "b"])
        assert found["fingerprint"] == service.fingerprint(prompt)
    assert found["similarity"][0][1] == pytest.approx(float(a @ b), abs=1e-5)


@pytest.mark.parametrize("texts", [["one"], ["-"]])
def test_one_text_is_too_few(
    texts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, b"one\n")
    assert main(["similarity", *texts, *TINY]) == 2
    assert capsys.readouterr().err == "akidb-embed: error: similarity needs at least two texts, and got 1\n"


def test_errors_name_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["a", "b c d e f g", "--truncate", "error", "--max-tokens", "4", *BUNDLED]
    assert main(["similarity", *arguments]) == 2
    assert "error: text 2 has 8 tokens" in capsys.readouterr().err
