"""Opening an input: detecting its format, and choosing the source that reads it."""

import json
import os
from pathlib import Path

from akidb_embeddings.bulk import INPUT_FORMATS
from akidb_embeddings.bulk.row_source import Fields, RowSource
from akidb_embeddings.bulk.streams import STDIN, ByteLines, compression
from akidb_embeddings.bulk.table_sources import CsvSource, ParquetSource
from akidb_embeddings.bulk.text_sources import FolderSource, JsonLinesSource, PlainLinesSource
from akidb_embeddings.errors import InputError

__all__ = ["RowSource", "format_by_name", "open_source"]

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".txt": "lines"}


def open_source(
    path: str,
    *,
    format: str | None,  # noqa: A002
    text_field: str,
    id_field: str | None,
) -> RowSource:
    """Open an input.

    Args:
        path: A file, also ``.gz`` or ``.zst``; a folder of .txt and .md files; ``-`` for standard input.
        format: One of INPUT_FORMATS; None to choose it by the name. For standard input, None means JSON lines if the
            first line that is not blank is a JSON object, and lines otherwise; it waits for that line.
        text_field: Field or column of the text; ``meta.title`` refers to a nested one.
        id_field: Field or column of the id, a string or a whole number; None for the rows' numbers from 0, or a
            folder's file paths. Ids may repeat: detecting that would take memory that grows with the input.

    Returns:
        The source of the input's rows and rejects.

    Raises:
        InputError: The input, format or column does not exist, or the input is damaged.
        EmbeddingError: Reading it needs a library that is not installed.
    """
    chosen = _format(path, format)
    _check_fields(path, chosen, id_field)
    if chosen == "folder":
        return FolderSource(Path(path))
    fields = Fields(text_field, id_field)
    if chosen == "parquet" and (path == STDIN or compression(path)):
        raise InputError(f"Parquet cannot be read from {path}: its index is at the end. Give an uncompressed file.")
    file = ByteLines(path)
    try:
        if chosen is None:
            chosen = "jsonl" if _is_json_object(file.peek()) else "lines"
            _check_fields(path, chosen, id_field)
        facts = {"name": Path(path).name, "format": chosen, "size": file.total_bytes, "mtime_ns": file.mtime_ns}
        if chosen == "lines":
            return PlainLinesSource(file, facts)
        facts |= {"text_field": text_field, "id_field": id_field}
        if chosen == "jsonl":
            return JsonLinesSource(file, fields, facts)
        if chosen == "csv":
            return CsvSource(file, fields, facts)
        file.close()
        return ParquetSource(path, fields, facts, file.total_bytes or 0)
    except BaseException:
        file.close()
        raise


def _check_fields(path: str, chosen: str | None, id_field: str | None) -> None:
    if id_field is not None and chosen in ("lines", "folder"):
        name = "Standard input" if path == STDIN else path
        raise InputError(
            f"{name} is read as {chosen}, which has no fields. Leave out --id-field {id_field}, or give another "
            "--format."
        )


def _is_json_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _format(path: str, asked: str | None) -> str | None:
    """The format; None if the input's beginning must show it."""
    if asked is not None and asked not in INPUT_FORMATS:
        raise InputError(field="format", reason=f"is {asked!r}; it must be one of {', '.join(INPUT_FORMATS)}.")
    if path == STDIN:
        if asked == "folder":
            raise InputError("Standard input is not a folder; its format is jsonl, csv or lines.")
        return asked
    is_folder = os.path.isdir(path)
    if is_folder or asked == "folder":
        if not is_folder:
            raise InputError(f"{path} {'is not a folder' if os.path.exists(path) else 'does not exist'}.")
        if asked not in (None, "folder"):
            raise InputError(f"{path} is a folder, which is read as a folder of text files; give one {asked} file.")
        return "folder"
    if asked is not None:
        return asked
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist.")
    chosen = format_by_name(path)
    if chosen is None:
        known = ", ".join(_SUFFIXES)
        raise InputError(
            f"{path} does not end in {known}, also with .gz or .zst. Say how to read it with --format, for example "
            "--format lines: each line is a text."
        )
    return chosen


def format_by_name(path: str) -> str | None:
    """Return the format that a file's name stands for, in upper or lower case; None if it stands for none."""
    return _SUFFIXES.get(Path(path[: len(path) - len(compression(path))]).suffix.lower())
