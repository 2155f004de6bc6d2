"""Inputs that are not lines of UTF-8 are refused by their beginning; texts that look a little like them are not."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from akidb_embeddings.bulk import streams
from akidb_embeddings.bulk.rows import Reject, Row
from akidb_embeddings.errors import InputError
from tests.bulk.inputs import read, texts, write

LINES = {
    "English": "one\ntwo\n",
    "short": "a\n",
    "without an end": "a text",
    "with a blank beginning": "\n\r\nafter blank lines\n",
    "with other marks": "café \u2013 “naïve”, 10 €\n" * 3,
    "Russian": "Ёлка и ёж\n",
    "Greek": "καλημέρα κόσμε\n",
    "long": "words " * 1000 + "\nmore\n",
}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", LINES)
def test_utf16_without_a_mark_is_an_error_with_the_way_out(tmp_path: Path, kind: str, encoding: str) -> None:
    path = write(tmp_path / "a.txt", LINES[kind].encode(encoding))
    name = encoding.upper().replace("-", "").replace("UTF16", "UTF-16")
    with pytest.raises(InputError, match=rf"a\.txt is UTF-16; convert it to UTF-8: iconv -f {name} -t UTF-8\."):
        read(path)


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst", ".jsonl", ".csv"])
def test_utf16_is_found_in_every_format_of_lines(tmp_path: Path, suffix: str) -> None:
    content = {".jsonl": '{"text": "one"}\n', ".csv": "text\none\n"}.get(suffix, "one\n")
    with pytest.raises(InputError, match="UTF-16; convert"):
        read(write(tmp_path / f"a{suffix}", content.encode("utf-16-le")))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("content", ["one\ntwo\n", "\n\none\n", '{"text": "one"}\n'])
@pytest.mark.parametrize("format_", [None, "lines", "jsonl"])
def test_utf16_at_standard_input(
    content: str, encoding: str, format_: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode(encoding))))
    with pytest.raises(InputError, match=r"Standard input is UTF-16; convert it to UTF-8: iconv -f UTF-16[LB]E"):
        read("-", format_)


def test_utf16_in_a_folder_is_a_reject(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "one\n".encode("utf-16-le"))
    write(tmp_path / "b.txt", b"a lone \0 NUL")
    reason = "UTF-16; convert it to UTF-8: iconv -f UTF-16LE -t UTF-8"
    assert read(tmp_path) == [Reject(0, None, "a.txt", reason), Row(1, "b.txt", "a lone \0 NUL")]


@pytest.mark.parametrize(
    "content",
    [
        *(b"\0", b"\0\n", b"a\0\n", b"\0a\n", b"a\0b\n", b"a\0\nb\0\n", b"a\0b\0c\n", b"a\0b\0c\0d\0e\n"),
        *(b"ab\0\ncd\0\n", b"\0\0\0\0\0\0\0\0\n", b"one\0two\0three\n" * 20, b"\1\2\3\n\4\n", b"\n\n\0\n"),
        *(b"x" * 300 + b"a\0" * 300 + b"\n", "ё\0 日本\n".encode() * 30, b"\n" * 300 + b"\0\n"),
    ],
)
def test_nul_and_other_control_characters_in_utf8_stay(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.txt", content)
    assert texts(read(path)) == content.decode().removesuffix("\n").split("\n")


CR_ONLY = [b"one\rtwo\rthree\r", b"one\rtwo", b"\r\r", b"\xef\xbb\xbfone\rtwo", b"one\r" + b"x" * 200]


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst"])
@pytest.mark.parametrize("content", CR_ONLY)
def test_lines_that_end_with_cr_alone_are_an_error_with_the_way_out(
    tmp_path: Path, content: bytes, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 100)  # also of a line that is too long to be held
    path = write(tmp_path / f"a{suffix}", content)
    with pytest.raises(InputError, match=r"a\.txt.* has no line feeds .* Convert them: tr '\\r' '\\n' < OLD > NEW"):
        read(path)


def test_lines_that_end_with_cr_alone_at_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\rtwo\r")))
    with pytest.raises(InputError, match="Standard input has no line feeds"):
        read("-")


@pytest.mark.parametrize("content", [b"one\rstill one\ntwo", b"one\r\ntwo\rstill two", b"one\r", b"\r", b"one", b""])
def test_cr_in_a_line_or_at_the_end_stays(tmp_path: Path, content: bytes) -> None:
    lines = content.decode().replace("\r\n", "\n").removesuffix("\r").split("\n")
    assert texts(read(write(tmp_path / "a.txt", content))) == (lines if content else [])


def test_a_first_line_that_is_too_long_and_has_cr_is_a_reject_if_others_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 100)
    first, second = read(write(tmp_path / "a.txt", b"one\r" + b"x" * 200 + b"\ntwo\r!\n"))
    assert (isinstance(first, Reject), second) == (True, Row(1, "1", "two\r!"))


def test_a_pipe_s_first_line_is_there_before_a_second_comes(tmp_path: Path) -> None:
    program = (
        "import sys; from akidb_embeddings.bulk.sources import open_source\n"
        "with open_source('-', format=None, text_field='text', id_field=None) as source:\n"
        "    print(source.identity['format'], flush=True); print(len(list(source)))\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"text": "one"}\n')
        process.stdin.flush()
        assert process.stdout.readline() == b"jsonl\n"
        assert process.communicate(b'{"text": "two"}\n')[0] == b"2\n"
