"""What an output holds, in each of its forms."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb_embeddings import quantize
from akidb_embeddings.bulk import OUTPUT_FORMATS, outputs
from akidb_embeddings.bulk.outputs import Layout, make_output, output_format
from akidb_embeddings.bulk.rows import Row
from akidb_embeddings.errors import ConfigurationError, InputError
from tests.bulk.jobs import DIMENSION, embedded, json_lines, metadata, rows, vectors

ROWS = [Row(0, "a", "one"), Row(1, 'b "quoted"\n', "zwei Wörter"), Row(2, "ü", "1 2 3 4 5 6 7")]
PRECISIONS = {"float32": "float", "float16": "halffloat", "int8": "int8", "binary": "int8", "ubinary": "uint8"}


def written(folder: Path, form: str, parts: list[list[Row]], precision: str = "float32", **settings: Any) -> Path:
    """The file of an output of these parts."""
    made = make_output(form, Layout(metadata(precision), **settings))
    folders = []
    for index, part in enumerate(parts):
        folders.append(folder / f"part-{index}")
        folders[-1].mkdir()
        if part:
            for name, piece in made.serialize(embedded(part, precision)).items():
                (folders[-1] / name).write_bytes(piece)
    (folder / "final").mkdir()
    return made.assemble(folders, folder / "final", lambda count: None)[""]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_parquet_has_a_row_a_text_and_says_what_the_vectors_are(precision: str, tmp_path: Path) -> None:
    pq = importlib.import_module("pyarrow.parquet")
    table = pq.read_table(written(tmp_path, "parquet", [ROWS[:2], [], ROWS[2:]], precision))
    expected = vectors([row.text for row in ROWS], precision)
    assert str(table.schema.field("vector").type) == (
        f"fixed_size_list<element: {PRECISIONS[precision]} not null>[{expected.shape[1]}]"
    )
    assert {name: str(table.schema.field(name).type) for name in table.column_names if name != "vector"} == {
        "id": "string",
        "tokens": "int32",
        "truncated": "bool",
    }
    assert table.column("id").to_pylist() == [row.id for row in ROWS]
    assert table.column("tokens").to_pylist() == [3, 4, 8]
    assert table.column("truncated").to_pylist() == [False, False, True]
    found = table.column("vector").combine_chunks().flatten().to_numpy().reshape(expected.shape)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    described = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert described == {"fingerprint": "space-1", "model": "known", "precision": precision, "dimension": "12"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_npy_has_a_row_a_text_and_a_line_for_each_beside_it(precision: str, tmp_path: Path) -> None:
    path = written(tmp_path, "npy", [ROWS[:2], [], ROWS[2:]], precision)
    expected = vectors([row.text for row in ROWS], precision)
    with open(path, "rb") as stream:
        found = np.load(stream)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert json_lines(path.parent / "ids.jsonl") == [
        {"id": "a", "tokens": 3, "truncated": False},
        {"id": 'b "quoted"\n', "tokens": 4, "truncated": False},
        {"id": "ü", "tokens": 8, "truncated": True},
    ]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_json_line_says_everything_of_a_text(precision: str, tmp_path: Path) -> None:
    found = json_lines(written(tmp_path, "jsonl", [ROWS[:2], [], ROWS[2:]], precision))
    expected = vectors([row.text for row in ROWS], precision)
    assert [list(line) for line in found] == [["id", "embedding", "tokens", "truncated", "fingerprint"]] * 3
    assert [line["id"] for line in found] == [row.id for row in ROWS]
    np.testing.assert_array_equal(np.array([line["embedding"] for line in found], expected.dtype), expected)
    assert [(line["tokens"], line["truncated"]) for line in found] == [(3, False), (4, False), (8, True)]
    assert {line["fingerprint"] for line in found} == {"space-1"}


def test_json_lines_have_the_text_when_it_is_asked_for(tmp_path: Path) -> None:
    found = json_lines(written(tmp_path, "jsonl", [ROWS], with_text=True))
    assert [line["text"] for line in found] == [row.text for row in ROWS]


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_passages_say_where_they_were_in_their_text(form: str, tmp_path: Path) -> None:
    passages = [Row(0, "a", "one two", 0, 7), Row(0, "a", "two three", 4, 13), Row(1, "b", "x", 5, None)]
    path = written(tmp_path, form, [passages], offsets=True)
    if form == "parquet":
        found = importlib.import_module("pyarrow.parquet").read_table(path).to_pylist()
    else:
        found = json_lines(path if form == "jsonl" else path.parent / "ids.jsonl")
    assert [(line["id"], line["begin"], line["end"]) for line in found] == [("a", 0, 7), ("a", 4, 13), ("b", 5, 6)]


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_an_output_of_nothing_has_the_right_shape(form: str, tmp_path: Path) -> None:
    path = written(tmp_path, form, [[], []])
    if form == "npy":
        with open(path, "rb") as stream:
            assert np.load(stream).shape == (0, DIMENSION)
    elif form == "parquet":
        table = importlib.import_module("pyarrow.parquet").read_table(path)
        assert table.num_rows == 0
        assert table.schema.field("vector").type.list_size == DIMENSION
    else:
        assert path.read_bytes() == b""


def test_row_groups_are_of_one_size_whatever_the_parts_without_losing_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq = importlib.import_module("pyarrow.parquet")
    monkeypatch.setattr(outputs, "_ROW_GROUP_ROWS", 4)
    file = pq.ParquetFile(written(tmp_path, "parquet", [rows(10), rows(12, begin=10)]))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [4, 4, 4]
    table = file.read()
    assert table.column("id").to_pylist() == [f"id-{n}" for n in range(12)]
    found = table.column("vector").combine_chunks().flatten().to_numpy().reshape(12, DIMENSION)
    np.testing.assert_array_equal(found, vectors([row.text for row in rows(12)]))


def test_bytes_take_no_more_room_in_parquet_than_bytes(tmp_path: Path) -> None:
    many = [Row(n, str(n), f"text {n}") for n in range(2000)]
    made = make_output("parquet", Layout(metadata("int8", 256)))
    (tmp_path / "part").mkdir()
    for name, piece in made.serialize(embedded(many, "int8", 256)).items():
        (tmp_path / "part" / name).write_bytes(piece)
    size = made.assemble([tmp_path / "part"], tmp_path, lambda count: None)[""].stat().st_size
    assert size < 1.2 * 2000 * 256


def test_numbers_are_written_so_that_the_same_are_read_again(tmp_path: Path) -> None:
    values = np.array([[1 / 3, -1e-7, 3e-39, 3.4028235e38, -0.0, 65504, 1e-45, 1, 0, 0.1, 2, 3]], dtype=np.float32)
    made = make_output("jsonl", Layout(metadata()))
    line = made.serialize(outputs.EmbeddedRows(ROWS[:1], values, [1], [False]))["lines.jsonl"]
    assert np.array_equal(np.array([json.loads(line)["embedding"]], dtype=np.float32), values)
    halves = quantize(values[:, :1], "float16")
    made = make_output("jsonl", Layout(metadata("float16")))
    line = made.serialize(outputs.EmbeddedRows(ROWS[:1], halves, [1], [False]))["lines.jsonl"]
    assert np.array_equal(np.array([json.loads(line)["embedding"]], dtype=np.float16), halves)


def test_the_form_is_that_of_the_name_unless_another_is_asked_for() -> None:
    assert [output_format(Path(name), None) for name in ("a.parquet", "b.NPY", "c.jsonl")] == [
        "parquet",
        "npy",
        "jsonl",
    ]
    assert output_format(Path("a.parquet"), "jsonl") == "jsonl"
    with pytest.raises(InputError, match=r"--out a.txt does not end in .parquet, .npy, .jsonl: .* --out-format"):
        output_format(Path("a.txt"), None)


def test_a_library_that_is_missing_is_named_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    make_output("npy", Layout(metadata()))
    with pytest.raises(ConfigurationError, match=r"parquet needs pyarrow: .* -e '.*\[bulk\]'"):
        make_output("parquet", Layout(metadata()))
