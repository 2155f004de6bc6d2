"""The forms an output has: Parquet, a NumPy array with a file of ids, JSON lines. Each as parts, and as one whole.

What a part's files hold, and what becomes of them, is a function of the rows and vectors alone: no times, no names, a
fixed compression and fixed row groups, so that the same job always gives the same bytes.
"""

import importlib
import importlib.util
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from akidb_embeddings.bulk.rows import Row
from akidb_embeddings.errors import InputError
from akidb_embeddings.extras import require
from akidb_embeddings.vectors.precision import Quantized, little_endian, quantize

IDS = "ids.jsonl"
_LINES = "lines.jsonl"
_VECTORS = "vectors"
_ROWS = "rows.jsonl"
# Rows in one row group of Parquet. Writing four times as many takes 50 MB more.
_GROUP = 2048

Parts = Sequence[Path]


@dataclass(frozen=True)
class Layout:
    """What all rows of an output have in common.

    ``metadata``: fingerprint, model, precision, dimension. ``offsets``: rows are passages, and say where in their text
    they begin and end. ``with_text``: rows carry their text (JSON lines).
    """

    metadata: Mapping[str, Any]
    offsets: bool = False
    with_text: bool = False

    @property
    def empty(self) -> Quantized:
        """The vectors of no rows, ``[0, values a row]``, of the precision's type."""
        return quantize(np.empty((0, self.metadata["dimension"])), self.metadata["precision"])


@dataclass(frozen=True)
class Embedded:
    """Rows and their vectors ``[n, values a row]``, token counts and truncation flags."""

    rows: Sequence[Row]
    vectors: Quantized
    tokens: Sequence[int]
    truncated: Sequence[bool]


class Output(Protocol):
    """One form of output."""

    layout: Layout

    def pieces(self, embedded: Embedded) -> dict[str, bytes]:
        """What rows add to the files of their part."""
        ...

    def assemble(self, parts: Parts, folder: Path) -> dict[str, Path]:
        """Write the whole to ``folder``: the file for OUT under ``""``, others under the suffix of their name."""
        ...


class JsonLines:
    """One object a line: ``id``, ``embedding``, ``tokens``, ``truncated``, ``fingerprint``, as in ``embed``."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._fingerprint = layout.metadata["fingerprint"]

    def pieces(self, embedded: Embedded) -> dict[str, bytes]:
        """The lines. Numbers are the shortest that give the same ones again in their precision."""
        import orjson

        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        lines = []
        for described, row, vector in zip(
            _described(embedded, self.layout), embedded.rows, embedded.vectors, strict=True
        ):
            text = {"text": row.text} if self.layout.with_text else {}
            line = {"id": described.pop("id")} | text | {"embedding": vector} | described
            lines.append(orjson.dumps(line | {"fingerprint": self._fingerprint}, option=options))
        return {_LINES: b"".join(lines)}

    def assemble(self, parts: Parts, folder: Path) -> dict[str, Path]:
        """One file."""
        return {"": _concatenated(parts, _LINES, folder / "out")}


class _Raw:
    """Parts of an array and a file that says what its rows are."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def pieces(self, embedded: Embedded) -> dict[str, bytes]:
        """The vectors' bytes, and a line for each."""
        import orjson

        lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in _described(embedded, self.layout)]
        return {_VECTORS: little_endian(embedded.vectors).tobytes(), _ROWS: b"".join(lines)}


class NumPy(_Raw):
    """One array ``[n, values a row]``, and ``OUT.ids.jsonl`` with a line for each row."""

    def assemble(self, parts: Parts, folder: Path) -> dict[str, Path]:
        """The array, and the file of ids."""
        empty = little_endian(self.layout.empty)
        width = empty.shape[1] * empty.itemsize
        count = sum((part / _VECTORS).stat().st_size for part in parts if (part / _VECTORS).exists()) // width
        header = {"descr": empty.dtype.str, "fortran_order": False, "shape": (count, empty.shape[1])}
        with open(folder / "out", "wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
        return {
            "": _concatenated(parts, _VECTORS, folder / "out"),
            IDS: _concatenated(parts, _ROWS, folder / IDS),
        }


class Parquet(_Raw):
    """Columns ``id``, ``vector`` (a fixed-size list), ``tokens``, ``truncated``, and ``begin`` and ``end`` of passages.

    The metadata of its schema has what ``Layout.metadata`` has. Vectors of floats are not compressed, for they would
    not become smaller; those of bytes get a dictionary, without which Parquet takes four bytes for each.
    """

    def assemble(self, parts: Parts, folder: Path) -> dict[str, Path]:
        """One file, a row group after the other."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self._schema()
        names = schema.names
        compression = dict.fromkeys(names, "zstd") | {"vector.list.element": "none"}
        small = ["vector.list.element"] if self.layout.empty.itemsize == 1 else []
        with (
            open(folder / "out", "wb") as stream,  # pyarrow does not take every name that the system takes
            pq.ParquetWriter(
                stream, schema, compression=compression, use_dictionary=small, write_statistics=["id"]
            ) as writer,
        ):
            for rows, vectors in self._groups(parts):
                columns: dict[str, Any] = {name: [row[name] for row in rows] for name in names if name != "vector"}
                columns["vector"] = vectors
                arrays = [_column(columns[field.name], field.type) for field in schema]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=_GROUP)
        return {"": folder / "out"}

    def _schema(self) -> Any:
        import pyarrow as pa

        empty = self.layout.empty
        element = pa.field("element", pa.from_numpy_dtype(empty.dtype), nullable=False)
        fields = [
            pa.field("id", pa.string(), nullable=False),
            pa.field("vector", pa.list_(element, empty.shape[1]), nullable=False),
            pa.field("tokens", pa.int32(), nullable=False),
            pa.field("truncated", pa.bool_(), nullable=False),
        ]
        if self.layout.offsets:
            fields += [pa.field(name, pa.int64(), nullable=False) for name in ("begin", "end")]
        return pa.schema(fields, metadata={name: str(value) for name, value in self.layout.metadata.items()})

    def _groups(self, parts: Parts) -> Iterator[tuple[list[dict[str, Any]], Quantized]]:
        """Rows and vectors of all parts, ``_GROUP`` at a time."""
        empty = little_endian(self.layout.empty)
        rows, vectors = list[dict[str, Any]](), list[Quantized]()
        for part in parts:
            if not (part / _ROWS).exists():
                continue
            with open(part / _ROWS, "rb") as lines, open(part / _VECTORS, "rb") as stream:
                while more := list(map(json.loads, itertools.islice(lines, _GROUP - len(rows)))):
                    flat = np.fromfile(stream, empty.dtype, len(more) * empty.shape[1])
                    rows += more
                    vectors.append(flat.reshape(len(more), -1))
                    if len(rows) == _GROUP:
                        yield rows, np.concatenate(vectors)
                        rows, vectors = [], []
        if rows:
            yield rows, np.concatenate(vectors)


def _column(values: Any, kind: Any) -> Any:
    """Arrow's array over Python's or NumPy's values, none of them None.

    Not ``pyarrow.array``: that loads pandas wherever it is installed, 70 MB at the very end of a job.
    """
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(_column(values.ravel(), kind.value_type), type=kind)
    if pa.types.is_string(kind):
        encoded = [value.encode() for value in values]
        offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
        return pa.Array.from_buffers(kind, len(encoded), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))])
    data = (
        np.packbits(values, bitorder="little")
        if pa.types.is_boolean(kind)
        else np.ascontiguousarray(values, kind.to_pandas_dtype())
    )
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])


_FORMS: Mapping[str, type[JsonLines | NumPy | Parquet]] = {"parquet": Parquet, "npy": NumPy, "jsonl": JsonLines}
FORMATS = tuple(_FORMS)
_MODULES = {"parquet": ("orjson", "pyarrow")}


def make_output(form: str, layout: Layout) -> Output:
    """The output of one of ``FORMATS``.

    Raises:
        ConfigurationError: A library that it needs is not installed.
    """
    require("bulk", form, *_MODULES.get(form, ("orjson",)))
    if form == "parquet":
        importlib.import_module("pyarrow.parquet")  # now: its 30 MB are not to come as a surprise at the end
    return _FORMS[form](layout)


def form_of(path: Path, asked: str | None) -> str:
    """The form that is asked for, else what the file's name ends in. InputError: neither says."""
    if asked:
        return asked
    if (suffix := path.suffix.lower().removeprefix(".")) in _FORMS:
        return suffix
    raise InputError(f"--out {path} does not end in .{', .'.join(FORMATS)}: say which it is to be, with --out-format.")


def _described(embedded: Embedded, layout: Layout) -> Iterator[dict[str, Any]]:
    for row, tokens, truncated in zip(embedded.rows, embedded.tokens, embedded.truncated, strict=True):
        described = {"id": row.id, "tokens": int(tokens), "truncated": bool(truncated)}
        if layout.offsets:
            described |= {"begin": row.begin, "end": row.begin + len(row.text) if row.end is None else row.end}
        yield described


def _concatenated(parts: Parts, name: str, path: Path) -> Path:
    """What the parts' files of a name hold, appended to ``path``. A part of rejects alone has no such file."""
    with open(path, "ab") as whole:
        for part in parts:
            if (part / name).exists():
                with open(part / name, "rb") as stream:
                    shutil.copyfileobj(stream, whole, 1 << 20)
    return path
