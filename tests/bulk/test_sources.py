"""Any input: compression and damage, choosing a format, progress, identity and memory."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from akidb_embeddings.bulk.rows import Row, RowOrReject
from akidb_embeddings.bulk.sources import open_source
from akidb_embeddings.errors import EmbeddingError, InputError
from tests.bulk.inputs import compressed, read, table, texts, write
from tests.fixtures import long_but

ROWS = [{"text": f"text {number} " + "ab" * number} for number in range(2000)]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_of_several_members_are_read_whole(tmp_path: Path, suffix: str) -> None:
    plain = read(write(tmp_path / "a.jsonl", ROWS))
    lines = (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True)
    members = [b"".join(lines[:700]), b"", b"".join(lines[700:1501]), b"".join(lines[1501:])]
    path = tmp_path / f"b.jsonl{suffix}"
    path.write_bytes(b"".join(compressed(suffix, member) for member in members))
    assert read(path) == plain
    assert read(path, skip=1700) == plain[1700:]
    assert len(plain) == 2000


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "cut in the second", "followed by other bytes", "spoilt", "not compressed"])
def test_damaged_compression_names_the_file_and_the_line_reached(tmp_path: Path, suffix: str, damage: str) -> None:
    content = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    whole = compressed(suffix, content)
    damaged = {
        "cut": whole[:-1], "cut in the second": whole + whole[: len(whole) // 2],
        "followed by other bytes": whole + b"xx", "spoilt": whole[:-2000] + b"\xff" * 1000 + whole[-1000:],
        "not compressed": content,
    }[damage]  # fmt: skip
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(damaged)
    items: list[RowOrReject] = []
    with (
        open_source(str(path), format=None, text_field="text", id_field=None) as source,
        pytest.raises(
            InputError, match=r"a\.jsonl\.\w+ cannot be read beyond line (\d+): .*damaged or was cut"
        ) as error,
    ):
        items.extend(iter(source))
    assert f"beyond line {len(items)}:" in str(error.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [(gzip.compress(b"a", mtime=0), "compressed with gzip"), (bytes(pa.compress(b"a", "zstd")), "compressed with zstd"),
     ("text\n".encode("utf-16"), "UTF-16; convert")],
)  # fmt: skip
def test_a_file_that_is_something_else_is_an_error(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.jsonl is {match}"):
        read(path)


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst", ".jsonl", ".jsonl.gz", ".parquet"])
def test_suffixes_in_upper_case_are_those_in_lower_case(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        path = table(tmp_path / "a.parquet", text=["one"])
    else:
        path = write(tmp_path / f"a{suffix}", [{"text": "one"}] if "json" in suffix else "one\n")
    for other in (suffix.upper(), suffix.title()):
        assert read(path.replace(tmp_path / f"b{other}")) == [Row(0, "0", "one")]
        path = tmp_path / f"b{other}"
    with pytest.raises(InputError, match=r"Parquet cannot be read from B\.PARQUET\.GZ"):
        read("B.PARQUET.GZ", "parquet")


def test_what_the_name_and_format_do_not_tell_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", "[]")
    for name, format_, match in (
        (path, None, "does not end in .jsonl, .ndjson, .csv, .parquet, .txt"),
        (path, "xml", "format is 'xml'; it must be one of jsonl, csv, parquet"),
        (tmp_path / "no.csv", None, "does not exist"), (tmp_path / "no", "jsonl", "cannot be opened: No such file"),
        (path, "folder", "is not a folder"), (tmp_path, "csv", "is a folder"),
        ("-", "folder", "Standard input is not a folder"),
        ("-", "parquet", "Parquet cannot be read from -"), ("a.gz", "parquet", "Parquet cannot be read from a.gz"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            read(name, format_)
    for other in (write(tmp_path / "a.txt", "a"), tmp_path):
        with pytest.raises(InputError, match="Leave out --id-field id, or give another --format"):
            read(other, key="id")
    assert texts(read(path, "lines")) == ["[]"]


def test_standard_input_in_every_format_that_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    def give(content: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))

    give("one\ntwo")
    with open_source("-", format=None, text_field="text", id_field=None) as source:
        assert (texts(list(source)), source.total_bytes, source.read_bytes) == (["one", "two"], None, None)
        assert source.identity == {"name": "-", "format": "lines", "size": None, "mtime_ns": None}
    assert not sys.stdin.closed
    give('{"text": "a"}\n')
    assert texts(read("-", "jsonl")) == ["a"]
    give("id,text\n1,b\n")
    assert texts(read("-", "csv")) == ["b"]
    sys.stdin.close()
    with pytest.raises(InputError, match="Standard input is closed"):
        read("-")


def test_a_pipe_has_a_name_and_no_size(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    with (
        subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'w').write('{{\"text\": \"a\"}}')"]),
        open_source(str(pipe), format=None, text_field="text", id_field=None) as source,
    ):
        assert (texts(list(source)), source.total_bytes, source.identity["size"]) == (["a"], None, None)


MAKERS: dict[str, Callable[[Path], Path]] = {
    "jsonl": lambda folder: write(folder / "a.jsonl", ROWS),
    "jsonl.gz": lambda folder: write(folder / "a.jsonl.gz", ROWS),
    "jsonl.zst": lambda folder: write(folder / "a.jsonl.zst", ROWS),
    "txt": lambda folder: write(folder / "a.txt", "\n".join(row["text"] for row in ROWS)),
    "csv": lambda folder: write(folder / "a.csv", "text\n" + "\n".join(row["text"] for row in ROWS)),
    "parquet": lambda folder: table(folder / "a.parquet", text=[row["text"] for row in ROWS]),
    "folder": lambda folder: write(folder / "a.txt", "a").parent,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_progress_grows_to_the_whole_and_the_identity_tells_another_input(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path)

    def identity() -> dict[str, Any]:
        with open_source(str(path), format=None, text_field="text", id_field=None) as source:
            seen = [source.read_bytes or 0 for _ in source]
            total = source.total_bytes
            assert total == sum(file.stat().st_size for file in ([path] if path.is_file() else path.iterdir()))
            assert seen == sorted(seen)
            assert source.read_bytes == total
        assert source.read_bytes == total
        json.dumps(source.identity)
        return source.identity

    before = identity()
    assert identity() == before
    assert str(tmp_path.parent) not in str(before)
    os.utime(path if path.is_file() else path / "a.txt", ns=(1, 1))
    assert identity() != before


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [table(tmp_path / "a.parquet", text=["a"]), write(tmp_path / "a.jsonl.zst", ROWS)]
    plain = write(tmp_path / "a.jsonl.gz", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for path in paths:
        with pytest.raises(EmbeddingError, match=r"needs pyarrow.*pip install -e '/.*\[bulk\]'"):
            read(path)
    assert len(read(plain)) == 2000


@pytest.mark.parametrize("kind", long_but(["jsonl.gz", "jsonl.zst", "parquet"], "jsonl.zst"))
def test_memory_does_not_grow_with_the_input(tmp_path: Path, kind: str) -> None:
    """40 and 160 MB of text in a process of its own: the peak stays."""
    program = (
        "import resource, sys; from akidb_embeddings.bulk.sources import open_source\n"
        "for path in sys.argv[1:]:\n"
        "    source = open_source(path, format=None, text_field='text', id_field=None)\n"
        "    count = sum(len(item.text) for item in source); source.close()\n"
        "    print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    rows = [f"text {number} " + "lorem ipsum " * 80 for number in range(1000)]
    paths = []
    for times in (40, 160):
        path = tmp_path / f"{times}.{kind}"
        if kind == "parquet":
            schema = pa.schema([("text", pa.string())])
            with parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=False) as writer:
                for _ in range(times // 40):
                    writer.write_table(pa.table({"text": rows * 40}, schema=schema), row_group_size=20_000)
        else:
            block = "".join(json.dumps({"text": text}) + "\n" for text in rows).encode()
            path.write_bytes(compressed(path.suffix, block) * times)
        paths.append(str(path))
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    (small, first), (large, second) = ([int(value) for value in line.split()] for line in done.stdout.splitlines())
    assert large == 4 * small > 150e6 / 4
    assert second < first * 1.1


@pytest.mark.parametrize(
    ("kind", "content", "lines"),
    [
        ("lines", "a\nb\n", [1, 2]),
        ("jsonl", '{"text": "a"}\n{"text": "b"}\n', [1, 2]),
        ("csv", 'text\n"a\n"\nb\n', [2, 4]),
    ],
)
def test_rows_know_their_line(tmp_path: Path, kind: str, content: str, lines: list[int]) -> None:
    assert [item.line for item in read(write(tmp_path / "in", content), kind)] == lines
