"""Output formats: Parquet, a NumPy array with a file of ids, and JSON lines; written in parts, then assembled.

The bytes depend on the rows and vectors alone: there are no times or file names in them, and compression and row groups
are fixed. So the same job always gives the same bytes.
"""

import importlib
import importlib.util
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from akidb_embeddings.bulk import OUTPUT_FORMATS
from akidb_embeddings.bulk.arrow_columns import arrow_array, arrow_schema
from akidb_embeddings.bulk.journal import IDS
from akidb_embeddings.bulk.rows import Row
from akidb_embeddings.errors import InputError
from akidb_embeddings.extras import require
from akidb_embeddings.vectors.precision import Quantized, little_endian, quantize

_LINES = "lines.jsonl"
_VECTORS = "vectors"
_ROWS = "rows.jsonl"
# Four times as many would take 50 MB more memory.
_ROW_GROUP_ROWS = 2048
_PIECE = 1 << 20  # bytes that are copied at a time

Parts = Sequence[Path]
Advance = Callable[[int], object]


@dataclass(frozen=True)
class Layout:
    """Properties that all rows of an output share.

    Attributes:
        metadata: Fingerprint, model, precision and dimension.
        offsets: Whether rows are passages, and have their begin and end in characters of the text.
        with_text: Whether rows contain their text (JSON lines only).
    """

    metadata: Mapping[str, Any]
    offsets: bool = False
    with_text: bool = False

    @property
    def empty(self) -> Quantized:
        """An array ``[0, values per row]`` of the precision's type."""
        return quantize(np.empty((0, self.metadata["dimension"])), self.metadata["precision"])


@dataclass(frozen=True)
class EmbeddedRows:
    """Rows and their embeddings.

    Attributes:
        rows: The rows.
        vectors: ``[n, values per row]``, in the job's precision.
        tokens: Tokens of each row's text, prompt included.
        truncated: Whether each row's text was truncated.
    """

    rows: Sequence[Row]
    vectors: Quantized
    tokens: Sequence[int]
    truncated: Sequence[bool]


class Output(Protocol):
    """An output format."""

    layout: Layout

    def serialize(self, embedded: EmbeddedRows) -> dict[str, bytes]:
        """Serialize rows: file name -> bytes to append to that file of the part."""
        ...

    def size(self, parts: Parts) -> int:
        """Return how many bytes of the parts ``assemble`` reads."""
        ...

    def assemble(self, parts: Parts, folder: Path, advance: Advance) -> dict[str, Path]:
        """Write the complete output to ``folder``.

        Args:
            parts: Folders of the parts, in order.
            folder: An empty folder.
            advance: Called with a number of bytes whenever that many more of the parts were read.

        Returns:
            Suffix of the final name -> file; ``""`` for ``OUT`` itself.
        """
        ...


class JsonLinesOutput:
    """One object per line: ``id``, ``embedding``, ``tokens``, ``truncated``, ``fingerprint``, as ``embed`` prints."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._fingerprint = layout.metadata["fingerprint"]

    def serialize(self, embedded: EmbeddedRows) -> dict[str, bytes]:
        """Serialize rows as lines. Numbers are the shortest that read back as the same value in their precision."""
        import orjson

        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        lines = []
        for described, row, vector in zip(
            _row_records(embedded, self.layout), embedded.rows, embedded.vectors, strict=True
        ):
            text = {"text": row.text} if self.layout.with_text else {}
            line = {"id": described.pop("id")} | text | {"embedding": vector} | described
            lines.append(orjson.dumps(line | {"fingerprint": self._fingerprint}, option=options))
        return {_LINES: b"".join(lines)}

    def size(self, parts: Parts) -> int:
        """As ``Output``."""
        return _size(parts, _LINES)

    def assemble(self, parts: Parts, folder: Path, advance: Advance) -> dict[str, Path]:
        """Concatenate the parts into one file."""
        return {"": _concatenate(parts, _LINES, folder / "out", advance)}


class _ArrayOutput:
    """Parts that consist of the vectors' bytes and a file with one JSON line per vector."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def serialize(self, embedded: EmbeddedRows) -> dict[str, bytes]:
        """Serialize vectors as little-endian bytes, and the rows as JSON lines."""
        import orjson

        lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in _row_records(embedded, self.layout)]
        return {_VECTORS: little_endian(embedded.vectors).tobytes(), _ROWS: b"".join(lines)}

    def size(self, parts: Parts) -> int:
        """As ``Output``."""
        return _size(parts, _VECTORS, _ROWS)


class NumpyOutput(_ArrayOutput):
    """One array ``[n, values per row]``, and ``OUT.ids.jsonl`` with one line per row."""

    def assemble(self, parts: Parts, folder: Path, advance: Advance) -> dict[str, Path]:
        """Write the array and the file of ids."""
        empty = little_endian(self.layout.empty)
        width = empty.shape[1] * empty.itemsize
        count = _size(parts, _VECTORS) // width
        header = {"descr": empty.dtype.str, "fortran_order": False, "shape": (count, empty.shape[1])}
        with open(folder / "out", "wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
        return {
            "": _concatenate(parts, _VECTORS, folder / "out", advance),
            IDS: _concatenate(parts, _ROWS, folder / IDS, advance),
        }


class ParquetOutput(_ArrayOutput):
    """Columns ``id``, ``vector`` (a fixed-size list), ``tokens``, ``truncated``, and ``begin`` and ``end`` of passages.

    ``Layout.metadata`` is stored in the schema's metadata. Float vectors are not compressed, because that would not
    make them smaller. Byte vectors are dictionary-encoded; otherwise Parquet takes four bytes for each value.
    """

    def assemble(self, parts: Parts, folder: Path, advance: Advance) -> dict[str, Path]:
        """Write one file, row group by row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = arrow_schema(self.layout.empty, self.layout.metadata, with_offsets=self.layout.offsets)
        names = schema.names
        compression = dict.fromkeys(names, "zstd") | {"vector.list.element": "none"}
        small = ["vector.list.element"] if self.layout.empty.itemsize == 1 else []
        with (
            open(folder / "out", "wb") as stream,  # pyarrow does not accept every file name that the system does
            pq.ParquetWriter(
                stream, schema, compression=compression, use_dictionary=small, write_statistics=["id"]
            ) as writer,
        ):
            for rows, vectors in self._groups(parts, advance):
                columns: dict[str, Any] = {name: [row[name] for row in rows] for name in names if name != "vector"}
                columns["vector"] = vectors
                arrays = [arrow_array(columns[field.name], field.type) for field in schema]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=_ROW_GROUP_ROWS)
        return {"": folder / "out"}

    def _groups(self, parts: Parts, advance: Advance) -> Iterator[tuple[list[dict[str, Any]], Quantized]]:
        """Rows and vectors of all parts, ``_ROW_GROUP_ROWS`` at a time."""
        empty = little_endian(self.layout.empty)
        rows, vectors = list[dict[str, Any]](), list[Quantized]()
        for part in parts:
            if not (part / _ROWS).exists():
                continue
            with open(part / _ROWS, "rb") as lines, open(part / _VECTORS, "rb") as stream:
                while more := list(itertools.islice(lines, _ROW_GROUP_ROWS - len(rows))):
                    flat = np.fromfile(stream, empty.dtype, len(more) * empty.shape[1])
                    rows += map(json.loads, more)
                    advance(flat.nbytes + sum(map(len, more)))
                    vectors.append(flat.reshape(len(more), -1))
                    if len(rows) == _ROW_GROUP_ROWS:
                        yield rows, np.concatenate(vectors)
                        rows, vectors = [], []
        if rows:
            yield rows, np.concatenate(vectors)


# By each of ``OUTPUT_FORMATS``.
_OUTPUTS: Mapping[str, type[JsonLinesOutput | NumpyOutput | ParquetOutput]] = {
    "parquet": ParquetOutput,
    "npy": NumpyOutput,
    "jsonl": JsonLinesOutput,
}
_MODULES = {"parquet": ("orjson", "pyarrow")}


def make_output(form: str, layout: Layout) -> Output:
    """Make the output of a format.

    Args:
        form: One of ``OUTPUT_FORMATS``.
        layout: Properties of all rows.

    Raises:
        ConfigurationError: A library that the format needs is not installed.
    """
    require("bulk", form, *_MODULES.get(form, ("orjson",)))
    if form == "parquet":
        importlib.import_module("pyarrow.parquet")  # takes 30 MB: better now than at the end of the job
    return _OUTPUTS[form](layout)


def output_format(path: Path, asked: str | None) -> str:
    """Choose the output's format.

    Args:
        path: The output file.
        asked: A format given explicitly; None for the one that the file's suffix stands for.

    Raises:
        InputError: No format is given, and the suffix is not known.
    """
    if asked:
        return asked
    if (suffix := path.suffix.lower().removeprefix(".")) in _OUTPUTS:
        return suffix
    raise InputError(
        f"--out {path} does not end in .{', .'.join(OUTPUT_FORMATS)}: say which it is to be, with --out-format."
    )


def _row_records(embedded: EmbeddedRows, layout: Layout) -> Iterator[dict[str, Any]]:
    for row, tokens, truncated in zip(embedded.rows, embedded.tokens, embedded.truncated, strict=True):
        described = {"id": row.id, "tokens": int(tokens), "truncated": bool(truncated)}
        if layout.offsets:
            described |= {"begin": row.begin, "end": row.begin + len(row.text) if row.end is None else row.end}
        yield described


def _files(parts: Parts, name: str) -> Iterator[Path]:
    """The parts' files of a name. A part that has only rejects has none."""
    return (part / name for part in parts if (part / name).exists())


def _size(parts: Parts, *names: str) -> int:
    return sum(file.stat().st_size for name in names for file in _files(parts, name))


def _concatenate(parts: Parts, name: str, path: Path, advance: Advance) -> Path:
    """Append the parts' files of a name to ``path``."""
    with open(path, "ab") as whole:
        for file in _files(parts, name):
            with open(file, "rb") as stream:
                while piece := stream.read(_PIECE):
                    whole.write(piece)
                    advance(len(piece))
    return path
