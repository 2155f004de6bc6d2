"""``akidb-embed file`` given the wrong field or format: it says which, and leaves nothing behind."""

import gzip
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from akidb_embeddings.cli import main
from tests.bulk.jobs import every_file, json_lines
from tests.cli.tools import PROCESS, TINY, feed, run
from tests.conftest import LONG

GUESS = (
    "akidb-embed: standard input is read as JSON lines, because its first line is a JSON object; --format lines embeds "
    "the lines as they are\n"
)


def records(count: int) -> str:
    return "".join(json.dumps({"_id": n, "title": "t", "body": f"text number {n}"}) + "\n" for n in range(count))


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 5000])
def test_the_likely_field_is_proposed_and_the_corrected_command_works(
    count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in.jsonl").write_text(records(count), encoding="utf-8")
    command = ["file", "in.jsonl", "--out", "out.jsonl", *TINY]
    assert main(command) == 2
    which = "first 1,000 rows" if count > 1000 else "3 rows"
    assert capsys.readouterr().err == (
        f"akidb-embed: error: none of the {which} can be embedded; line 1: no field 'text'; the record has '_id', "
        "'title', 'body'. Give --text-field body or --text-field title. Nothing was written.\n"
    )
    assert sorted(path.name for path in Path().glob("*")) == ["in.jsonl"]
    assert main([*command, "--text-field", "body", "--id-field", "id"]) == 2
    assert "Give --id-field _id, or leave out --id-field: " in capsys.readouterr().err
    assert main([*command, "--text-field", "body", "--id-field", "_id"]) == 0
    assert len(json_lines(Path("out.jsonl"))) == count


def test_strict_ends_at_the_first_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.jsonl").write_text(records(3), encoding="utf-8")
    assert main(["file", "in.jsonl", "--out", "out.jsonl", "--strict", *TINY]) == 1
    assert "error: line 1: no field 'text'; the record has '_id', 'title', 'body'. --strict" in capsys.readouterr().err
    assert sorted(path.name for path in Path().glob("*")) == ["in.jsonl"]


def test_a_column_that_is_not_there_names_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.csv").write_text("name;body\na;b\n", encoding="utf-8")
    assert main(["file", "in.csv", "--out", "out.npy", *TINY]) == 2
    told = capsys.readouterr().err
    assert "in.csv has no column 'text'; it has 'name;body'. Choose one with --text-field. " in told
    assert "must be separated by commas, not by ';'" in told
    Path("in.csv").write_text("name,text\na,b\n", encoding="utf-8")
    assert main(["file", "in.csv", "--out", "out.npy", "--id-field", "id", *TINY]) == 2
    assert "it has 'name', 'text'. Choose one with --id-field.\n" in capsys.readouterr().err


def test_json_lines_at_standard_input_are_known_by_their_first_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = b"".join(b'{"text": "text %d"}\n' % number for number in range(4))
    feed(monkeypatch, lines)
    assert main(["file", "-", "--out", "guessed.jsonl", "--with-text", *TINY]) == 0
    assert capsys.readouterr().err.startswith(GUESS)
    assert [line["text"] for line in json_lines(Path("guessed.jsonl"))] == [f"text {number}" for number in range(4)]
    feed(monkeypatch, lines)
    assert main(["file", "-", "--format", "jsonl", "--out", "guessed.jsonl", "--with-text", *TINY]) == 0
    assert "is finished already" in capsys.readouterr().err  # the same job as the one that was guessed
    feed(monkeypatch, lines)
    assert main(["file", "-", "--format", "lines", "--out", "lines.jsonl", "--with-text", *TINY]) == 0
    assert "JSON lines" not in capsys.readouterr().err
    assert json_lines(Path("lines.jsonl"))[0]["text"] == '{"text": "text 0"}'


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"plain\n", b"[1, 2]\n", b'"a string"\n', b'{"text": broken\n', b"7\n", b"\xff\xfa\n", b"[" * 9999],
)
def test_other_lines_at_standard_input_are_texts(
    content: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, content + b"\nlast")
    assert main(["file", "-", "--out", "out.jsonl", "--with-text", *TINY]) in (0, 3)
    assert "JSON" not in capsys.readouterr().err
    assert json_lines(Path("out.jsonl"))[-1]["text"] == "last"
    assert len(json_lines(Path("out.jsonl"))) + ("\\xff" in str(content)) == content.count(b"\n") + 2


def test_nothing_at_standard_input_is_lost_by_looking_at_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blank lines and a byte order mark before the first line, which is longer than any buffer."""
    text = "word " * 200_000
    feed(monkeypatch, b"\xef\xbb\xbf" + b"\n\r\n" + json.dumps({"text": text}).encode() + b'\n{"text": "last"}\n')
    assert main(["file", "-", "--out", "out.jsonl", "--with-text", *TINY]) == 3
    assert GUESS in capsys.readouterr().err
    found = json_lines(Path("out.jsonl"))
    assert [(line["id"], line["text"]) for line in found] == [("2", text), ("3", "last")]
    assert [reject["line"] for reject in json_lines(Path("out.jsonl.rejects.jsonl"))] == [1, 2]


def test_a_job_whose_format_was_guessed_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("akidb_embeddings.bulk.resume.PART_ROWS", 10)
    lines = [b'{"text": "text %d"}\n' % number for number in range(45)]
    command = ["file", "-", "--out", "out.jsonl", *TINY]
    feed(monkeypatch, b"".join(lines[:25]) + b"{\n")
    assert main([*command, "--strict"]) == 1
    capsys.readouterr()
    feed(monkeypatch, b"".join(lines))
    assert main(command) == 0
    assert "continuing after 20 rows" in capsys.readouterr().err
    assert [line["id"] for line in json_lines(Path("out.jsonl"))] == [str(number) for number in range(45)]


def test_fields_that_lines_do_not_have_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, told in (
        (
            ["--id-field", "id"],
            "Standard input is read as lines, which has no fields. Leave out --id-field id,",
        ),
        (["--text-field", "body"], "--text-field is for formats with fields; - is read as lines"),
    ):
        feed(monkeypatch, b"a text\n")
        assert main(["file", "-", "--out", "out.npy", *options, *TINY]) == 2
        assert told in capsys.readouterr().err
    assert every_file(Path()) == {}


def test_compressed_standard_input_says_how_to_decompress_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    feed(monkeypatch, gzip.compress(b"a text\n"))
    assert main(["file", "-", "--out", "out.npy", *TINY]) == 2
    told = "Standard input is compressed with gzip; decompress it: gunzip -c FILE | akidb-embed file -"
    assert told in capsys.readouterr().err


@pytest.mark.long
def test_ctrl_c_while_it_waits_for_the_first_line(tmp_path: Path) -> None:
    command = [*PROCESS, "file", "-", "--out", str(tmp_path / "out.npy"), *TINY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG) == 130
    assert every_file(tmp_path) == {}


def test_the_help_says_what_the_exit_code_of_nothing_is() -> None:
    assert b"If no row can be embedded" in run("file", "--help").stdout


def test_an_input_without_rows_is_told_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    feed(monkeypatch, b"")
    assert main(["file", "-", "--out", "out.npy", *TINY]) == 0
    assert "warning: standard input has no rows" in capsys.readouterr().err


def test_an_empty_pipe_does_not_replace_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after `gunzip -c missing.gz | akidb-embed file - …`, whose exit code is that of the last command."""
    feed(monkeypatch, b"one\ntwo\n")
    assert main(["file", "-", "--out", "out.npy", *TINY]) == 0
    before = every_file(tmp_path)
    feed(monkeypatch, b"")
    assert main(["file", "-", "--out", "out.npy", "--overwrite", *TINY]) == 2
    assert "the input has no rows, and out.npy would be replaced by an empty output" in capsys.readouterr().err
    assert every_file(tmp_path) == before
