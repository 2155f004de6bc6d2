"""Sources without columns: plain lines, JSON lines, and folders of text files."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from akidb_embeddings.bulk import streams
from akidb_embeddings.bulk.row_source import BLANK, Fields, RowSource, get_field, number_records
from akidb_embeddings.bulk.rows import Problem, Reject, Row, RowOrReject
from akidb_embeddings.bulk.streams import (
    ByteLines,
    invalid_utf8_reason,
    only_cr_error,
    size_and_mtime,
    too_long_reason,
    utf16_reason,
)
from akidb_embeddings.errors import InputError

_TEXT_FILES = (".txt", ".md")


class LineSource(RowSource):
    """Base of the sources that read one stream of lines."""

    def __init__(self, file: ByteLines, identity: Mapping[str, Any]) -> None:
        super().__init__(identity, file.total_bytes)
        self._file = file

    @property
    def read_bytes(self) -> int | None:
        """As ``RowSource``."""
        return self._file.read_bytes

    @property
    def has_changed(self) -> bool:
        """As ``RowSource``."""
        return self._file.has_changed

    def close(self) -> None:
        """As ``RowSource``."""
        self._file.close()


class PlainLinesSource(LineSource):
    """One text per line, without the line's end. A blank line is a text, as in ``akidb-embed -``.

    Lines end with LF or CR LF. CR alone is a character like others, but an input with CR and no LF is an error: all its
    lines would be one text.
    """

    def __iter__(self) -> Iterator[RowOrReject]:
        for line, raw in islice(self._file, self.skip, None):
            number = line - 1
            if self._file.has_only_cr:
                raise only_cr_error(self._file.path)
            try:
                if raw is None:
                    yield Reject(number, line, str(number), too_long_reason(), Problem.TOO_LONG)
                else:
                    text = raw.removesuffix(b"\n").removesuffix(b"\r").decode()
                    yield Row(number, str(number), text, line=line)
            except UnicodeDecodeError as error:
                yield Reject(number, line, str(number), invalid_utf8_reason(error), Problem.ENCODING)


class JsonLinesSource(LineSource):
    """One JSON object per line. Blank lines are rejected, except at the end."""

    def __init__(self, file: ByteLines, fields: Fields, identity: Mapping[str, Any]) -> None:
        super().__init__(file, identity)
        self._fields = fields

    def __iter__(self) -> Iterator[RowOrReject]:
        entries = ((line, None if raw is not None and not raw.strip() else (raw,)) for line, raw in self._file)
        for number, line, entry in islice(number_records(entries), self.skip, None):
            if entry is None:
                yield self._fields.reject_record(number, line, BLANK)
            else:
                yield self._item(number, line, entry[0])

    def _item(self, number: int, line: int, raw: bytes | None) -> RowOrReject:
        if raw is None:
            return self._fields.reject_record(number, line, too_long_reason(), Problem.TOO_LONG)
        try:
            record = json.loads(raw.decode().rstrip())
        except (ValueError, RecursionError) as error:
            return self._fields.reject_record(number, line, *_json_problem(error))
        if not isinstance(record, dict):
            return self._fields.reject_record(number, line, "not a JSON object", Problem.JSON)
        key = None if self._fields.id is None else get_field(record, self._fields.id)
        return self._fields.item(number, line, get_field(record, self._fields.text), key, record)


def _json_problem(error: Exception) -> tuple[str, Problem]:
    if isinstance(error, UnicodeDecodeError):
        return invalid_utf8_reason(error), Problem.ENCODING
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON: {error.msg} at character {error.pos + 1}", Problem.JSON
    if isinstance(error, RecursionError):
        return "JSON that is nested too deeply to be read", Problem.JSON
    limit = sys.get_int_max_str_digits()  # the only other reason for which json.loads fails
    return f"JSON with a whole number of more than {limit} digits, which cannot be read", Problem.JSON


class FolderSource(RowSource):
    """One text per .txt or .md file, subfolders included, sorted by name within each folder; ids are relative paths.

    Suffixes count in upper and lower case. Names that begin with a dot are left out, and links to folders are not
    followed.

    Raises:
        InputError: The folder cannot be read, or has no such files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._read = folder, 0
        identity = self._identify()
        if not identity["files"]:
            raise InputError(f"{folder} has no {' or '.join(_TEXT_FILES)} files in it.")
        super().__init__(identity, identity["size"])

    def _identify(self) -> dict[str, Any]:
        """The identity of the folder's present content."""
        digest, count, size = hashlib.sha256(), 0, 0
        for path, name in self._found(self._folder):
            bytes_, mtime_ns = size_and_mtime(path)
            digest.update(f"{name}\0{bytes_}\0{mtime_ns}\n".encode(errors="surrogateescape"))
            count, size = count + 1, size + bytes_
        facts = {"name": self._folder.resolve().name, "format": "folder", "files": count, "size": size}
        return {**facts, "digest": digest.hexdigest()}

    @property
    def has_changed(self) -> bool:
        """As ``RowSource``."""
        try:
            return self._identify() != self.identity
        except InputError:  # it is gone
            return True

    def _found(self, folder: Path, prefix: str = "") -> Iterator[tuple[str, str]]:
        """(path, path relative to the source's folder). Only the names of a folder and its parents are in memory."""
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            raise InputError(f"{folder} cannot be read: {error.strerror}.") from None
        for name in names:
            path = folder / name
            if name.startswith("."):
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                yield from self._found(path, f"{prefix}{name}/")
            elif name.lower().endswith(_TEXT_FILES) and os.path.isfile(path):
                yield str(path), prefix + name

    def __iter__(self) -> Iterator[RowOrReject]:
        for number, (path, name) in enumerate(self._found(self._folder)):
            self._read += size_and_mtime(path)[0]
            if number >= self.skip:
                yield self._item(number, path, name)

    def _item(self, number: int, path: str, name: str) -> RowOrReject:
        try:
            name.encode()
        except UnicodeEncodeError:
            return Reject(number, None, None, f"the file's name {name!r} is not valid UTF-8")
        try:
            with open(path, "rb") as file:
                content = file.read(streams.MAX_BYTES + 1)
            if len(content) > streams.MAX_BYTES:
                return Reject(number, None, name, too_long_reason(), Problem.TOO_LONG)
            if reason := utf16_reason(content):
                return Reject(number, None, name, reason)
            return Row(number, name, content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            return Reject(number, None, name, invalid_utf8_reason(error), Problem.ENCODING)
        except OSError as error:
            return Reject(number, None, name, f"cannot be read: {error.strerror}")

    @property
    def read_bytes(self) -> int:
        """As ``RowSource``."""
        return self._read

    def close(self) -> None:
        """As ``RowSource``; there is nothing to close, because files are only open while they are read."""
