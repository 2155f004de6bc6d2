"""CSV and Parquet: what they give, every bad row, and what is refused before the first."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from akidb_embeddings.bulk import streams, table_sources
from akidb_embeddings.bulk.rows import Reject, Row
from akidb_embeddings.bulk.sources import open_source
from akidb_embeddings.errors import InputError
from tests.bulk.inputs import read, reasons, table, texts, write


def test_csv_with_quotes_and_line_breaks_within_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '\ufeffid,"body",n\r\n7,"one\ntwo, ""three""",1\n007,,2\n"x",plain 5" disk,3\n\n')
    assert read(path, text="body", key="id") == [
        Row(0, "7", 'one\ntwo, "three"'), Row(1, "007", ""), Row(2, "x", 'plain 5" disk'),
    ]  # fmt: skip


def test_a_field_longer_than_pythons_own_limit_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\n" + "a" * 200_000)
    assert len(texts(read(path))[0]) == 200_000


def test_bad_records_of_csv_are_rejected_by_their_first_line(tmp_path: Path) -> None:
    content = b'text,id\ngood,1\na,b,c\nshort\n"a\nb" x,2\n\n"\xff\n\xfe",3\nlast,4\n,5\nd,\n'
    items = read(write(tmp_path / "a.csv", content), key="id")
    assert [item.number for item in items] == list(range(9))
    assert reasons(items) == {
        3: "3 columns; the header has 2",
        4: "1 columns; the header has 2",
        5: "not valid CSV: ',' expected after '\"'; "
        "lines 5 to 6 were read as one record, because a quote opens in them",
        7: "a blank line; only the end of a file may have them",
        8: "line 8 is not valid UTF-8: byte 0xff at 2; "
        "lines 8 to 9 were read as one record, because a quote opens in them",
        12: "field 'id' is empty; an id is expected",
    }
    assert [item.text for item in items if isinstance(item, Row)] == ["good", "last", ""]


@pytest.mark.parametrize(
    ("last", "problem"),
    [('50,"a quoted one"', "not valid CSV: ',' expected after '\"'"), ('",x', "3 columns; the header has 2")],
)
def test_a_stray_quote_that_swallows_good_lines_says_which(tmp_path: Path, last: str, problem: str) -> None:
    """They are not made rows: nobody knows which of them are a text's own lines."""
    good = "".join(f"{number},row\n" for number in range(3, 50))
    items = read(write(tmp_path / "a.csv", f'id,text\n1,a\n2,"stray\n{good}{last}\n51,end\n'), key="id")
    assert [item.id for item in items] == ["1", None, "51"]
    [reason] = reasons(items).values()
    assert reason == f"{problem}; lines 3 to 51 were read as one record, because a quote opens in them"


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'id,text\n1,a\n2,"open\n3,c\n4,d\n')
    items = read(path, key="id")
    assert [item.id for item in items] == ["1", None, "3", "4"]
    assert reasons(items) == {3: "not valid CSV: a quote opens here and is never closed"}
    assert read(path, key="id", skip=2) == items[2:]


def test_a_quote_that_swallows_more_than_the_bound_costs_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 40)
    rows = "".join(f"{number},row\n" for number in range(20))
    items = read(write(tmp_path / "a.csv", f'id,text\n8,"open\n{rows}9,"{"x" * 50}"\n10,end\n"a","b"\n'), key="id")
    assert [item.id for item in items] == [None, *map(str, range(20)), None, "10", "a"]
    assert set(reasons(items)) == {2, 23}


def test_a_missing_or_doubled_column_of_csv_is_an_error_before_the_first_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text,text,body\n1,2,3,4\n")
    with pytest.raises(InputError, match=r"has no column 'title'; it has 'id', 'text', 'text', 'body'"):
        open_source(str(path), format=None, text_field="title", id_field=None)
    with pytest.raises(InputError, match="no column 'key'"):
        read(path, text="body", key="key")
    with pytest.raises(InputError, match="has 2 columns named 'text'"):
        read(path)
    for content in (b"", b"\nid\n", b"\xff\n", b'"a'):
        with pytest.raises(InputError, match="has no header"):
            read(write(path, content))


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r")), st.text('ab"\n, ', min_size=1))
    )
)
def test_what_pythons_csv_writes_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    import csv

    content = io.StringIO(newline="")
    csv.writer(content, quoting=csv.QUOTE_ALL).writerows([("text", "id"), *rows])
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", content.getvalue())
    assert read(path, key="id") == [Row(number, key, text) for number, (text, key) in enumerate(rows)]


STRINGS = ["one", "", None, "four"]


@pytest.mark.parametrize(
    "column",
    [pa.array(STRINGS), pa.array(STRINGS, pa.large_string()), pa.array(STRINGS, pa.string_view()),
     pa.array(STRINGS).cast(pa.binary()), pa.array(STRINGS).dictionary_encode()],
    ids=lambda column: str(column.type)[:12],
)  # fmt: skip
def test_parquet_of_every_kind_of_string(tmp_path: Path, column: Any) -> None:
    path = table(tmp_path / "a.parquet", body=column, id=pa.array([1, -2, 3, None]))
    assert read(path, text="body", key="id") == [
        Row(0, "1", "one"), Row(1, "-2", ""), Reject(2, None, "3", "field 'body' is null; a string is expected"),
        Reject(3, None, None, "field 'id' is null; a string or an integer is expected"),
    ]  # fmt: skip


@pytest.mark.parametrize("is_dictionary", [False, True])
@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.binary()], ids=str)
def test_invalid_utf8_in_parquet_is_one_reject(tmp_path: Path, type_: Any, is_dictionary: bool) -> None:
    offsets = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    column = pa.array([b"ok", b"a\xff", b"end"], offsets.get(type_, type_)).view(type_)
    if is_dictionary:
        column = pa.DictionaryArray.from_arrays([0, 1, 2], column)
    path = table(tmp_path / "a.parquet", text=column, id=["x", "y", "z"])
    reject = Reject(1, None, "y", "field 'text' is not valid UTF-8: byte 0xff at 2")
    assert read(path, key="id") == [Row(0, "x", "ok"), reject, Row(2, "z", "end")]


def test_parquet_with_nested_columns(tmp_path: Path) -> None:
    meta = [{"a": {"text": "deep"}, "n": 1}, None, {"a": None, "n": 3}]
    kinds = pa.array(["a", "b", "a"]).dictionary_encode()
    columns: dict[str, Any] = {"meta": meta, "x.y": ["literal"] * 3, "x": [{"y": "nested"}] * 3, "kind": kinds}
    path = table(tmp_path / "a.parquet", **columns)
    assert [item.id for item in read(path, text="x.y", key="kind")] == ["a", "b", "a"]
    assert [item.id for item in read(path, text="meta.a.text", key="kind")] == ["a", "b", "a"]
    items = read(path, text="meta.a.text", key="meta.n")
    assert items[0] == Row(0, "1", "deep")
    assert [type(item) for item in items] == [Row, Reject, Reject]
    assert texts(read(path, text="x.y")) == ["literal"] * 3


@pytest.mark.parametrize("batch_rows", [1, 3, 1024])
def test_parquet_skips_to_any_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int) -> None:
    monkeypatch.setattr(table_sources, "_BATCH_ROWS", batch_rows)
    path = table(tmp_path / "a.parquet", row_group_size=7, text=[str(number) for number in range(40)])
    whole = read(path)
    assert texts(whole) == [str(number) for number in range(40)]
    for skip in (0, 5, 6, 7, 8, 13, 14, 39, 40, 50):
        assert read(path, skip=skip) == whole[skip:]


def test_parquet_skips_row_groups_unread(tmp_path: Path) -> None:
    """The bytes of the first row group are spoilt, and nobody notices."""
    path = table(tmp_path / "a.parquet", row_group_size=10, text=[f"text {number}" for number in range(20)])
    content = bytearray(path.read_bytes())
    column = parquet.ParquetFile(path).metadata.row_group(0).column(0)
    begin = column.dictionary_page_offset or column.data_page_offset
    content[begin : begin + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    assert texts(read(path, skip=10)) == [f"text {number}" for number in range(10, 20)]
    with pytest.raises(InputError, match=r"cannot be read beyond row 0; it is damaged"):
        read(path)


def test_what_parquet_lacks_or_has_in_another_type_is_an_error_before_the_first_row(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", text=["a"], n=[1.5], s=[{"a": 1}], i=[1])
    for field, match in (
        ("body", "has no column 'body'; it has 'text', 'n', 's', 'i'"), ("s.b", "no column 's.b'"),
        ("text.a", "no column 'text.a'"), ("i", "column 'i' is of type int64; strings are expected"),
        ("s", "column 's' is of type struct"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            open_source(str(path), format=None, text_field=field, id_field=None)
    with pytest.raises(InputError, match="column 'n' is of type double; strings or integers are expected"):
        read(path, key="n")


def test_a_doubled_column_of_parquet_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["text", "text"]), path)
    with pytest.raises(InputError, match="has 2 columns named 'text'"):
        read(path)


def test_parquet_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", text=["a"] * 100)
    for content in (b"", path.read_bytes()[:-1], b"{}\n"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not a complete Parquet file"):
            read(path)


def test_a_huge_value_of_parquet_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 10)
    items = read(table(tmp_path / "a.parquet", text=["short", "é" * 6, "é" * 5]))
    assert items[1] == Reject(1, None, "1", "field 'text' is longer than 10 bytes; split it")
    assert len(texts([items[0], items[2]])) == 2
