"""Plain lines, JSON lines and folders: what they give, and every bad row."""

import os
from pathlib import Path

import pytest

from akidb_embeddings.bulk import streams
from akidb_embeddings.bulk.rows import Reject, Row
from akidb_embeddings.bulk.sources import open_source
from akidb_embeddings.errors import InputError
from tests.bulk.inputs import read, reasons, write


def test_lines_are_texts_and_blank_ones_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\n\ntwo\rstill two\n last ")
    assert read(path) == [Row(0, "0", "one"), Row(1, "1", ""), Row(2, "2", "two\rstill two"), Row(3, "3", " last ")]


def test_a_line_that_is_not_utf8_is_rejected_with_its_byte_and_the_next_is_read(tmp_path: Path) -> None:
    items = read(write(tmp_path / "a.txt", b"one\ncaf\xe9\nthree\n"))
    assert items[1] == Reject(1, 2, "1", "not valid UTF-8: byte 0xe9 at 4")
    assert items[2] == Row(2, "2", "three")


def test_a_huge_line_is_rejected_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 100)
    path = write(tmp_path / "a.txt", b"a" * 99 + b"\n" + b"b" * 100 + b"\n" + b"c" * 101 + b"\n" + b"d" * 999 + b"\ne")
    items = read(path)
    assert [item.text[0] for item in items if isinstance(item, Row)] == ["a", "b", "e"]
    assert reasons(items) == dict.fromkeys((3, 4), "longer than 100 bytes; split it")


def test_json_lines_with_nested_fields_and_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [
        {"meta": {"id": "x", "body": "one"}}, {"meta": {"id": 7, "body": ""}, "other": [1.5, None]},
        {"meta.body": "literal", "meta": {"id": "x", "body": "nested"}},
    ])  # fmt: skip
    assert read(path, text="meta.body", key="meta.id") == [Row(0, "x", "one"), Row(1, "7", ""), Row(2, "x", "literal")]
    assert read(path, text="meta.body")[1] == Row(1, "1", "")


def test_integers_as_ids_become_their_json_text(tmp_path: Path) -> None:
    lines = [f'{{"text": "", "id": {number}}}' for number in ("12345678901234567890", "0", "-5")]
    items = read(write(tmp_path / "a.ndjson", "\n".join(lines)), key="id")
    assert [item.id for item in items] == ["12345678901234567890", "0", "-5"]


@pytest.mark.parametrize("name", ["id", "meta.id"])
@pytest.mark.parametrize("number", ["1.0", "0.10", "1e3", "1E400", "-1e400", "NaN", "Infinity", "-Infinity"])
def test_other_numbers_as_ids_are_rejected(tmp_path: Path, number: str, name: str) -> None:
    lines = [f'{{"text": "a", "id": {value}, "meta": {{"id": {value}}}}}' for value in (number, 1)]
    reject, row = read(write(tmp_path / "a.jsonl", "\n".join(lines)), key=name)
    assert row == Row(1, "1", "a")
    reason = f"field '{name}' is a number but not an integer; a string or an integer is expected"
    assert reject == Reject(0, 1, None, reason)


BAD_JSON = {
    "{": "not valid JSON: Expecting property name enclosed in double quotes at character 2",
    '{"text": "a"} x': "not valid JSON: Extra data at character 15",
    "[1]": "not a JSON object",
    "null": "not a JSON object",
    '{"other": 1, "id": 2}': "no field 'text'; the record has 'other', 'id'",
    "{}": "no field 'text'; the record is empty",
    '{"text": 5}': "field 'text' is a number; a string is expected",
    '{"text": null}': "field 'text' is null; a string is expected",
    '{"text": true}': "field 'text' is a boolean; a string is expected",
    '{"text": ["a"]}': "field 'text' is an array; a string is expected",
    '{"text": {"a": "b"}}': "field 'text' is an object; a string is expected",
    '{"text": "ab\\ud83d"}': "field 'text' has a lone surrogate at character 3, which is not valid Unicode",
    "[" * 100_000: "JSON that is nested too deeply to be read",
    '{"text": "a", "n": ' + "9" * 5000 + "}": "JSON with a whole number of more than 4300 digits, which cannot be read",
    "   ": "a blank line; only the end of a file may have them",
}  # fmt: skip


@pytest.mark.parametrize("line", BAD_JSON, ids=lambda line: line[:20])
def test_a_bad_line_of_json_is_rejected_with_its_reason_and_reading_goes_on(tmp_path: Path, line: str) -> None:
    items = read(write(tmp_path / "a.jsonl", f'{{"text": "first"}}\n{line}\n{{"text": "last"}}\n'))
    assert items == [Row(0, "0", "first"), Reject(1, 2, "1", BAD_JSON[line]), Row(2, "2", "last")]


@pytest.mark.parametrize(
    ("key", "reason"),
    [("null", "is null; a string or an integer is expected"), ("true", "is a boolean; "),
     ('""', "is empty; an id is expected"), ("[1]", "is an array; "),
     ('"\\udc00"', "has a lone surrogate at character 1")],
)  # fmt: skip
def test_a_bad_id_is_a_reject_without_id(tmp_path: Path, key: str, reason: str) -> None:
    [item] = read(write(tmp_path / "a.jsonl", f'{{"text": "a", "id": {key}}}'), key="id")
    assert isinstance(item, Reject)
    assert item.id is None
    assert item.reason.startswith(f"field 'id' {reason}")


def test_a_reject_for_its_text_keeps_its_id(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"id": "k", "text": 1}, {"text": "a"}])
    assert [item.id for item in read(path, key="id")] == ["k", None]


def test_invalid_utf8_in_json_names_the_byte(tmp_path: Path) -> None:
    items = read(write(tmp_path / "a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n{"text": "b"}'))
    assert reasons(items) == {2: "not valid UTF-8: byte 0xff at 11"}
    assert len(items) == 3


def test_blank_lines_at_the_very_end_are_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '\ufeff{"text": "a"}\n\n \n{"text": "b"}\n\n\r\n  \n')
    items = read(path)
    assert [item.number for item in items] == [0, 1, 2, 3]
    assert set(reasons(items)) == {2, 3}
    for skip in range(5):
        assert read(path, skip=skip) == items[skip:]


def test_a_folder_is_read_in_order_with_paths_as_ids(tmp_path: Path) -> None:
    for name, content in {"b.txt": b"B\r\n", "a/z.md": b"\xef\xbb\xbfZ", "a/c/d.txt": b"", "a.txt": b"A",
                          "c.json": b"no", ".hidden.txt": b"no", "a/.git/x.txt": b"no",
                          "bad.txt": b"ok\xc3("}.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path)
    items = read(tmp_path)
    assert items == [
        Row(0, "a/c/d.txt", ""), Row(1, "a/z.md", "Z"), Row(2, "a.txt", "A"), Row(3, "b.txt", "B\r\n"),
        Reject(4, None, "bad.txt", "not valid UTF-8: byte 0xc3 at 3"),
    ]  # fmt: skip
    for skip in range(6):
        assert read(tmp_path, skip=skip) == items[skip:]


def test_a_folder_s_files_have_suffixes_in_upper_case_too(tmp_path: Path) -> None:
    for name in ("B.TXT", "README.MD", "a.Txt", "c.JSON", "d.txt.GZ"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert [item.id for item in read(tmp_path)] == ["B.TXT", "README.MD", "a.Txt"]


def test_files_that_cannot_be_read_or_named_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 5)
    (tmp_path / "a.txt").write_text("123456")
    (tmp_path / "z.txt").write_text("12345")
    with open(os.fsencode(tmp_path) + b"/b\xff.txt", "w") as file:
        file.write("x")
    items = read(tmp_path)
    assert items[0] == Reject(0, None, "a.txt", "longer than 5 bytes; split it")
    assert isinstance(items[1], Reject)
    assert items[1].id is None
    assert "name 'b\\udcff.txt' is not valid UTF-8" in items[1].reason
    with open_source(str(tmp_path), format=None, text_field="text", id_field=None) as source:
        (tmp_path / "z.txt").write_bytes(b"1")
        iterator = iter(source)
        assert next(iterator) == items[0]
        (tmp_path / "z.txt").unlink()
        assert [item.reason for item in iterator if isinstance(item, Reject)][-1].startswith(
            ("cannot be read", "the file")
        )


def test_a_folder_without_texts_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").touch()
    with pytest.raises(InputError, match=r"has no \.txt or \.md files"):
        read(tmp_path)
