"""What looks like a misspelled command or a file's name: told before any model is loaded, and embedded if it may be."""

import json
import re
from pathlib import Path

import pytest

from akidb_embeddings.cli import COMMANDS, main
from akidb_embeddings.cli.near_misses import near_command
from tests.cli.tools import TINY

# No model of this name exists, so that loading one is an error: what is told comes before it.
NO_MODEL = ["--model", "nowhere/at-all", "--no-download"]


def without_model(text: str) -> str:
    """What is told, without the model, which the proposed commands keep: see the last test."""
    return re.sub(r" --model [^ `]+", "", text)


@pytest.mark.parametrize(
    ("word", "command"),
    [
        ("sim", "similarity"),
        ("simmilarity", "similarity"),
        ("Similarity", "similarity"),
        ("embeding", "embed"),
        ("model", "models"),
        ("modles", "models"),
        ("list", "models"),
        ("bulk", "file"),
        ("fil", "file"),
        ("version", "--version"),
        ("convrt", "convert"),
        ("dowload", "download"),
        ("eval", "evaluate"),
        ("benchmark", "bench"),
    ],
)
def test_a_word_near_a_command_is_embedded_with_a_note(
    word: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word, *TINY]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["text"] == word
    assert shown.err == (
        f"akidb-embed: note: {word!r} is embedded as a text. If you meant the command: `akidb-embed {command}`. If "
        f"not, `akidb-embed -- {word}` embeds it without this note\n"
    )


def test_the_note_comes_before_a_model_is_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embeding", *NO_MODEL]) == 1
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("akidb-embed: note: 'embeding' is embedded as a text. ")
    assert error.startswith("akidb-embed: error: ")
    assert "nowhere/at-all" in error


@pytest.mark.parametrize("word", ["hello", "text", "a", "do", "Straße", "sim x", "a dog", "", "query", "\0"])
def test_other_words_are_no_commands(word: str) -> None:
    assert near_command(word, COMMANDS) is None


@pytest.mark.parametrize(
    ("arguments", "command", "words"),
    [
        (["sim", "x"], "akidb-embed similarity x", "akidb-embed -- sim x"),
        ([*TINY, "sim", "a cat", "b"], "akidb-embed similarity 'a cat' b", "akidb-embed -- sim 'a cat' b"),
        (["simmilarity", "a", "b"], "akidb-embed similarity a b", "akidb-embed -- simmilarity a b"),
        (["convrt", "folder"], "akidb-embed convert folder", "akidb-embed -- convrt folder"),
        (["files", "notes.txt"], "akidb-embed file notes.txt", "akidb-embed -- files notes.txt"),
        (["dowload", "minilm-l6-v2"], "akidb-embed download minilm-l6-v2", "akidb-embed -- dowload minilm-l6-v2"),
    ],
)
def test_a_word_near_a_command_before_what_the_command_takes_is_an_error(
    arguments: list[str], command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    Path("notes.txt").write_text("a note", encoding="utf-8")
    assert main([*arguments, *NO_MODEL]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"is not a command; did you mean `{command}`?" in without_model(shown.err)
    assert f"`{words}`" in without_model(shown.err)
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--", "sim", "x"], ["embed", "sim", "x"], ["sim x"], ["files", "letters"], ["--", "in.txt"]]
)
def test_what_is_meant_as_a_text_is_embedded(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.txt").write_text("a note", encoding="utf-8")
    texts = [argument for argument in arguments if argument not in ("--", "embed")]
    assert main([*TINY, *arguments] if arguments[0] != "embed" else [*arguments, *TINY]) == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["text"] for line in shown.out.splitlines()] == texts
    assert shown.err.count("\n") == (arguments[0] == "files")


def test_an_option_of_the_command_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fil", "in.txt", "--out", "out.npy"]) == 2
    assert capsys.readouterr().err.endswith("akidb-embed: 'fil' is not a command; did you mean `akidb-embed file`?\n")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("README.md", "akidb-embed file README.md --format lines --out vectors.parquet"),
        ("texts.jsonl", "akidb-embed file texts.jsonl --out vectors.parquet"),
        ("a note.txt", "akidb-embed file 'a note.txt' --out vectors.parquet"),
        ("folder/", "akidb-embed file folder/ --out vectors.parquet"),
    ],
)
def test_a_file_s_name_is_an_error_that_says_how_to_embed_its_content(
    name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name.endswith("/"):
        Path(name).mkdir()
        Path(name, "a.txt").write_text("one")
    else:
        Path(name).write_text('{"text": "one"}\n')
    assert main([name, "other text", *NO_MODEL]) == 2
    shown = without_model(capsys.readouterr().err)
    assert f"only its name would be embedded. To embed what is in it: `{command}`" in shown
    assert f"To embed the name: `akidb-embed -- {command.split(' file ')[1].split(' --', maxsplit=1)[0]}`" in shown
    arguments = [word.strip("'") for word in command.replace("a note", "a\0note").split()[1:]]
    assert main([*(word.replace("\0", " ") for word in arguments), *TINY]) == 0  # the command does what it says


@pytest.mark.parametrize("arguments", [["docs"], ["embed", "docs"], ["embed", "in.txt"]])
def test_a_name_that_may_be_a_text_is_embedded_with_a_note(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("docs").mkdir()
    Path("in.txt").write_text("a note", encoding="utf-8")
    assert main([*arguments, *TINY]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["text"] == arguments[-1]
    kind = "folder" if arguments[-1] == "docs" else "file"
    assert without_model(shown.err) == (
        f"akidb-embed: note: {arguments[-1]!r} is embedded as a text. To embed what is in the {kind} of that name: "
        f"`akidb-embed file {arguments[-1]} --out vectors.parquet`\n"
    )


def test_similarity_of_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.txt", "b.txt"):
        Path(name).write_text("a note", encoding="utf-8")
    assert main(["similarity", "a.txt", "b.txt", *TINY]) == 0
    assert "note: the names 'a.txt' and 'b.txt' are compared, not what is in the files" in capsys.readouterr().err
    assert main(["similarity", "a.txt", "another text", *TINY]) == 0
    assert capsys.readouterr().err == ""


def test_proposed_commands_keep_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Without it, whoever copies one downloads the default model."""
    assert main(["similarty", "a", "b", "--model", "minilm-l6-v2"]) == 2
    told = capsys.readouterr().err
    assert "`akidb-embed similarity --model minilm-l6-v2 a b`" in told
    assert "`akidb-embed --model minilm-l6-v2 -- similarty a b`" in told
    Path("notes.md").write_text("a\n", encoding="utf-8")
    assert main(["notes.md", "--model", "minilm-l6-v2"]) == 2
    told = capsys.readouterr().err
    assert "--out vectors.parquet --model minilm-l6-v2`" in told
    assert "`akidb-embed --model minilm-l6-v2 < notes.md`" in told
