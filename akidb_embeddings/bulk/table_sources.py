"""Sources with columns: CSV and Parquet. A missing column is an error before anything is embedded."""

import csv
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from akidb_embeddings.bulk import streams
from akidb_embeddings.bulk.row_source import BLANK, Fields, RowSource, number_records, quote_names
from akidb_embeddings.bulk.rows import Problem, RowOrReject
from akidb_embeddings.bulk.streams import ByteLines, invalid_utf8_reason, pyarrow, size_and_mtime, too_long_reason
from akidb_embeddings.bulk.text_sources import LineSource
from akidb_embeddings.errors import InputError

# Limits of one Parquet batch: small enough for long texts to fit into memory, large enough to read fast.
_BATCH_ROWS = 1024
_BATCH_BYTES = 8 << 20
_BUFFER = 1 << 20
_STRINGS = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


class _TooLongError(Exception):
    pass


class _RecordLines:
    """Lines for csv.reader. Those of the current record are kept, so that they can be read again."""

    def __init__(self, file: ByteLines) -> None:
        self._lines = iter(file)
        self._replayed: deque[tuple[int, bytes | None]] = deque()
        self._record: list[tuple[int, bytes | None]] = []
        self._size = 0
        self.invalid: str | None = None  # the record's first bad byte
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            number, raw = self._replayed.popleft() if self._replayed else next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self._record.append((number, raw))
        self._size += len(raw or b"")
        if raw is None or self._size > streams.MAX_BYTES:
            raise _TooLongError
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.invalid = self.invalid or f"line {number} is {invalid_utf8_reason(error)}"
            return raw.decode(errors="replace")

    @property
    def line(self) -> int:
        """Number of the record's first line."""
        return self._record[0][0]

    @property
    def span_note(self) -> str:
        """An addition to the reason for rejecting a record of several lines; "" for one line."""
        last = self._record[-1][0]
        note = f"; lines {self.line} to {last} were read as one record, because a quote opens in them"
        return note if last > self.line else ""

    def begin(self) -> None:
        """Begin a new record."""
        self._record, self._size, self.invalid, self.ended = [], 0, None, False

    def replay(self) -> None:
        """Read the record's lines again, except for the first."""
        self._replayed.extendleft(reversed(self._record[1:]))


class CsvSource(LineSource):
    """Comma-separated records with a header, and quotes as in RFC 4180, also around line breaks.

    A malformed record is one reject, which names its lines, and reading continues after it: lines within quotes must
    not become rows. If a quote is never closed, so that the record extends to the end or to the limit, reading
    continues after the record's first line.
    """

    def __init__(self, file: ByteLines, fields: Fields, identity: Mapping[str, Any]) -> None:
        super().__init__(file, identity)
        # Process-wide; the default is 131,072 characters.
        csv.field_size_limit(max(csv.field_size_limit(), streams.MAX_BYTES))
        self._fields = fields
        self._lines = _RecordLines(file)
        self._reader = csv.reader(self._lines, strict=True)
        self._header: Sequence[str] = ()
        self._header = self._read_header()
        self._column_indices = [self._header.index(name) for name in fields.names]

    def _read_header(self) -> Sequence[str]:
        name = "Standard input" if self._file.path == streams.STDIN else self._file.path
        _, columns = next(self._records(), (0, None))
        if not isinstance(columns, list):
            problem = f": {columns}" if columns else " in its first line"
            raise InputError(f"{name} has no header that names its columns{problem}.")
        _check_columns(name, columns, self._fields)
        return columns

    def _records(self) -> Iterator[tuple[int, list[str] | str | None]]:
        """(first line, columns); instead of columns the reason why they cannot be read, or None for a blank line."""
        while True:
            self._lines.begin()
            try:
                columns = next(self._reader)
                yield self._lines.line, self._problem(columns) or columns or None
            except StopIteration:
                return
            except _TooLongError:
                line = self._lines.line
                self._lines.replay()
                yield line, f"{too_long_reason()}, or close the quote that opens in it"
            except csv.Error as error:
                line, problem = self._lines.line, f"not valid CSV: {error}{self._lines.span_note}"
                if self._lines.ended:
                    self._lines.replay()
                    problem = "not valid CSV: a quote opens here and is never closed"
                yield line, problem

    def _problem(self, columns: Sequence[str]) -> str | None:
        problem = self._lines.invalid
        if not problem and columns and self._header and len(columns) != len(self._header):
            problem = f"{len(columns)} columns; the header has {len(self._header)}"
        return problem and problem + self._lines.span_note

    def __iter__(self) -> Iterator[RowOrReject]:
        for number, line, columns in islice(number_records(self._records()), self.skip, None):
            if columns is None or isinstance(columns, str):
                problem = Problem.COLUMNS if columns else Problem.OTHER
                yield self._fields.reject_record(number, line, columns or BLANK, problem)
            else:
                yield self._fields.item(
                    number, line, columns[self._column_indices[0]], columns[self._column_indices[-1]]
                )


class ParquetSource(RowSource):
    """Rows of a Parquet file. Texts are strings or binary in UTF-8; ids may also be integers.

    Only the needed columns are read, batch by batch. Row groups that ``skip`` covers are not read.
    """

    def __init__(self, path: str, fields: Fields, identity: Mapping[str, Any], size: int) -> None:
        super().__init__(identity, size)
        self._arrow = pyarrow("Reading Parquet")
        from pyarrow import compute, parquet

        self._struct_field = compute.struct_field
        self._path, self._fields, self._done = path, fields, 0
        try:
            self._file = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
        except UnicodeEncodeError:
            raise InputError(
                f"{path}: pyarrow only opens files whose names are valid UTF-8. Rename it, or link to it."
            ) from None
        except (self._arrow.ArrowException, OSError) as error:
            raise InputError(
                f"{path} is not a complete Parquet file; it was cut off, or has another format: {error}"
            ) from None
        schema = self._file.schema_arrow
        self._columns = [self._column(schema, name) for name in fields.names]
        is_dictionary = self._arrow.types.is_dictionary
        if kept := [parts[0] for parts in self._columns if is_dictionary(schema.field(parts[0]).type)]:
            # Read as dictionaries: if pyarrow had to encode them again, one value of invalid UTF-8 would fail the file.
            self._file.close()
            self._file = parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, read_dictionary=kept)
        self._rows: int = self._file.metadata.num_rows

    def _column(self, schema: Any, name: str) -> list[str]:
        """The path to a column through structs, checked for its type."""
        top = schema.names
        parts = [name] if name in top else name.split(".")
        if top.count(parts[0]) > 1:
            _check_columns(self._path, top, Fields(parts[0], None))
        found: Any = schema.field(parts[0]).type if parts[0] in top else None
        for part in parts[1:]:
            is_struct = found is not None and self._arrow.types.is_struct(found)
            index = found.get_field_index(part) if is_struct else -1
            found = found.field(index).type if index >= 0 else None
        if found is None:
            raise InputError(_no_column_message(self._path, name, top, self._fields))
        kind = str(found.value_type if self._arrow.types.is_dictionary(found) else found)
        allowed = _STRINGS if name == self._fields.text else _STRINGS + _INTEGERS
        if kind not in allowed:
            expected = "strings are" if name == self._fields.text else "strings or integers are"
            raise InputError(
                f"{self._path}: column {name!r} is of type {kind}; {expected} expected. Choose another, or cast it."
            )
        return parts

    def __iter__(self) -> Iterator[RowOrReject]:
        metadata = self._file.metadata
        group, number = 0, 0
        while group < metadata.num_row_groups and number + metadata.row_group(group).num_rows <= self.skip:
            number += metadata.row_group(group).num_rows
            group += 1
        self._done = number
        if group == metadata.num_row_groups:
            return
        batches = self._file.iter_batches(
            self._batch_rows(), range(group, metadata.num_row_groups), [".".join(parts) for parts in self._columns],
            use_threads=False,
        )  # fmt: skip
        try:
            for batch in batches:
                begin = max(0, self.skip - number)
                yield from self._items(batch.slice(begin), number + begin)
                number += batch.num_rows
                self._done = number
        except (self._arrow.ArrowException, OSError) as error:
            raise InputError(
                f"{self._path} cannot be read beyond row {number}; it is damaged, get it again: {error}"
            ) from error

    def _batch_rows(self) -> int:
        """The number of average rows that fit into _BATCH_BYTES."""
        metadata = self._file.metadata
        needed = {".".join(parts) for parts in self._columns}
        sizes = [
            column.total_uncompressed_size
            for group in range(metadata.num_row_groups)
            for column in map(metadata.row_group(group).column, range(metadata.num_columns))
            if column.path_in_schema in needed
        ]
        average: int = sum(sizes) // max(self._rows, 1) + 1
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES // average))

    def _items(self, batch: Any, number: int) -> Iterator[RowOrReject]:
        columns = [self._values(batch, parts) for parts in self._columns]
        for index, (text, key) in enumerate(zip(columns[0], columns[-1], strict=True), start=number):
            self._done = index + 1
            yield self._fields.item(index, None, text, key)

    def _values(self, batch: Any, parts: list[str]) -> list[Any]:
        """Strings, numbers and None; bytes if the column is binary, or has a string that is not valid UTF-8."""
        column = batch.column(parts[0])
        if len(parts) > 1:
            column = self._struct_field(column, parts[1:])
        try:
            values: list[Any] = column.to_pylist()
        except UnicodeDecodeError:
            if self._arrow.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            types = {"large_string": self._arrow.large_binary(), "string_view": self._arrow.binary_view()}
            values = column.view(types.get(str(column.type), self._arrow.binary())).to_pylist()
        return values

    @property
    def read_bytes(self) -> int:
        """As ``RowSource``: estimated from the share of rows read."""
        return (self.total_bytes or 0) * self._done // max(self._rows, 1)

    @property
    def has_changed(self) -> bool:
        """As ``RowSource``."""
        return size_and_mtime(self._path) != (self.total_bytes, self.identity["mtime_ns"])

    def close(self) -> None:
        """As ``RowSource``."""
        self._file.close()


def _check_columns(name: str, columns: Sequence[str], fields: Fields) -> None:
    for column in fields.names:
        if column not in columns:
            raise InputError(_no_column_message(name, column, columns, fields))
        if columns.count(column) > 1:
            raise InputError(f"{name} has {columns.count(column)} columns named {column!r}; one is expected.")


def _no_column_message(name: str, column: str, columns: Sequence[str], fields: Fields) -> str:
    option = "--text-field" if column == fields.text else "--id-field"
    separator = next((mark for mark in ("\t", ";", "|") if len(columns) == 1 and mark in columns[0]), None)
    hint = "" if separator is None else f" The columns must be separated by commas, not by {separator!r}."
    return f"{name} has no column {column!r}; it has {quote_names(columns)}. Choose one with {option}.{hint}"
